"""Assess: the function runs for real, in batches of many sizes, and both its time and its results are noted."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from asyncbatch.batcher import Batcher
from asyncbatch.executors import Executor
from asyncbatch.metrics.events import BatchEnded, Event
from asyncbatch.queues import Fifo

from .curve import Curve
from .inputs import BadInput
from .quality import difference

__all__ = ("Likeness", "Profile", "measure", "sizes_up_to")

_ROUNDS = 40  # so many runs of each size are enough to see how far they scatter
_FEW = 3  # fewer say nothing
_WARMING = 0.4  # of the time: what is not warm by then is too large to be measured in it


@dataclass
class Likeness:
    """How many results were compared with those of the same items alone, how many differ, and by how much at most."""

    compared: int = 0
    differing: int = 0
    worst: float = 0.0

    def note(self, apart: float) -> None:
        self.compared += 1
        self.differing += apart > 0
        self.worst = max(self.worst, apart)


@dataclass(frozen=True)
class Profile:
    """What was measured. `left_out` says why larger sizes were not."""

    curve: Curve
    likeness: dict[int, Likeness]
    left_out: str = ""


def sizes_up_to(most: int) -> list[int]:
    """Return 1, 2, 3, 4, 6, 8, 12, 16, ... and `most`."""
    sizes = {1, most}
    for power in range(1, most.bit_length()):
        sizes |= {1 << power, 3 << power >> 1}
    return sorted(size for size in sizes if size <= most)


async def measure(
    function: Callable[..., Any],
    items: Sequence[Any],
    *,
    most: int,
    seconds: float,
    executor: str | Executor | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Profile:
    """Return how long batches of up to `most` of the `items` take, measured for about so many `seconds`.

    Each size runs once to warm up, then all in turns, in a new order each time. Raises `BadInput` if the function fails for
    an item alone.
    """
    run = _Measuring(items, seconds, progress)
    batcher = Batcher(function, executor=executor, queue=Fifo(maxsize=max(1024, most)), observers=[run.observe])
    async with batcher:
        run.begin(batcher)
        sizes = await run.warm_up(sizes_up_to(most))
        await run.rounds(sizes)
    return Profile(Curve({size: tuple(run.taken[size]) for size in sizes}), dict(run.likeness), run.left_out)


@dataclass
class _Measuring:
    items: Sequence[Any]
    seconds: float
    progress: Callable[[float], None]
    taken: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    likeness: defaultdict[int, Likeness] = field(default_factory=lambda: defaultdict(Likeness))
    left_out: str = ""
    alone: dict[int, Any] = field(default_factory=dict)  # the result of each item that ran alone, by its place
    last: BatchEnded = field(init=False)

    def observe(self, event: Event) -> None:
        if isinstance(event, BatchEnded):
            self.last = event

    def begin(self, batcher: Batcher[Any, Any]) -> None:
        self.batcher = batcher
        self.time = asyncio.get_running_loop().time
        self.began = self.time()

    @property
    def elapsed(self) -> float:
        return self.time() - self.began

    async def warm_up(self, sizes: Sequence[int]) -> list[int]:
        """Run each size once, the smallest first, and items alone to compare with; return the sizes there is time for."""
        warm: list[int] = []
        for size in sizes:
            await self._learn_alone(size)
            if len(warm) >= _FEW and self.elapsed > _WARMING * self.seconds:
                self.left_out = f"Sizes from {size} on are left out, as there was no time for them; see --seconds."
                break
            taken = await self._run(size, 0)
            if taken is None:
                break
            warm.append(size)
        return warm

    async def _learn_alone(self, count: int) -> None:
        for place in range(min(count, len(self.items))):
            if place not in self.alone and (place < _FEW or self.elapsed < _WARMING / 2 * self.seconds):
                await self._run(1, place)

    async def rounds(self, sizes: list[int]) -> None:
        dice = random.Random(0)  # noqa: S311  # no secret hangs on it
        for turn in range(_ROUNDS):
            for size in dice.sample(sizes, len(sizes)):
                if turn >= _FEW and self.elapsed + self.taken[size][-1] > self.seconds:
                    return
                taken = await self._run(size, turn * size)
                if taken is None:  # it went well when it was warmed up
                    raise BadInput(
                        f"the function failed for a batch of {size} that differs from one before: {self.left_out}"
                    )
                self.taken[size].append(taken)

    async def _run(self, size: int, start: int) -> float | None:
        """Run the items from `start` on in one batch and return its seconds; None if it failed as a whole."""
        places = [(start + step) % len(self.items) for step in range(size)]
        self.batcher.max_batch_size = size
        results = await self.batcher.map([self.items[place] for place in places], return_exceptions=True)
        self.progress(self.elapsed)
        failed = next((result for result in results if isinstance(result, BaseException)), None)
        if failed is not None and size == 1:
            raise BadInput(f"the function fails for item {places[0] + 1} alone: {failed!r}; leave it out") from failed
        if self.last.error is not None:
            self.left_out = f"A batch of {size} failed: {failed!r}. Sizes from there on are left out."
            return None
        self._compare(places, results)
        return self.last.seconds

    def _compare(self, places: Sequence[int], results: Sequence[Any]) -> None:
        if len(results) == 1 and places[0] not in self.alone:
            self.alone[places[0]] = results[0]
            return
        for place, result in zip(places, results, strict=True):
            if place in self.alone:
                self.likeness[len(results)].note(difference(self.alone[place], result))
