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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from . import parameters
from .batcher import Batcher
from .errors import AsyncBatchError
from .executors import InlineExecutor
from .testing import VirtualClockLoop

__all__ = ("Outcome", "bursts", "poisson", "simulate")


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


def simulate(arrivals: Iterable[float], seconds: Callable[[int], float], *, slots: int = 1, **settings: Any) -> Outcome:
    """Return what becomes of callers who come at the times `arrivals`, which must not fall, one item each.

    A batch of `size` items takes `seconds(size)`, in any of `slots`; `settings` are the keywords of `Batcher`, but for
    `executor`. Runs an event loop of its own, so call it where none is running. Raises what the batcher raises for
    settings that make no sense.
    """
    parameters.count("slots", slots)
    loop = VirtualClockLoop()
    try:
        return loop.run_until_complete(_Run(loop, seconds, slots, settings).outcome(iter(arrivals)))
    finally:
        loop.close()


class _Run:
    """One simulation: callers come, and note when they are answered."""

    def __init__(self, loop: VirtualClockLoop, seconds: Callable[[int], float], slots: int, settings: Any) -> None:
        self._loop = loop
        self._seconds = seconds
        self._batcher: Batcher[None, None] = Batcher(self._function, **settings, executor=InlineExecutor(slots))
        self._callers: set[asyncio.Task[None]] = set()
        self._latencies: list[float] = []
        self._sizes: list[int] = []
        self._busy = 0.0
        self._refused = 0

    async def outcome(self, arrivals: Iterator[float]) -> Outcome:
        began: float | None = None
        async with self._batcher:
            done = self._loop.create_future()
            self._come(arrivals, done)
            began = await done
            while self._callers:
                await asyncio.wait(self._callers)
        return Outcome(
            tuple(sorted(self._latencies)), self._refused, tuple(self._sizes), self._busy, self._loop.time() - began
        )

    def _come(self, arrivals: Iterator[float], done: asyncio.Future[float], first: float | None = None) -> None:
        """Let the next caller come when it is time, and so on."""
        at = next(arrivals, None)
        if at is None:
            done.set_result(first or 0.0)
        else:
            self._loop.call_at(at, self._call, arrivals, done, at if first is None else first)

    def _call(self, arrivals: Iterator[float], done: asyncio.Future[float], first: float) -> None:
        caller = self._loop.create_task(self._caller())
        self._callers.add(caller)
        caller.add_done_callback(self._callers.discard)
        self._come(arrivals, done, first)

    async def _caller(self) -> None:
        began = self._loop.time()
        try:
            await self._batcher(None)
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
