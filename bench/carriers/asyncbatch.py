"""asyncbatch, resident processes: `await batcher.map(items)`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from asyncbatch import Batcher, ProcessExecutor

from harness import batches

SCALES = True


@asynccontextmanager
async def open(function: str, workers: int) -> AsyncIterator[Any]:
    executor = ProcessExecutor(workers=workers)
    async with Batcher(getattr(batches, function), executor=executor, max_batch_size=64 if workers == 1 else 1) as batcher:
        yield batcher.map
