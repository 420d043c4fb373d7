"""async-batcher: a queue and one task, which waits 2 ms for a batch to fill."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from async_batcher.batcher import AsyncBatcher

from harness import Call, Function

REQUIREMENTS = ["async-batcher"]


@asynccontextmanager
async def open(function: Function, max_batch_size: int, max_wait: float = 0.002) -> AsyncIterator[Call]:
    class Batcher(AsyncBatcher[Any, Any]):
        async def process_batch(self, batch: list[Any]) -> list[Any]:
            return await function(batch)

    batcher = Batcher(max_batch_size=max_batch_size, max_queue_time=max_wait)
    yield batcher.process
    await batcher.stop(force=True)  # without force it sleeps out its poll of a second
