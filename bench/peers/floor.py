"""The floor: one bare future a request, all of one pass of the loop resolved by one `call_soon`. No function is called.

No library that gives each caller a future of its own can cost less, so costs are given as multiples of this one.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from harness import Call, Function

REQUIREMENTS: list[str] = []


@asynccontextmanager
async def open(function: Function, max_batch_size: int) -> AsyncIterator[Call]:
    loop = asyncio.get_running_loop()
    waiting: deque[tuple[asyncio.Future[Any], Any]] = deque()

    def flush() -> None:
        while waiting:  # taken out one by one, which in a burst of thousands costs less than to hold them to the end
            future, item = waiting.popleft()
            future.set_result(item)

    def call(item: Any) -> asyncio.Future[Any]:
        if not waiting:
            loop.call_soon(flush)
        future = loop.create_future()
        waiting.append((future, item))
        return future

    yield call


@asynccontextmanager
async def open_map(function: Function, max_batch_size: int) -> AsyncIterator[Call]:
    async def call(items: list[Any]) -> list[Any]:
        results: list[Any] = []
        for start in range(0, len(items), max_batch_size):
            results += await function(items[start : start + max_batch_size])
        return results

    yield call
