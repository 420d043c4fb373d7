"""The cases: what is measured of one peer, inside a process of its own. One coroutine a case, all with one signature.

The function of the batches is the identity, on the loop, so all that is measured is what it costs to get an item into a
batch and its result back to its caller. Costs are CPU time, which other processes disturb less than the time on the wall.
Still they do, for seconds on end and by half or more, so peer and floor take turns, several in a second: their ratio holds
where the microseconds do not. The garbage collector stays on, as it does for users.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from peers import floor

from . import Call, Function, Open

Values: TypeAlias = dict[str, float | None]

TURNS = 8  # of the peer and of the floor, one after the other
SETTLED = 0.1  # seconds; longer than any peer waits before it calls the function


async def identity(items: list[Any]) -> list[Any]:
    return items


identity.plain = lambda items: items  # type: ignore[attr-defined]  # see `blocking`

# The cases.


async def closed(peer: Any, size: int, seconds: float, max_batch_size: int) -> Values:
    """`size` callers, each awaiting one item after another: the cost of a request."""
    return await beside_floor(race, peer, size, seconds, max_batch_size)


async def replica(peer: Any, size: int, seconds: float, max_batch_size: int) -> Values:
    """The closed loop where all of it, callers and floor too, runs in a process that the peer's service has started."""
    return await peer.closed(size, seconds, max_batch_size)


async def burst(peer: Any, size: int, seconds: float, max_batch_size: int) -> Values:
    """`size` tasks made at once, each awaiting one item: the cost of a request when so many wait, its task included."""
    return await beside_floor(rush, peer, size, seconds, max_batch_size)


async def bulk(peer: Any, size: int, seconds: float, max_batch_size: int) -> Values:
    """One list of `size` items, by the peer's own way for lists if it has one: the cost of an item."""
    open_map: Open = getattr(peer, "open_map", None) or gathering(peer.open)
    items = list(range(size))
    async with open_map(identity, max_batch_size) as call:
        if list(await call(items[:1000])) != items[:1000]:
            raise ValueError("a list came back otherwise than it went in")
        spent, times = await fit(partial(repeat, call, items), seconds)
        return {"cpu_us": spent.cpu / times / size * 1e6}


async def memory(peer: Any, size: int, seconds: float, max_batch_size: int) -> Values:
    """`size` callers wait, and the function never returns: the bytes of one waiting request.

    That is what is allocated until all wait, less the same for as many tasks of which each awaits a bare future, plus the
    size of that future: so neither the item nor the caller's task counts, but its future does, and all that the peer keeps
    for it. None if the peer did not keep them waiting.
    """
    returns, items = asyncio.Event(), list(range(size))

    async def stuck(batch: list[Any]) -> list[Any]:
        await returns.wait()
        return batch

    loop = asyncio.get_running_loop()
    for _ in range(2):  # the first grows the tables of asyncio itself, which then have room for all
        bare, tasks = await fill(lambda _: loop.create_future(), items)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    async with peer.open(stuck, max_batch_size) as call:
        taken, tasks = await fill(call, items)
        waits = not any(task.done() for task in tasks)
        returns.set()
        await asyncio.wait(tasks)
    return {"bytes": (taken - bare) / size + sys.getsizeof(loop.create_future()) if waits else None}


async def idle(peer: Any, size: int, seconds: float, max_batch_size: int) -> Values:
    """A second in which nobody calls, after `size` callers did: its CPU time, passes of the loop, and timers that are set.

    The passes that a second of an empty loop takes are not counted. Only the standard loop can tell passes and timers.
    """
    loop: Any = asyncio.get_running_loop()
    tells = hasattr(loop, "_run_once")
    passes = count_passes(loop) if tells else lambda: 0
    before = passes()
    await asyncio.sleep(0.01)
    own = passes() - before
    async with peer.open(identity, max_batch_size) as call:
        await check(call)
        await race(call, size, 10)
        await asyncio.sleep(SETTLED)
        timers = sum(not timer.cancelled() for timer in loop._scheduled) if tells else None
        before, clock = passes(), Clock()
        await asyncio.sleep(1)
        cpu = clock.read().cpu
        wakeups = passes() - before - own if tells else None
    return {"cpu_ms": cpu * 1e3, "wakeups": wakeups, "timers": timers}


KINDS: dict[str, Callable[[Any, int, float, int], Coroutine[Any, Any, Values]]] = {
    "closed": closed,
    "replica": replica,
    "burst": burst,
    "bulk": bulk,
    "memory": memory,
    "idle": idle,
}


