"""asyncbatch, `await batcher.submit(item)`: a future at once, and no coroutine between it and its caller."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asyncbatch import Batcher, Fifo

from harness import Call, Function

REQUIREMENTS = ["."]


@asynccontextmanager
async def open(function: Function, max_batch_size: int) -> AsyncIterator[Call]:
    async with Batcher(function, max_batch_size=max_batch_size, queue=Fifo(maxsize=math.inf)) as batcher:
        yield batcher.submit
