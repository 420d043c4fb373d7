"""The order: requests that wait, and which of them goes next. What a queue discipline overrides.

A request that leaves early stays behind as a tombstone, without its `place` and item: leaving is O(1) wherever it stood.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, ClassVar

from .compiling import mypyc_attr
from .crowd import LARGEST, SMALLEST, Crowd
from .doorbell import Doorbell
from .lobby import SWEEP_AT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .flight import Flight

__all__ = ("Order",)


@mypyc_attr(allow_interpreted_subclasses=True)
class Order(Doorbell):
    """Requests in the order of their arrival; plain ones that came one after the other stand in it as a crowd.

    The last of all, as many as `outside` says, wait for room: who they are need not be known, as one leaves and lets one in
    wherever it stood.

    What other disciplines make of it has no crowd: their requests matter one by one.
    """

    cost = 0.0  # of what waits, kept only when requests have costs
    _dead = 0  # how many tombstones there are
    in_order: ClassVar[bool] = True  # whether they go in the order of their arrival
    objective = math.inf  # within how many seconds those without a deadline are to be answered
    handed_out = False  # whether futures may know their requests

    def __init__(self, bound: float, *, costed: bool) -> None:
        # Of the object, as a class is slow to be asked on each batch.
        self.most = 1  # of how many items batches are at most
        self.unsettled = 0  # crowds of which it is not known yet who leaves, in this very pass
        self._crowds = 0  # how many stand in the line
        self._run_from = 0  # how many had come when those plain requests began that come one after the other
        self._eager = True  # whether so many did before that the next one opens a crowd
        super().__init__(bound, costed=costed)

    def _init(self, maxsize: float) -> None:  # noqa: ARG002
        self._queue = deque()

    def _get(self) -> Any:
        return self._queue.popleft()

    def _put(self, request: Any) -> None:
        if self.gate.crowd is not None:
            self._shut()
        came = self.gate.admitted + self.outside
        self._eager = came - self._run_from >= SMALLEST
        self._run_from = came + request.size
        self._queue.append(request)

    # The crowd.

    def _open(self, came: int) -> None:
        """Let a new crowd stand in the line, behind all who `came`; those who come from now on come to it."""
        gate, most, future = self.gate, self.most, self._make_future()
        crowd = Crowd(future, self)
        gate.crowd = crowd, crowd.row, future
        self._queue.append(crowd)
        self._crowds += 1
        # It ends where a batch will, if all are full, so that it need not be parted between two.
        seats = most - (came - self.gone) % most
        gate.end = came + (seats if seats < LARGEST else LARGEST)

    def _shut(self) -> None:
        """Let nobody else come to the crowd that is open."""
        gate = self.gate
        gate.crowd = None
        gate.end = gate.alarm = -1

    def _board_crowd(self, crowd: Crowd, flight: Flight, room: int) -> None:
        """Let the crowd that goes next board as a whole, if it can; or else let requests stand in its place."""
        row, line = crowd.row, self._queue
        if not 0 < len(row) <= 2 * room:  # none are left in it once it was parted
            self.single(crowd)
            return
        line.popleft()
        self._crowds -= 1
        if not line and self.gate.crowd is not None:
            self._shut()
        crowd.place = flight
        items = row[::2]  # here, and in the sum, is work for each request: left to C
        arrived = row[1] if len(items) == 1 else sum(row[1::2])
        self.gone += len(items)
        flight.mixed = True
        flight.arrived += arrived
        if flight.passengers:
            flight.passengers.append(crowd)
            flight.items += items
        else:
            flight.passengers, flight.items, flight.oldest = [crowd], items, row[1]

    def part(self, crowd: Crowd) -> None:
        """Let requests stand where a crowd stands, as one of them is about to leave: which one shows in the next pass."""
        self._part(crowd)
        if not self._loop.is_closed():
            self.unsettled += 1
            self._loop.call_soon(self._settle)

    def _settle(self) -> None:
        self.unsettled -= 1

    def _part(self, crowd: Crowd) -> None:
        if self._queue[-1] is crowd and self.gate.crowd is not None:
            self._shut()
        crowd.part(self)  # they stay in it for now: to find its place in the line would take a look at all of that

    def single(self, entry: Any) -> Any:
        """Return the request itself, and of a crowd that goes next the first one, which is parted for it."""
        if type(entry) is not Crowd:
            return entry
        if entry.persons is None:
            self._part(entry)
        self._unfold()
        return self._queue[0]

    def _unfold(self) -> None:
        """Let the requests of a crowd that was parted, and goes next, stand in the line."""
        self._crowds -= 1
        self._queue.extendleft(reversed(self._queue.popleft().persons))

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

    def _peek(self) -> Any:
        """Return who is at the head of the line: a request, or a crowd as a whole; None if nobody is."""
        line = self._queue
        while self._crowds and type(line[0]) is Crowd and line[0].persons is not None:
            self._unfold()
        return line[0] if line else None

    def _entries(self) -> Iterable[Any]:
        """All requests and whole crowds, tombstones included, in no matter which order."""
        if not self._crowds:
            return self._queue
        return chain.from_iterable(
            each.persons if type(each) is Crowd and each.persons is not None else (each,) for each in self._queue
        )

    def _sweep(self) -> None:
        """Take the tombstones out."""
        live = [entry for entry in self._entries() if entry.place is not None]
        self._queue.clear()
        self._queue.extend(live)
        self._crowds = sum([type(entry) is Crowd for entry in live]) if self._crowds else 0

    def _victim(self) -> Any:
        """Return the least urgent request; among equals, the one that waited longest and is the likeliest to be late."""
        return self.single(self.head())

    def rerank(self, request: Any) -> None:
        """Note that `request`, which waits here, became more urgent."""

    def worth(self, count: int) -> float:
        """Return about what a batch of `count` of those who wait costs."""
        return count * self.cost / self.qsize()

    def eldest(self) -> Any:
        """Return the request that has waited longest, or the crowd it is the first of; None if none waits."""
        return self.head()

    def oldest(self) -> float:
        """Return the arrival time of the request that has waited longest, `inf` if none waits."""
        eldest = self.eldest()
        return math.inf if eldest is None else eldest.arrived

    def head(self) -> Any:
        """Return the request, or the crowd, that goes next, None if nobody waits."""
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

    def _forget(self, request: Any) -> None:
        """Note that `request` does not wait any more, wherever it stood."""
        if request is self.alone:
            self.alone = None  # not in the line
        else:
            self._bury()

    def _bury(self) -> None:
        self._dead += 1
        if self._dead > max(SWEEP_AT, len(self._queue) // 2):
            self._sweep()
            self._dead = 0
