"""What every test of a batcher needs: one that does not hold up a test that has failed, and callers that do not hang."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

from asyncbatch import Batcher
from asyncbatch.testing import RecordingFunction, VirtualClockLoop


@contextlib.asynccontextmanager
async def running(function: Any, **options: Any) -> AsyncIterator[Any]:
    """A batcher that does not hold up a test that has failed."""
    async with Batcher(function, **options) as batcher:
        try:
            yield batcher
        except BaseException:
            await batcher.aclose(drain=False, timeout=0)
            raise


async def outcome(awaitable: Awaitable[Any], patience: float = 10) -> Any:
    """The result or the exception; a caller that hangs fails the test instead of stopping it."""
    if isinstance(asyncio.get_running_loop(), VirtualClockLoop):
        patience = 5000
    async with asyncio.timeout(patience):
        try:
            return await awaitable
        except BaseException as error:
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise
            return error


async def outcomes(batcher: Any, *items: Any, patience: float = 10) -> list[Any]:
    return await asyncio.gather(*[outcome(batcher(item), patience) for item in items])


def kinds(outcomes: Iterable[Any]) -> list[Any]:
    """The results, and the classes of the exceptions."""
    return [type(each) if isinstance(each, BaseException) else each for each in outcomes]


@contextlib.asynccontextmanager
async def busy(**options: Any) -> AsyncIterator[Any]:
    """A batcher whose only slot is taken until `batcher.release()`, and its function, which remembers what comes after."""
    gate = asyncio.Event()
    function = RecordingFunction(script=[gate])
    async with running(function, **options) as batcher:
        batcher.release = gate.set
        first = batcher.submit("first")
        await until(lambda: function.running)
        function.batches.clear()
        yield batcher, function
        gate.set()
        assert await outcome(first) == "first"


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


async def harried(
    batcher: Any, function: RecordingFunction, call: Callable[[int], Awaitable[Any]], rng: Any, *checks: Any
) -> None:
    """Let 120 calls come, and some of them go; at every moment nothing is lost and `checks` hold, and no item runs twice."""
    tasks = [asyncio.create_task(outcome(call(number))) for number in range(120)]
    for _ in range(100):
        await asyncio.sleep(rng.random() * 0.2)
        rng.choice(tasks).cancel()
        batcher.flush()
        assert conserved(batcher)
        assert all(check() for check in checks)
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0.5)
        batcher.flush()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert conserved(batcher)
    assert len(function.items) == len(set(function.items))
