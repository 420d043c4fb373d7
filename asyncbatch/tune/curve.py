"""The curve: how long batches of each size took, what follows from that, and a batch time to simulate with. Pure."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from statistics import median, quantiles

__all__ = ("Curve", "Line", "Step")

_PAYS = 1.1  # times as many items a second: less is lost on the way to the batch and back
_NEARLY = 0.9  # of the best speed-up there is: what more costs in waiting is not worth the rest
_JUMP = 0.15  # of a batch's time: less is no step


@dataclass(frozen=True)
class Line:
    """`fixed + each * size` seconds; no median is further from it than the share `off`, which that of `size` is."""

    fixed: float
    each: float
    off: float
    size: int


@dataclass(frozen=True)
class Step:
    """From a batch of `before` to one of `after` it takes `seconds` more than the line says."""

    before: int
    after: int
    seconds: float


@dataclass(frozen=True)
class Curve:
    """The seconds that batches of each size took; that of 1 must be among them."""

    samples: Mapping[int, Sequence[float]]

    @cached_property
    def medians(self) -> dict[int, float]:
        return {size: median(self.samples[size]) for size in sorted(self.samples)}

    def scatter(self, size: int) -> float:
        """Return how many times the median one batch in ten of `size` takes, or more."""
        return self.within(size) / self.medians[size]

    def within(self, size: int) -> float:
        """Return the seconds that nine in ten of the measured batches of `size` stayed within."""
        taken = sorted(self.samples[size])
        return taken[-(-9 * len(taken) // 10) - 1]

    @property
    def largest(self) -> int:
        return max(self.medians)

    def __call__(self, size: int) -> float:
        """Return the median for `size`, on a straight line between those that were measured."""
        below, above = self._around(size)
        share = (size - below) / (above - below) if above > below else 0.0
        return self.medians[below] * (1 - share) + self.medians[above] * share

    def scattered(self, seed: int = 0) -> Callable[[int], float]:
        """Return a batch time to simulate with: as far from the median, each time, as some measured batch near it was."""
        dice = random.Random(seed)  # noqa: S311  # no secret hangs on it
        ratios = {size: [each / self.medians[size] for each in taken] for size, taken in self.samples.items()}

        def seconds(size: int) -> float:
            return self(size) * dice.choice(ratios[dice.choice(self._around(size))])

        return seconds

    def _around(self, size: int) -> tuple[int, int]:
        sizes = list(self.medians)
        place = min(bisect_left(sizes, size), len(sizes) - 1)
        return (sizes[place], sizes[place]) if sizes[place] <= size else (sizes[place - 1], sizes[place])

    # What it means.

    def rate(self, size: int) -> float:
        """Items a second, where batches of `size` follow each other."""
        return size / self(size)

    def speedup(self, size: int) -> float:
        """How many times as many items a second as one by one."""
        return self.rate(size) / self.rate(1)

    @property
    def best(self) -> int:
        """The measured size with the most items a second."""
        return max(self.medians, key=self.speedup)

    @property
    def pays(self) -> bool:
        return self.speedup(self.best) >= _PAYS

    @property
    def pays_from(self) -> int:
        """The measured size from which on all pay, up to the best; where none does, that is the best alone."""
        sizes = [size for size in self.medians if size <= self.best]
        return max((after for size, after in pairwise(sizes) if self.speedup(size) < _PAYS), default=1)

    @property
    def enough(self) -> int:
        """The smallest measured size that is nearly as good as the best."""
        return min(size for size in self.medians if self.speedup(size) >= _NEARLY * self.speedup(self.best))

    @property
    def sizes(self) -> list[int]:
        """The limits that are worth a try: 1, and those powers of two, and the largest, that pay more than any below."""
        powers = {1 << power for power in range(1, self.largest.bit_length())} | {self.largest}
        worth = [1]
        for size in sorted(powers):
            if self.speedup(size) >= max(_PAYS, 1.02 * self.speedup(worth[-1])):
                worth.append(size)
        return worth

    @cached_property
    def line(self) -> Line:
        """The line that is nearest to the medians, in shares of each; neither part of it is below 0."""
        sizes, taken = list(self.medians), list(self.medians.values())
        fixed, each = _nearest(sizes, taken)
        off = {size: (fixed + each * size) / seconds - 1 for size, seconds in self.medians.items()}
        size = max(off, key=lambda size: abs(off[size]))
        return Line(fixed, each, abs(off[size]), size)

    @property
    def steps(self) -> list[Step]:
        """Where the time jumps, by more than the measured batches scatter; the largest first."""
        sizes = list(self.medians)
        found = [self._step(*pair) for pair in pairwise(sizes)]
        return sorted(filter(None, found), key=lambda step: -step.seconds)

    def _step(self, before: int, after: int) -> Step | None:
        rise = self.line.each * (after - before)
        jump = self.medians[after] - self.medians[before] - rise
        clear = _quarter(self.samples[after]) - _quarter(self.samples[before], 2) - rise > 0
        return Step(before, after, jump) if clear and jump > _JUMP * self.medians[before] else None


def _quarter(taken: Sequence[float], which: int = 0) -> float:
    return quantiles(taken, n=4, method="inclusive")[which] if len(taken) > 1 else taken[0]


def _nearest(sizes: Sequence[int], taken: Sequence[float]) -> tuple[float, float]:
    weights = [1 / seconds**2 for seconds in taken]
    total = sum(weights)
    mean_size = sum(map(float.__mul__, weights, map(float, sizes))) / total
    mean = sum(map(float.__mul__, weights, taken)) / total
    spread = sum(weight * (size - mean_size) ** 2 for weight, size in zip(weights, sizes, strict=True))
    product = sum(w * (size - mean_size) * seconds for w, size, seconds in zip(weights, sizes, taken, strict=True))
    each = min(max(product / spread, 0.0), mean / mean_size) if spread else 0.0
    return mean - each * mean_size, each
