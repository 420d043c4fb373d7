"""asyncbatch waiting 2 ms for a batch to fill, to be set beside the peers that cannot do without such a wait."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asyncbatch import Batcher, Fifo

from harness import Call, Function

REQUIREMENTS = ["."]


@asynccontextmanager
async def open(function: Function, max_batch_size: int) -> AsyncIterator[Call]:
    queue = Fifo(maxsize=math.inf)
    async with Batcher(function, max_batch_size=max_batch_size, max_wait=0.002, queue=queue) as batcher:
        yield batcher


@asynccontextmanager
async def open_map(function: Function, max_batch_size: int) -> AsyncIterator[Call]:
    queue = Fifo(maxsize=math.inf)
    async with Batcher(function, max_batch_size=max_batch_size, max_wait=0.002, queue=queue) as batcher:
        yield batcher.map
