"""Returning: whether callers come straight back once they are answered, and how long to linger for them if they do.

Without it callers in a loop split in two: one half runs while the other waits, in batches of half the size. Lingering for
those just answered brings them together again. In open loop nobody comes back at once, and nothing is ever waited for.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("SHORTEST", "Returning")

_WINDOW = 0.1  # of the shortest of the last batches: whoever is back within that came straight back
_LIKELY = 0.3  # from this share of them on it pays to linger
_SWAY = 0.2  # how much one batch says of the share
_EVERY = 4  # batches between two looks at those who came, while there is no lingering
SHORTEST = 0.0025  # loops round timers up to whole milliseconds: for shorter batches no window is worth one


class Returning:
    """What became of the callers of the batches that landed, in numbers of items and the loop's seconds."""

    def __init__(self) -> None:
        self.share = 0.0  # how many of those answered came straight back, of late
        self.watching = False  # whether the next to board say something of it
        self.expected = 0  # how many wait once all those just answered are back
        self._landed_at = -math.inf
        self._window = 0.0
        self._answered = self._admitted = 0
        self._lingered = False
        self._batches = 0
        self._sample: list[float] = []  # between which times whoever came was back, of how many, and how many so far

    def landed(self, now: float, answered: int, waiting: int, admitted: int, recent: Iterable[float]) -> None:
        """Note that `answered` items were answered while others were `waiting`; `recent` are the last batches' seconds."""
        self._batches += 1
        self.expected = 0
        likely = self.share > _LIKELY
        if (not likely and self._batches % _EVERY) or (shortest := min(recent)) < SHORTEST:
            return
        self._landed_at, self._window = now, _WINDOW * shortest
        self._answered, self._admitted = answered, admitted
        if likely:
            self.expected = waiting + answered
        elif not self._sample:
            self._sample = [now, now + self._window, answered, 0, 2]
            self.watching = True

    def until(self, now: float, admitted: int) -> float:
        """Return until when to linger: for the first to come back half a window, for the others all of it."""
        if not self._lingered:
            if now > self._landed_at + self._window:  # nobody waited, and whoever has come now did not come straight back
                self._learn(0.0)
                self.expected = 0
                return now
            self._lingered = self.watching = True
        return self._landed_at + self._window * (0.5 if admitted == self._admitted else 1.0)

    def boarded(self, passengers: Iterable[Any], admitted: int) -> None:
        """Learn from those who board."""
        if self._lingered:
            self._lingered = False
            self._learn((admitted - self._admitted) / self._answered)
        elif self._sample:
            start, end, answered, _, _ = self._sample
            self._sample[3] += sum([start <= each.arrived <= end for each in passengers])
            self._sample[4] -= 1
            if not self._sample[4]:  # those who came while the next batch flew board the one after it
                self._learn(self._sample[3] / answered)
                self._sample = []
        self.watching = self._lingered or bool(self._sample)

    def _learn(self, share: float) -> None:
        self.share += _SWAY * (min(share, 1.0) - self.share)
