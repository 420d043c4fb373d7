"""asyncbatch as it comes: at most 1,024 items wait in the queue, further callers wait for room in it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asyncbatch import Batcher

from harness import Call, Function

REQUIREMENTS = ["."]


@asynccontextmanager
async def open(function: Function, max_batch_size: int) -> AsyncIterator[Call]:
    async with Batcher(function, max_batch_size=max_batch_size) as batcher:
        yield batcher


@asynccontextmanager
async def open_map(function: Function, max_batch_size: int) -> AsyncIterator[Call]:
    async with Batcher(function, max_batch_size=max_batch_size) as batcher:
        yield batcher.map
