"""The order: requests that wait, and which of them goes next. What a queue discipline overrides.

A request that leaves early stays behind as a tombstone, without its `place` and item: leaving is O(1) wherever it stood.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, cast

from .compiling import mypyc_attr
from .crowd import Crowd, persons
from .doorbell import Doorbell
from .lobby import SWEEP_AT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .request import Place

__all__ = ("Order",)

_PIECE = 64  # so many of a crowd may become requests at a time, even if only some of them have to


@mypyc_attr(allow_interpreted_subclasses=True)
class Order(Doorbell):
    """Requests in the order of their arrival: those in the line, then those in the crowd.

    A crowd that somebody else came behind stands in the line itself. The last of all, as many as `outside` says, wait for
    room: who they are need not be known, as one leaves and lets one in wherever it stood.

    What other disciplines make of it has no crowd: their requests matter one by one.
    """

    cost = 0.0  # of what waits, kept only when requests have costs
    _dead = 0  # how many tombstones there are
    in_order: ClassVar[bool] = True  # whether they go in the order of their arrival
    objective = math.inf  # within how many seconds those without a deadline are to be answered
    handed_out = False  # whether futures may know their requests
    _crowds = 0  # how many stand in the line

    def _init(self, maxsize: float) -> None:  # noqa: ARG002
        self._queue: deque[Any] = deque()

    def _get(self) -> Any:
        return self._queue.popleft()

    def _put(self, request: Any) -> None:
        if self.gate.row:
            self._close_crowd()
        self._queue.append(request)

    def _close_crowd(self) -> None:
        """Let the crowd stand in the line, as requests if it is small, so that others can come behind it."""
        crowd = self.gate.crowd
        if len(crowd) <= _PIECE:
            self._disperse(crowd)
        else:
            crowd.last = self.gate.admitted + self.outside
            self._queue.append(crowd)
            self._crowds += 1
            self.gate.gather(Crowd(crowd.is_done))

    def _foremost(self, most: int = 0) -> Crowd | None:
        """Return the crowd whose turn it is; None if it is a request's, or one of the next `most` is behind the crowd."""
        if not self._queue:
            return self.gate.crowd
        first = self._queue[0] if self._crowds else None
        return first if type(first) is Crowd and len(first) >= most else None

    def _disperse(self, crowd: Crowd, count: int = sys.maxsize) -> None:
        """Make requests of a crowd, or of the next `count` in it."""
        self._line_up_persons(crowd, *crowd.take(count))

    def _line_up_persons(self, crowd: Crowd, items: list[Any], futures: list[Any], arrivals: list[float]) -> None:
        """Let requests stand where those stood who were just taken out of `crowd`."""
        self.handed_out = True
        requests = persons(items, futures, arrivals, cast("Place", self))
        if crowd is self.gate.crowd:
            self._queue.extend(requests)
            return
        ahead = next(index for index, entry in enumerate(self._queue) if entry is crowd)
        self._queue.rotate(-ahead)
        self._drop_empty(crowd)
        self._queue.extendleft(reversed(requests))
        self._queue.rotate(ahead)

    def _drop_empty(self, crowd: Crowd) -> None:
        """Take a crowd that is the first in the line out of it, if nobody is left in it."""
        if not crowd:
            self._queue.popleft()
            self._crowds -= 1

    def _take(self, limit: int) -> list[Any]:
        """Return those who go next, at most `limit`, tombstones included."""
        if self._crowds:
            limit = next((index for index, entry in enumerate(islice(self._queue, limit)) if type(entry) is Crowd), limit)
        if len(self._queue) > limit:
            popleft = self._queue.popleft
            return [popleft() for _ in range(limit)]
        taken = list(self._queue)
        self._queue.clear()
        return taken

    def _line(self, piece: int) -> Any:
        """Return the line, with a request at its head: where it is a crowd's turn, the next `piece` of it come in."""
        while (self._crowds or not self._queue) and (crowd := self._foremost()):
            self._disperse(crowd, piece)
        return self._queue

    def _peek(self) -> Any:
        line = self._line(1)
        return line[0] if line else None

    def _entries(self, enough: float = math.inf) -> Iterable[Any]:
        """All requests, tombstones included, in no matter which order; behind `enough` items there may be crowds."""
        if self._crowds or self.gate.crowd:
            ahead = []
            while enough > 0 and self._line(_PIECE):
                ahead.append(request := self._get())
                enough -= 0 if request.place is None or request.future.done() else request.size
            self._queue.extendleft(reversed(ahead))
        return self._queue

    def _sweep(self) -> None:
        """Take the tombstones out."""
        live = [entry for entry in self._queue if type(entry) is Crowd or entry.place is not None]
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
        if (crowd := self._foremost()) and (arrived := crowd.oldest()) is not None:
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
        if (crowd := self._foremost(enough)) and not crowd.is_thinned(enough):
            return
        cancelled = []
        for request in self._entries(enough):
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
