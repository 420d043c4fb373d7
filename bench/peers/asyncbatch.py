"""asyncbatch, `await batcher(item)`: with a queue that has no bound, as the peers' queues have none.

By default it waits for nobody, and has no objective.
"""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asyncbatch import Batcher, Fifo, LatencyObjective

from harness import Call, Function

REQUIREMENTS = ["."]


@asynccontextmanager
async def open(
    function: Function, max_batch_size: int, max_wait: float = 0.0, objective: float = math.inf
) -> AsyncIterator[Call]:
    policy = LatencyObjective(objective) if objective < math.inf else None
    queue = Fifo(maxsize=math.inf)
    async with Batcher(function, max_batch_size=max_batch_size, max_wait=max_wait, policy=policy, queue=queue) as batcher:
        yield batcher


@asynccontextmanager
async def open_map(function: Function, max_batch_size: int) -> AsyncIterator[Call]:
    async with Batcher(function, max_batch_size=max_batch_size, queue=Fifo(maxsize=math.inf)) as batcher:
        yield batcher.map
