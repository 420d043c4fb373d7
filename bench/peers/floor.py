"""The floor: one bare future a request, all of one pass of the loop resolved by one `call_soon`. No function is called.

No library that answers each caller of its own can cost less, so costs are given as multiples of this one.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from harness.cases import Call, Function

REQUIREMENTS: list[str] = []


@asynccontextmanager
async def open(function: Function, max_batch_size: int) -> AsyncIterator[Call]:
    loop = asyncio.get_running_loop()
    waiting: list[tuple[asyncio.Future[Any], Any]] = []

    def flush() -> None:
        for future, item in waiting:
            future.set_result(item)
        waiting.clear()

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
