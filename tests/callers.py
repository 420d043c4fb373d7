"""What every test of a batcher needs: one that does not hold up a test that has failed, and callers that do not hang."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from asyncbatch import Batcher
from asyncbatch.testing import VirtualClockLoop


@contextlib.asynccontextmanager
async def running(function: Any, **options: Any) -> AsyncIterator[Any]:
    """A batcher that does not hold up a test that has failed."""
    async with Batcher(function, **options) as batcher:
        try:
            yield batcher
        except BaseException:
            await batcher.aclose(drain=False, timeout=0)
            raise


async def outcome(awaitable: Awaitable[Any]) -> Any:
    """The result or the exception; a caller that hangs fails the test instead of stopping it."""
    patience = 5000 if isinstance(asyncio.get_running_loop(), VirtualClockLoop) else 10
    async with asyncio.timeout(patience):
        try:
            return await awaitable
        except BaseException as error:
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise
            return error


async def outcomes(batcher: Any, *items: Any) -> list[Any]:
    return await asyncio.gather(*[outcome(batcher(item)) for item in items])


async def passes(count: int = 6) -> None:
    """Let the loop go round, without time going by."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came true")


def conserved(batcher: Any) -> bool:
    """Whether each item that was submitted is in one of its places, or had one of its outcomes."""
    s = batcher.statistics()
    had = s.succeeded + s.failed + s.cancelled + s.expired + s.rejected + s.closed
    return bool(s.submitted == had + s.queued + s.in_flight)