# What they are made of.


class Spent(NamedTuple):
    cpu: float
    wall: float


Run: TypeAlias = Callable[[int], Awaitable[Spent]]  # so many times


class Clock:
    """Runs from when it is made; garbage of what came before is not in its time."""

    def __init__(self) -> None:
        gc.collect()
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> Spent:
        cpu, wall = time.process_time(), time.perf_counter()
        return Spent(cpu - self._cpu, wall - self._wall)


async def beside_floor(
    drive: Callable[[Call, int, int], Awaitable[Spent]], peer: Any, size: int, seconds: float, max_batch_size: int
) -> Values:
    async with peer.open(identity, max_batch_size) as call, floor.open(identity, max_batch_size) as bare:
        await check(call)
        return await compare(partial(drive, call, size), partial(drive, bare, size), size, seconds)


async def compare(run: Run, run_floor: Run, size: int, seconds: float) -> Values:
    """Let peer and floor take turns for about `seconds` each, after trials that warm them up; give the best turn of each.

    What disturbs a turn only ever adds to it, so the best is the truest; the median of ratios strays twice as far.
    """
    spent, times = await fit(run, seconds / TURNS)
    _, floor_times = await fit(run_floor, seconds / TURNS)
    turns = max(1, min(TURNS, round(seconds / spent.wall)))
    pairs = [(await run(times), await run_floor(floor_times)) for _ in range(turns)]
    cpu = min(each.cpu for each, _ in pairs) / times / size
    wall = min(each.wall for each, _ in pairs) / times / size
    floor_cpu = min(each.cpu for _, each in pairs) / floor_times / size
    return {"cpu_us": cpu * 1e6, "wall_us": wall * 1e6, "ratio": cpu / floor_cpu}


async def fit(run: Run, seconds: float) -> tuple[Spent, int]:
    """Find out how many times take about `seconds`, and return what they took, and how many."""
    times, spent = 1, await run(1)
    while spent.wall < seconds / 8:
        times *= 4
        spent = await run(times)
    more = round(times * seconds / spent.wall)
    return (await run(more), more) if more > times else (spent, times)


async def race(call: Call, size: int, times: int) -> Spent:
    start = asyncio.Event()

    async def caller() -> None:
        await start.wait()
        for item in range(times):
            await call(item)

    tasks = [asyncio.create_task(caller()) for _ in range(size)]
    await asyncio.sleep(0)  # now all stand at the start, and getting there is not in the time
    start.set()
    clock = Clock()
    await ended(tasks)
    return clock.read()


async def rush(call: Call, size: int, times: int) -> Spent:
    clock = Clock()
    for _ in range(times):
        await ended([asyncio.create_task(ask(call, item)) for item in range(size)])
    return clock.read()


async def repeat(call: Call, items: list[Any], times: int) -> Spent:
    clock = Clock()
    for _ in range(times):
        await call(items)
    return clock.read()


async def ask(call: Call, item: Any) -> Any:
    return await call(item)


async def ended(tasks: list[asyncio.Task[Any]]) -> None:
    # One by one: `asyncio.gather` adds a callback a task, which would be in the time, and costs more than some peers.
    for task in tasks:
        await task


async def check(call: Call) -> None:
    """Raise if the peer gives anybody another's result: then it is not set up as it should be."""
    items = list(range(1000))
    if await asyncio.gather(*(ask(call, item) for item in items)) != items:
        raise ValueError("callers did not get the results of their own items")


def gathering(open_one: Open) -> Open:
    """Return what takes a list where the peer takes single items only."""

    @asynccontextmanager
    async def open_map(function: Function, max_batch_size: int) -> AsyncIterator[Call]:
        async with open_one(function, max_batch_size) as call:

            async def call_all(items: list[Any]) -> list[Any]:
                return await asyncio.gather(*(call(item) for item in items))

            yield call_all

    return open_map


async def fill(call: Call, items: list[Any]) -> tuple[int, list[asyncio.Task[Any]]]:
    """Let a task await each item, and return how many bytes that took, with the tasks."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    tasks = [asyncio.create_task(ask(call, item)) for item in items]
    await asyncio.sleep(SETTLED)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return after - before, tasks


def count_passes(loop: Any) -> Callable[[], int]:
    """Return what tells how many passes the loop has made since now."""
    passes = 0
    run_once = loop._run_once

    def counted() -> None:
        nonlocal passes
        passes += 1
        run_once()

    loop._run_once = counted
    return lambda: passes
