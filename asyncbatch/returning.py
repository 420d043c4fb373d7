"""Returning: whether callers come straight back once they are answered, and how long to linger for them if they do.

Without it callers in a loop split in two: one half runs while the other waits, in batches of half the size. Lingering for
those just answered brings them together again. In open loop nobody comes back at once, and nothing is ever waited for.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("SHORTEST", "Returning")

_WINDOW = 0.1  # of the shortest of the last batches: whoever is back within that came straight back
_LIKELY = 0.3  # from this share of them on it pays to linger
_FORGET = 0.8  # what a look is worth once there was another
_DOUBT = 8.0  # so many who did not come back are made up at first, as a few who came may have come by chance
_EVERY = 4  # batches between two looks at those who came, while there is no lingering
SHORTEST = 0.0025  # loops round timers up to whole milliseconds: for shorter batches no window is worth one


class Returning:
    """What became of the callers of the batches that landed, in numbers of items and the loop's seconds."""

    def __init__(self) -> None:
        self.share = 0.0  # how many of those answered came straight back, of late
        self.expected = 0  # how many wait once all those just answered are back; 0 if they are not waited for
        self._came, self._of = 0.0, _DOUBT  # how many came straight back, and of how many; of late
        self._landed_at, self._window = -math.inf, 0.0
        self._answered = self._admitted = self._batches = 0
        self.lingered = False  # whether the next batch waited for them
        self.boards = self._seen = 0  # how many more boards to look at, and who came straight back among those so far

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
        else:
            self.boards, self._seen = 2, 0  # those who come while the next batch flies board the one after it

    def until(self, now: float, admitted: int) -> float:
        """Return until when to linger: for the first to come back half a window, for the others all of it."""
        if not self.lingered:
            if now > self._landed_at + self._window:  # nobody waited, and whoever has come now did not come straight back
                self._learn(0)
                self.expected = 0
                return now
            self.lingered = True
        return self._landed_at + self._window * (0.5 if admitted == self._admitted else 1.0)

    def boarded(self, arrivals: Iterable[float], admitted: int) -> None:
        """Learn from when those who board arrived."""
        if self.lingered:
            self.lingered = False
            self._learn(admitted - self._admitted)
        elif self.boards:
            first, last = self._landed_at, self._landed_at + self._window
            self._seen += sum([first <= arrived <= last for arrived in arrivals])
            self.boards -= 1
            if not self.boards:
                self._learn(self._seen)

    def _learn(self, came: int) -> None:
        self._came = _FORGET * self._came + min(came, self._answered)
        self._of = _FORGET * self._of + self._answered
        self.share = self._came / self._of
