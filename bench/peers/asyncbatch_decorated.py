"""asyncbatch by its decorator: `await function(item)`, which finds the batcher of the event loop that runs."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asyncbatch import Fifo, batched

from harness import Call, Function

REQUIREMENTS = ["."]
KINDS = ["closed"]


@asynccontextmanager
async def open(function: Function, max_batch_size: int) -> AsyncIterator[Call]:
    async with batched(max_batch_size=max_batch_size, queue=Fifo(maxsize=math.inf))(function) as decorated:
        yield decorated
