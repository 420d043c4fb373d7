"""Simulate: the real batcher on the virtual clock, under traffic and with a batch time that you state.

    from asyncbatch import LatencyObjective
    from asyncbatch.simulate import poisson, simulate

    outcome = simulate(
        poisson(rate=1000, count=10_000),
        lambda size: 0.010 + 0.0002 * size,
        max_batch_size=32,
        policy=LatencyObjective(0.05),
    )
    print(outcome.mean, outcome.quantile(0.99), outcome.goodput(0.05))

Not one line of the batcher is modelled: what is simulated is what runs. What it costs on the event loop is left out, as
time stands still meanwhile.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from . import parameters
from .batcher import Batcher
from .errors import AsyncBatchError
from .executors import InlineExecutor
from .testing import VirtualClockLoop

__all__ = ("Outcome", "bursts", "closed_loop", "poisson", "simulate")


@dataclass(frozen=True)
class Outcome:
    """What became of simulated callers. All times are seconds."""

    latencies: tuple[float, ...]  #: from call to result, of those who got one, the shortest first
    refused: int  #: how many got an error of asyncbatch instead: too late, or no room
    sizes: tuple[int, ...]  #: of the batches, in their order
    busy: float  #: time the function ran, all slots together
    duration: float  #: from the first call to the last result

    @property
    def mean(self) -> float:
        """The mean latency; NaN if nobody got a result."""
        return sum(self.latencies) / len(self.latencies) if self.latencies else math.nan

    @property
    def rate(self) -> float:
        """Results a second."""
        return len(self.latencies) / self.duration if self.duration else math.nan

    @property
    def mean_batch_size(self) -> float:
        return sum(self.sizes) / len(self.sizes) if self.sizes else math.nan

    def quantile(self, quantile: float) -> float:
        """Return what this share of the latencies is not above; NaN if nobody got a result."""
        if not self.latencies:
            return math.nan
        return self.latencies[max(0, math.ceil(quantile * len(self.latencies)) - 1)]

    def goodput(self, within: float) -> float:
        """Return the share of all callers who had a result `within` so many seconds."""
        total = len(self.latencies) + self.refused
        return sum(latency <= within + 1e-9 for latency in self.latencies) / total if total else math.nan


def poisson(rate: float, count: int, seed: int = 0) -> Iterator[float]:
    """Yield `count` times of arrival of callers who know nothing of each other, `rate` a second on average."""
    dice, now = random.Random(seed), 0.0  # noqa: S311  # no secret hangs on it
    for _ in range(count):
        now += dice.expovariate(rate)
        yield now


def bursts(
    rate: float, count: int, seed: int = 0, *, peak: float = 3.0, share: float = 0.25, period: float = 0.4
) -> Iterator[float]:
    """Yield `count` times of arrival that come in bursts, `rate` a second on average.

    For a `share` of the time, in stretches of random length that come about every `period` seconds, the rate is `peak`
    times the average; in between it is so much lower.
    """
    dice, now = random.Random(seed), 0.0  # noqa: S311  # no secret hangs on it
    rates = rate * (1 - peak * share) / (1 - share), rate * peak
    lengths = period * (1 - share), period * share
    high, ends = False, dice.expovariate(1 / lengths[False])
    while count:
        step = dice.expovariate(rates[high]) if rates[high] > 0 else math.inf
        if now + step > ends:  # what has no memory may be drawn anew
            now, high = ends, not high
            ends = now + dice.expovariate(1 / lengths[high])
            continue
        now, count = now + step, count - 1
        yield now


def simulate(
    arrivals: Iterable[float],
    seconds: Callable[[int], float],
    *,
    slots: int = 1,
    timeout: float = math.inf,
    **settings: Any,
) -> Outcome:
    """Return what becomes of callers who come at the times `arrivals`, which must not fall, with one item each.

    A batch of `size` items takes `seconds(size)`, in any of `slots`; `settings` are the keywords of `Batcher`, but for
    `executor`; `timeout` is that of each call. Raises what the batcher raises for settings that make no sense, and
    `RuntimeError` where an event loop runs, as it runs one of its own.
    """
    return _Run(seconds, slots, timeout, settings).open_loop(iter(arrivals))


def closed_loop(
    callers: int,
    thinking: Callable[[random.Random], float],
    seconds: Callable[[int], float],
    *,
    duration: float,
    seed: int = 0,
    slots: int = 1,
    timeout: float = math.inf,
    **settings: Any,
) -> Outcome:
    """Return what becomes of so many `callers` who call again and again for `duration` seconds.

    After each answer a caller waits for `thinking(dice)` seconds, where `dice` is a `random.Random`. All else is as for
    `simulate`.
    """
    parameters.count("callers", callers)
    return _Run(seconds, slots, timeout, settings).closed_loop(callers, thinking, duration, random.Random(seed))  # noqa: S311


class _Run:
    """One simulation: callers come, and note when they are answered."""

    def __init__(self, seconds: Callable[[int], float], slots: int, timeout: float, settings: dict[str, Any]) -> None:
        _refuse_inside_a_loop()
        self._seconds = seconds
        self._timeout = timeout
        self._batcher: Batcher[None, None] = Batcher(self._function, **settings, executor=InlineExecutor(slots))
        self._loop = VirtualClockLoop()
        self._loop.set_debug(False)  # under `-X dev` it would note where each of the callers was made
        self._latencies: list[float] = []
        self._sizes: list[int] = []
        self._busy = 0.0
        self._refused = 0
        self._first = math.inf

    def open_loop(self, arrivals: Iterator[float]) -> Outcome:
        return self._outcome(self._come(arrivals))

    def closed_loop(
        self, callers: int, thinking: Callable[[random.Random], float], duration: float, dice: random.Random
    ) -> Outcome:
        return self._outcome(self._come_again(callers, thinking, duration, dice))

    def _outcome(self, calls: Coroutine[Any, Any, None]) -> Outcome:
        try:
            self._loop.run_until_complete(calls)
            duration = max(0.0, self._loop.time() - self._first)
        finally:
            self._loop.close()
        return Outcome(tuple(sorted(self._latencies)), self._refused, tuple(self._sizes), self._busy, duration)

    async def _come(self, arrivals: Iterator[float]) -> None:
        async with self._batcher, asyncio.TaskGroup() as calls:
            for at in arrivals:
                if at > self._loop.time():
                    await self._until(at)
                calls.create_task(self._call())

    async def _until(self, at: float) -> None:
        come = self._loop.create_future()  # half the price of a sleep
        self._loop.call_at(at, come.set_result, None)
        await come

    async def _come_again(
        self, callers: int, thinking: Callable[[random.Random], float], duration: float, dice: random.Random
    ) -> None:
        async def call_again() -> None:
            while self._loop.time() < duration:
                await self._call()
                await asyncio.sleep(thinking(dice))

        async with self._batcher, asyncio.TaskGroup() as calls:
            for _ in range(callers):
                calls.create_task(call_again())

    async def _call(self) -> None:
        began = self._loop.time()
        self._first = min(self._first, began)
        try:
            await self._batcher(None, timeout=self._timeout)
        except AsyncBatchError:
            self._refused += 1
        else:
            self._latencies.append(self._loop.time() - began)

    async def _function(self, items: list[None]) -> list[None]:
        seconds = self._seconds(len(items))
        self._sizes.append(len(items))
        self._busy += seconds
        await asyncio.sleep(seconds)
        return items


def _refuse_inside_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        "a simulation runs an event loop of its own, and one runs here; write `await asyncio.to_thread(simulate, ...)`"
    )
