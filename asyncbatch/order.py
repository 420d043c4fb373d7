"""The order: requests that wait, and which of them goes next. What a queue discipline overrides.

A request that leaves early stays behind as a tombstone, without its `place` and item: leaving is O(1) wherever it stood.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, cast

from .crowd import Crowd, persons
from .doorbell import Doorbell
from .lobby import SWEEP_AT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .request import Place

__all__ = ("Order",)

_PIECE = 64  # so many of a crowd become requests at a time, where not all have to


class Order(Doorbell):
    """Requests in the order of their arrival: those in the line, then those in the crowd.

    What other disciplines make of it has no crowd: their requests matter one by one.
    """

    cost = 0.0  # of what waits, kept only when requests have costs
    _dead = 0  # how many tombstones there are
    in_order: ClassVar[bool] = True  # whether they go in the order of their arrival
    objective = math.inf  # within how many seconds those without a deadline are to be answered
    crowd: Crowd = cast("Crowd", None)  # there is none where it is not made, and nobody may come to it
    handed_out = False  # whether futures may know their requests

    def _init(self, maxsize: float) -> None:  # noqa: ARG002
        self.crowd = Crowd(self._loop.create_future())
        self._queue: deque[Any] = deque()
        self._get = self._queue.popleft  # type: ignore[method-assign]

    def _put(self, request: Any) -> None:
        if self.crowd:
            self._disperse()
        self._queue.append(request)

    def _disperse(self, count: int = sys.maxsize) -> None:
        """Make requests of the crowd, or of the next `count` in it."""
        self._line_up_persons(*self.crowd.take(count))

    def _line_up_persons(self, items: list[Any], futures: list[Any], arrivals: list[float]) -> None:
        self.handed_out = True
        self._queue.extend(persons(items, futures, arrivals, cast("Place", self)))

    def _take(self, limit: int) -> list[Any]:
        """Return those who go next, at most `limit`, tombstones included."""
        if len(self._queue) > limit:
            return [self._get() for _ in range(limit)]
        taken = list(self._queue)
        self._queue.clear()
        return taken

    def _line(self) -> Any:
        """Return the line of those who have a request; where it is empty the next of the crowd come into it."""
        while self.crowd and not self._queue:
            self._disperse(_PIECE)
        return self._queue

    def _peek(self) -> Any:
        line = self._line()
        return line[0] if line else None

    def _entries(self) -> Iterable[Any]:
        """All entries, tombstones included, in no matter which order."""
        if self.crowd:
            self._disperse()
        return self._queue

    def _sweep(self) -> None:
        """Take the tombstones out."""
        live = [request for request in self._queue if request.place is not None]
        self._queue.clear()
        self._queue.extend(live)

    def _victim(self) -> Any:
        """Return the least urgent request; among equals, the one that waited longest and is the likeliest to be late."""
        return self.head()

    def rerank(self, request: Any) -> None:
        """Note that `request`, which waits here, became more urgent."""

    def worth(self, count: int) -> float:
        """Return about what a batch of `count` of those who wait costs."""
        return count * self.cost / self.qsize()

    def eldest(self) -> Any:
        """Return the request that has waited longest, None if none waits."""
        return self.head()

    def oldest(self) -> float:
        """Return the arrival time of the request that has waited longest, `inf` if none waits."""
        if self.crowd and not self._queue and (arrived := self.crowd.oldest()) is not None:
            return arrived
        return math.inf if (request := self.eldest()) is None else request.arrived

    def head(self) -> Any:
        """Return the request that goes next, None if nobody waits."""
        while (request := self._peek()) is not None:
            if request.place is None:
                self._get()
                self._dead -= 1
            elif request.future.done():  # cancelled in this very pass of the loop: its caller was not resumed yet
                request.leave("cancelled")
            else:
                return request
        return None

    def prune(self, enough: int) -> None:
        """Let those go who were cancelled in this very pass and not resumed yet, unless `enough` others are found first."""
        if self.crowd and not self._queue and not self.crowd.is_thinned(enough):
            return
        cancelled = []
        for request in self._entries():
            if request.place is None or request.future.done():
                cancelled.append(request)
                continue
            enough -= request.size
            if enough <= 0:
                break
        for request in cancelled:
            request.leave("cancelled")

    def _bury(self) -> None:
        self._dead += 1
        if self._dead > max(SWEEP_AT, len(self._queue) // 2):
            self._sweep()
            self._dead = 0
