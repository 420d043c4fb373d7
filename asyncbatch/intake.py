"""The intake: the queue of waiting requests. It knows no batch size, no policy and no clock.

What comes in finds room, waits for it, or is turned away; what goes out boards a flight, or leaves.
"""

from __future__ import annotations

import math
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from .compiling import mypyc_attr
from .crowd import person_of
from .lobby import SWEEP_AT, Lobby
from .order import Order
from .request import Bulk, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .crowd import Crowd
    from .discipline import Discipline
    from .flight import Flight
    from .metrics.statistics import Tally

_ARRIVED = attrgetter("arrived")

__all__ = ("IntakeQueue",)


@mypyc_attr(allow_interpreted_subclasses=True)
class IntakeQueue(Order):
    """The waiting requests of one batcher, first in first out; `qsize` counts items that are still wanted.

    `check` is called before an arrival that matters, and raises if the caller may not submit; `overflow` makes a refusal.
    """

    def __init__(
        self,
        config: Discipline,
        tally: Tally,
        check: Callable[[], None],
        overflow: Callable[[], Exception],
        *,
        costed: bool,
    ) -> None:
        self.lobby = Lobby(tally)
        self._when_full = config.when_full
        self._tally = tally
        self._check, self._overflow, self._costed = check, overflow, costed
        self._bulks = 0
        super().__init__(config.maxsize, watchful=costed)  # at last, as it calls `_init`

    # Coming in.

    def put_nowait(self, request: Any, waits: bool = False) -> None:
        """Take `request` in. When full: let it wait in the lobby if it `waits`, else evict or reject."""
        if self.gate.admitted >= self.gate.alarm:
            self._attend(request, waits)
        else:
            self._put(request)
            self.gate.admitted += 1

    def put_bulk(self, bulk: Bulk) -> None:
        """Take in what there is room for; the rest follows through the lobby, first come first served."""
        self._check_room(bulk)
        self._line_up(bulk)

    def _check_room(self, bulk: Bulk) -> None:
        self._check()
        if self._when_full == "reject" and (self.full() or self.lobby.first() is not None):
            self._tally.turn_away("rejected", bulk.waiting)
            raise self._overflow()

    def _line_up(self, bulk: Bulk) -> None:
        self.lobby.append(bulk)
        bulk.place = self
        self._admit()
        self._set_alarm()
        if bulk.waiting:
            self.ring()

    def welcome(self, item: Any, future: Any, arrived: float, waits: bool) -> Request | None:
        """Take one into the crowd whose arrival matters: it wakes a resident or waits for room. Else return its request."""
        if self.watchful or not self._loop.is_running():
            self._check()
        if self.gate.admitted == self.gone or (not self.outside and self._has_room()):
            self.gate.admitted += 1
            self.gate.row += (item, future, arrived)
            if self.gate.admitted > self._wake_at:
                self.ring()
            else:
                self._set_alarm()
            return None
        if waits and not self.lobby.line:
            self.outside += 1
            self.gate.row += (item, future, arrived)
            if self.idle:
                self.ring()  # a queue that is smaller than a batch will not fill one
            return None
        request = Request()
        request.item, request.future, request.arrived, request.place = item, future, arrived, self
        self._overfill(request, waits, self._victim)
        return request

    def _attend(self, request: Any, waits: bool) -> None:
        """Take in an arrival that matters: one that wakes a resident, finds no room, or has a cost."""
        if self.watchful or not self._loop.is_running():
            self._check()
        if self._has_room():
            self._add(request)
        else:
            self._overfill(request, waits, self._victim)

    def _has_room(self) -> bool:
        return (not self.lobby.line or self.lobby.first() is None) and self.gate.admitted < self.gone + self.bound

    def _overfill(self, request: Any, waits: bool, victim: Callable[[], Any]) -> None:
        """Let `request`, which there is no room for, wait for some, come in for the `victim`, or be turned away."""
        if waits:
            self.lobby.append(request)
            self.ring()  # a queue that is smaller than a batch will not fill one
        elif self._when_full == "evict":
            self._add(request)
            victim().fail(self._overflow(), "rejected")  # which may be the newcomer itself
        else:
            self._tally.turn_away("rejected", 1)
            raise self._overflow()

    def _add(self, request: Any) -> None:
        self._put(request)
        self.gate.admitted += 1
        if self._costed:
            self.cost += request.cost
        if self.gate.admitted > self._wake_at:
            self.ring()
        else:
            self._set_alarm()

    def _admit(self) -> None:
        """Let those who wait for room come in, in their order, as far as there is room."""
        if self.outside:
            self.let_in()
        # The first may let others in as it leaves: it is asked for before the room is.
        while (request := self.lobby.first()) is not None and not self.full():
            if isinstance(request, Bulk):
                self._extend(request)
            else:
                request.place = self
                self._add(self.lobby.popleft())

    def _extend(self, bulk: Bulk) -> None:
        size = int(min(bulk.waiting, self._room(bulk)))
        if not bulk.size:  # there was no entry yet, or it was used up
            self._bulks += 1
            self._put(bulk)
        self.cost += bulk.cost_of(bulk.admitted, bulk.admitted + size) if self._costed else 0.0
        bulk.admitted += size
        self.gate.admitted += size
        if not bulk.waiting:
            self.lobby.popleft()
        if self.gate.admitted > self._wake_at:
            self.ring()

    def _room(self, bulk: Bulk) -> float:  # noqa: ARG002
        return self.bound - self.qsize()

    # Going out.

    def board(self, flight: Flight, limit: int, budget: float = math.inf) -> None:
        """Move those who go next into `flight`: at most `limit` items, and at most `budget` in cost, but at least one."""
        if self.outside:
            limit = min(limit, self.bound)  # those outside are in the line as well
        crowd = self._foremost(limit) if self._queue else self.gate.crowd
        if crowd is not None and crowd.row and self._board_crowd(crowd, flight, limit):
            pass
        elif self._bulks or self._costed:
            self._board_measured(flight, limit, budget)
        else:
            self._board_singles(flight, limit)
        if flight.passengers:
            flight.oldest = flight.passengers[0].arrived if self.in_order else min(map(_ARRIVED, flight.passengers))
        if self.lobby.line or self.outside:
            self._admit()
        self.hand_over()

    def _board_crowd(self, crowd: Crowd, flight: Flight, limit: int) -> bool:
        """Let the next of a crowd board, unless some of them left: then they are requests now."""
        thinned = crowd.dead
        items, futures, arrivals = crowd.take(limit)  # here, and in the next line, is work for each request: left to C
        if thinned or any(map(crowd.is_done, futures)):
            self._line_up_persons(crowd, items, futures, arrivals)
            return False
        flight.items, flight.crew, flight.arrivals = items, futures, arrivals
        if crowd is self.gate.crowd:
            flight.last = self.gate.admitted + self.outside - (len(crowd) if crowd.row else 0)
        else:
            flight.last = crowd.last - len(crowd)
            self._drop_empty(crowd)
        flight.oldest, flight.arrived = arrivals[0], sum(arrivals)
        self.gone += len(items)
        return True

    def _board_singles(self, flight: Flight, limit: int) -> None:
        passengers = flight.passengers
        while (room := limit - len(passengers)) and self._line(room):  # who boards, and no more
            taken = self._take(room)
            for request in taken:
                if request.future.done():  # it left, or was cancelled in this very pass
                    taken = [each for each in taken if self._flies(each, flight)]
                    break
                request.place = flight
            passengers += taken
        flight.items = [request.item for request in passengers]
        flight.arrived = sum([request.arrived for request in passengers])
        self.gone += len(passengers)

    def _flies(self, request: Any, flight: Flight) -> bool:
        """Tell whether `request`, just taken, is still wanted, and note that it flies, or that it left."""
        if not request.future.done():
            request.place = flight
            return True
        if request.place is None:
            self._dead -= 1
        else:  # cancelled in this very pass, see `head`
            self.gone += 1
            request.place = None
            request.let_go()
            self._tally.count("cancelled", 1)
        return False

    def _board_measured(self, flight: Flight, limit: int, budget: float) -> None:
        flight.mixed = True
        spent = 0.0
        while (room := limit - len(flight.items)) > 0 and (request := self.head()) is not None:
            size, cost = request.fitting(room, budget - spent, alone=not flight.items)
            if not size:
                break
            passenger = self._cut(request, size)
            passenger.place = flight
            flight.passengers.append(passenger)
            flight.items += passenger.items
            flight.arrived += passenger.arrived * size
            spent += cost
            self.gone += size
        flight.cost = spent
        self.cost = self.cost - spent if self.qsize() else 0.0  # no drift of sums survives an empty queue

    def _cut(self, request: Any, size: int) -> Any:
        if not isinstance(request, Bulk):
            return self._get()
        portion = request.portion(size)
        if not request.size:
            self._get()
            self._bulks -= 1
        return portion

    def discard(self, request: Any, outcome: str) -> None:
        """Note that a request left early: its place is free at once."""
        if isinstance(request, Bulk) and request.waiting:
            self.lobby.discard(request, outcome)
        if size := request.size:
            self.gone += size
            self._bulks -= isinstance(request, Bulk)
            if self._costed:
                self.cost = self.cost - request.queued_cost() if self.qsize() else 0.0
            self._tally.count(outcome, size)
            self._bury()
        self._make_room()

    def leave(self, crowd: Crowd, ticket: int, future: Any, flights: Iterable[Flight]) -> None:
        """Note that the caller who came into `crowd` with this `ticket` left early, wherever it is by now."""
        last = self.gate.admitted + self.outside if crowd is self.gate.crowd else crowd.last
        if person_of(future) is None and crowd.lose(last - ticket):
            self.gone += 1
            self._tally.count("cancelled", 1)
            if crowd.dead > max(SWEEP_AT, len(crowd) // 2):
                self._disperse(crowd)
            self._make_room()
            return
        for flight in flights:
            if flight.last - len(flight.crew) < ticket <= flight.last:
                flight.seat_crew()
                break
        if (request := person_of(future)) is not None:
            request.leave("cancelled")

    def _make_room(self) -> None:
        """Let those in for whom there is room now, and see to it that nobody waits for those who left."""
        self._admit()
        if self.empty():
            self.ring()  # a resident may have set timers for those who are gone
        else:
            self._set_alarm()

    def clear(self, error: Callable[[], Exception], outcome: str) -> None:
        """Fail all who wait, for a place in a batch or for room, each with an error of its own."""
        for request in [*self.lobby, *self._entries()]:
            if request.place is not None:
                request.fail(error(), outcome)
