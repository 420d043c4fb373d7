"""Lull: whether the loop has more to do first, before a batch that is not full begins.

Callers who come over a network are back within a few passes of the loop, which is busy with them. A batch that began at the
first of them would leave without the others, and they would split into halves or thirds, in batches of such a size. So the
loop goes first as long as it stirs: as its passes bring somebody, or take a while. Until all who were just answered are
back it may be quiet for a moment, where batches are long. A batch that works on the loop, or all the time in a thread,
which shares the interpreter with it, would hold it up anyway: so all that may last for the time of a batch, or 2.5 ms.

One in another process, or that mostly waits, for a device or an answer, would be at work meanwhile. What is lost then is
the time since the last one came back, and what is gained is what a batch costs however small it is. Nobody knows that, but
half of a batch's time is a good guess: callers who are back sooner share a batch, and where the loop has more to do than
that, halves are better than a whole, as one is at work while the loop is.

Where the loop went first for long, several times, and nobody came, it is busy with something else, and this is only tried
now and then: rarely, as that leaves two halves behind that are not alike. It is so too where a batch could have been at
work meanwhile, and the loop could not bring them all in time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .returning import SHORTEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from .intake import IntakeQueue

__all__ = ("Lull",)

_WORTH = 0.0001  # seconds; a pass takes microseconds, and is not worth it before shorter batches
_NOTICEABLE = 0.05  # of a batch's time: a pass that takes longer was one with work in it, and for so long it may be quiet
_LONGEST = 1.0  # of a batch's time, and no more than `SHORTEST`: how long the loop goes first,
_BESIDE = 0.5  # or else so much, since a batch came back, where the next could be at work meanwhile,
_WAITS = 0.125  # as it could if the last one worked for no more of its time than this
_BARREN = 8  # so many times more often it was in vain than not, and the loop does not go first any more,
_EVERY = 256  # but once in so many batches, to see


class Lull:
    """What one slot's resident knows of the loop between two batches.

    `took` is for how long the last batch ran, if that makes passes worth giving, else 0.0; `trying` says whether there is
    something to learn from the pass that was given last.
    """

    def __init__(self, queue: IntakeQueue, stopwatch: Callable[[], float], slot: Any) -> None:
        self.took = 0.0
        self.trying = False
        where = getattr(slot, "where", "apart")
        self._on_loop = where == "loop"
        self._threaded: Any = slot if where == "thread" else None  # `_thread` would be a keyword where this is compiled
        self._beside = False  # whether the next batch could be at work while the loop goes first, as the last one was
        self._held = math.inf  # for how long the batch that flies held up the loop; so far it does
        self._queue = queue
        self._stopwatch: Any = stopwatch
        self._landed = 0.0
        self._since = math.inf  # when the loop began to go first: not yet; -inf if it does not this time
        self._looked = 0.0  # when, and
        self._admitted = 0  # how many had come by then
        self._before = 0  # how many had come as it began to go first
        self._stirred = 0.0  # when a pass last brought somebody, or took a while
        self._all_back = 0  # how many will have come by when all who were answered last are back
        self._barren = 0  # how many times more often that was in vain than not; once it is given up, each batch counts

    def waits(self, seconds: float, size: int) -> None:
        """Note that the batch that flies, of `size` items, held up the loop for `seconds`, and leaves it to others now."""
        self._held = seconds if size > 1 else math.inf

    def landed(self, now: float, seconds: float, size: int) -> None:
        """Note that a batch of `size` items ran for `seconds`, until `now`; after one alone nobody is waited for."""
        self.took = seconds if size > 1 and seconds >= _WORTH else 0.0
        self._landed, self._since = now, math.inf
        self._all_back = self._queue.gate.admitted + size if seconds >= SHORTEST else 0
        worked = self._held if self._threaded is None else getattr(self._threaded, "worked", math.inf)
        self._beside, self._held = worked < seconds * _WAITS, math.inf

    def opens(self) -> bool:
        """Tell whether the loop goes first, now that a batch has landed while others wait."""
        if self._queue.qsize() >= self._queue.most:
            return self._on_loop  # so that those just answered are told before the next batch holds up the loop
        return self._begin() or self._on_loop

    def stirs(self, spare: float) -> bool:
        """Tell whether the loop goes first, once more; those who wait could wait for `spare` seconds without being late."""
        longest = min(self.took * (_BESIDE if self._beside else _LONGEST), SHORTEST)
        if spare < longest or self._since == -math.inf:
            return False
        if self._since == math.inf:
            idle = self._stopwatch() - self._landed
            pays = idle < longest if self._beside else self._queue.qsize() > 1 or idle < self.took
            return pays and self._begin()
        looked, admitted, moment = self._looked, self._admitted, self.took * _NOTICEABLE
        self._look()
        if stirred := self._admitted != admitted or self._looked - looked > moment:
            self._stirred = self._looked
        late = self._looked - self._since >= longest
        awaited = self._admitted < self._all_back
        over = self._looked - self._stirred >= moment
        # A clock that stands still in a pass is a virtual one, on which no moment would ever be over.
        self.trying = not late and (stirred or (awaited and not over and self._looked > looked))
        if not self.trying:
            self._weigh(late, over)
        return self.trying

    def _weigh(self, late: bool, gave_up: bool) -> None:
        """Learn from how it ended: that they came in time speaks for it, and beside the loop nothing else does."""
        came = self._admitted != self._before
        if late or (gave_up and not came):
            self._barren += 1
        elif came and not gave_up:
            self._barren = max(0, min(self._barren, _BARREN) - 1)

    def learn(self) -> None:
        """Learn whether the pass that was given brought somebody."""
        self.trying = False
        if self._queue.gate.admitted != self._admitted and not (self._beside and self.took):
            self._barren = 0  # as it costs nothing to have brought somebody, however late

    def _begin(self) -> bool:
        """Let the loop go first, unless that was in vain of late."""
        self._look()
        self._stirred, self._before = self._looked, self._admitted
        self.trying = self._barren < _BARREN or not self._barren % _EVERY
        self._since = (self._landed if self._beside else self._looked) if self.trying else -math.inf
        self._barren += not (self.trying and self.took)  # else it is known in the end whether it was for nothing
        return self.trying

    def _look(self) -> None:
        self._looked, self._admitted = self._stopwatch(), self._queue.gate.admitted
