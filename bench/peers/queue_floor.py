"""The floor of those that use a queue: a stock `asyncio.Queue` drained by one coroutine, and not one feature."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from harness import Call, Function

REQUIREMENTS: list[str] = []


@asynccontextmanager
async def open(function: Function, max_batch_size: int) -> AsyncIterator[Call]:
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[asyncio.Future[Any], Any]] = asyncio.Queue()

    async def drain() -> None:
        while True:
            batch = [await queue.get()]
            while len(batch) < max_batch_size and not queue.empty():
                batch.append(queue.get_nowait())
            outputs = await function([item for _, item in batch])
            for (future, _), output in zip(batch, outputs, strict=True):
                future.set_result(output)

    def call(item: Any) -> asyncio.Future[Any]:
        future = loop.create_future()
        queue.put_nowait((future, item))
        return future

    drainer = asyncio.create_task(drain())
    yield call
    drainer.cancel()
