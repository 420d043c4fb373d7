"""The batch time: how long a batch of so much takes, learnt from the batches that ran. Pure numbers, no clock."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

__all__ = ("BatchTime",)

_MEMORY = 64  # how many ratios the quantile is taken of
_FORGET = 0.95  # what a batch is worth once another has come
_DRIFT = 0.02  # what all that was learnt is worth once it proved wrong
_SETTLED = 8  # so many batches are believed at once, as the first ones are often slow
_CLEARLY = 1.05  # longer than expected by more than rounding
_IN_A_ROW = 4  # so many that are slower than nine in ten is no chance


class BatchTime:
    """`fixed + each * load` seconds for a batch of `load` items, or of that cost; times how far off batches were.

    A line is fitted by least squares that forget. A batch that is far off the line does not bend it, as it may be a
    straggler; a second one in a row, or a few that are all slower than expected, say that the function has changed, and
    the line is learnt anew.
    """

    def __init__(self, quantile: float) -> None:
        self.batches = 0  # how many were seen
        self.largest = 0.0  # the largest load among them
        self.fixed = self.each = 0.0
        self.margin = 1.0  # by which factor above the line all but a few batches stay below,
        self.middle = 1.0  # and half of them
        self._quantile = quantile
        self._weight = self._loads = self._squares = self._seconds = self._products = 0.0
        self._ratios: deque[float] = deque()
        self._sorted: list[float] = []
        self._strayed = False  # whether the last batch was passed over
        self._above = 0  # how many of the last batches in a row took longer than expected

    def __call__(self, load: float) -> float:
        """Return the seconds that `quantile` of all batches of `load` stay within."""
        return (self.fixed + self.each * load) * self.margin

    def even(self, load: float) -> float:
        """Return the seconds that half of all batches of `load` stay within."""
        return (self.fixed + self.each * load) * self.middle

    def observe(self, load: float, seconds: float) -> None:
        """Learn from a batch of `load` that took `seconds`."""
        self.batches += 1
        self.largest = max(self.largest, load)
        expected = self.fixed + self.each * load
        if self._proves_wrong(expected, seconds):
            self._doubt()
        if not self._strayed:
            self._fit(load, seconds)
            expected = self.fixed + self.each * load
        self._rate(seconds / expected if expected > 0 else 1.0)

    def _proves_wrong(self, expected: float, seconds: float) -> bool:
        """Tell whether all that was learnt is of no use any more, and note whether this batch is to be passed over."""
        self._above = self._above + 1 if seconds > _CLEARLY * expected * self.margin else 0
        slow, fast = seconds > max(2.0, 1.5 * self.margin) * expected, seconds < 0.5 * expected
        early, again = self.batches <= _SETTLED, self._strayed
        self._strayed = (slow or fast) and not early and not again
        return (again and (slow or fast)) or (early and fast) or self._above == _IN_A_ROW

    def _doubt(self) -> None:
        self._above = 0
        self._ratios.clear()
        self._sorted.clear()
        self._weight *= _DRIFT
        self._loads *= _DRIFT
        self._squares *= _DRIFT
        self._seconds *= _DRIFT
        self._products *= _DRIFT

    def _fit(self, load: float, seconds: float) -> None:
        self._weight = weight = _FORGET * self._weight + 1
        self._loads = _FORGET * self._loads + load
        self._squares = _FORGET * self._squares + load * load
        self._seconds = _FORGET * self._seconds + seconds
        self._products = _FORGET * self._products + load * seconds
        mean_load, mean = self._loads / weight, self._seconds / weight
        spread = self._squares / weight - mean_load * mean_load
        if spread > 0.01 * mean_load * mean_load:  # else all batches were alike, and say nothing of the slope
            self.each = (self._products / weight - mean_load * mean) / spread
        self.each = min(max(self.each, 0.0), mean / mean_load if mean_load else 0.0)
        self.fixed = max(mean - self.each * mean_load, 0.0)

    def _rate(self, ratio: float) -> None:
        if len(self._ratios) == _MEMORY:
            del self._sorted[bisect_left(self._sorted, self._ratios.popleft())]
        self._ratios.append(ratio)
        insort(self._sorted, ratio)
        self.margin, self.middle = self._at(self._quantile), self._at(0.5)

    def _at(self, quantile: float) -> float:
        ratios = self._sorted
        return ratios[min(int(quantile * len(ratios)), len(ratios) - 1)] if ratios else 1.0
