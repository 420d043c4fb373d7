"""batched, its asyncio implementation: a queue and one task, which sleeps 2 ms whenever less than a batch waits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from batched import aio

from harness import Call, Function

REQUIREMENTS = ["batched"]


@asynccontextmanager
async def open(function: Function, max_batch_size: int, max_wait: float = 0.002) -> AsyncIterator[Call]:
    yield aio.dynamically(function, batch_size=max_batch_size, timeout_ms=1000 * max_wait)


open_map = open  # the same callable takes an item or a list
