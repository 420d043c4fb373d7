"""The intake: the queue of waiting requests. It knows no batch size, no policy and no clock.

What comes in finds room, waits for it, or is turned away; what goes out boards a flight, or leaves.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .compiling import mypyc_attr
from .crowd import SMALLEST, Crowd, person
from .lobby import Lobby
from .order import Order
from .request import Bulk

if TYPE_CHECKING:
    from collections.abc import Callable

    from .discipline import Discipline
    from .flight import Flight
    from .metrics.statistics import Tally
    from .request import Request

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
        self._check, self._overflow = check, overflow
        self._bulks = 0
        super().__init__(config.maxsize, costed=costed)  # at last, as it calls `_init`

    # Coming in.

    def put_nowait(self, request: Any, waits: bool = False) -> None:
        """Take `request` in. When full: let it wait in the lobby if it `waits`, else evict or reject."""
        admitted = self.gate.admitted
        if admitted >= self._wake_at or admitted >= self.gone + self.bound or self.watchful:
            self._attend(request, waits)
        else:
            self._put(request)
            self.gate.admitted += 1

    def put_bulk(self, bulk: Bulk) -> None:
        """Take in what there is room for; the rest follows through the lobby, first come first served."""
        self._check_room(bulk)
        self._line_up(bulk)

    def _check_room(self, bulk: Bulk) -> None:
        self._prepare()
        if self._when_full == "reject" and (self.full() or self.lobby.first() is not None):
            self.lobby.tally.turn_away("rejected", bulk.waiting)
            raise self._overflow()

    def _prepare(self) -> None:
        """Put all in order for an arrival that matters."""
        if self.alone is not None:
            self.ring()  # who came before it stands in the line before it
        self._check()

    def _line_up(self, bulk: Bulk) -> None:
        self.lobby.append(bulk)
        bulk.place = self
        self._admit()
        self._set_alarm()
        if bulk.waiting:
            self.ring()

    def welcome(self, item: Any, arrived: float, waits: bool) -> tuple[Request | None, Any, Any, int]:
        """Take in one whose arrival matters; return its request, or else its crowd, its future and its seat there.

        It opens a crowd, wakes a resident, or waits for room.
        """
        if self.watchful or self.alone is not None or not self._loop.is_running():
            self._prepare()
        gate = self.gate
        has_room = gate.admitted == self.gone or (not self.outside and self._has_room())
        if not has_room and (self.lobby.line or not waits):
            request = person(item, self._make_future(), arrived, self)
            future = request.future
            self._overfill(request, waits, self._victim)
            return request, None, future, 0
        came = gate.admitted + self.outside
        if came >= gate.end:
            if not self._eager and came - self._run_from < SMALLEST:
                request = person(item, self._make_future(), arrived, self)
                self._queue.append(request)
                self._count(has_room, arrived)
                return request, None, request.future, 0
            self._open(came)
        crowd, row, future = gate.crowd
        row += (item, arrived)
        self._count(has_room, arrived)
        self._set_alarm()
        return None, crowd, future, len(row) - 2

    def _count(self, has_room: bool, now: float = 0.0) -> None:
        if has_room:
            self.gate.admitted += 1
            if self.gate.admitted > self._wake_at:
                self.ring(now)
        else:
            self.outside += 1
            if self.idle:
                self.ring()  # a queue that is smaller than a batch will not fill one

    def _attend(self, request: Any, waits: bool) -> None:
        """Take in an arrival that matters: one that wakes a resident, finds no room, or has a cost."""
        if self.watchful or self.alone is not None or not self._loop.is_running():
            self._prepare()
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
            self.lobby.tally.turn_away("rejected", 1)
            raise self._overflow()

    def _add(self, request: Any) -> None:
        self._put(request)
        if self.costed:
            self.cost += request.cost
        self._count(has_room=True)

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
        self.cost += bulk.cost_of(bulk.admitted, bulk.admitted + size) if self.costed else 0.0
        bulk.admitted += size
        self.gate.admitted += size
        self._run_from = self.gate.admitted + self.outside
        if not bulk.waiting:
            self.lobby.popleft()
        if self.gate.admitted > self._wake_at:
            self.ring()

    def _room(self, bulk: Bulk) -> float:  # noqa: ARG002
        return self.bound - self.qsize()

    # Going out.

    def board(self, flight: Flight, limit: int, budget: float = math.inf) -> None:
        """Move those who go next into `flight`: at most `limit` items, and at most `budget` in cost, but at least one."""
        if limit > self.bound:
            limit = self.bound  # those outside are in the line as well
        self.most = limit
        if self._bulks or self.costed:
            self._board_measured(flight, limit, budget)
        elif self._crowds:
            self._board_line(flight, limit)
        else:
            self._board_singles(flight, limit)
        if not flight.oldest and flight.passengers:
            flight.oldest = flight.passengers[0].arrived if self.in_order else min(flight.came())
        if self.lobby.line or self.outside:
            self._admit()
        self.hand_over()

    def _board_line(self, flight: Flight, limit: int) -> None:
        """Let those who go next board up to the `limit`: crowds as a whole, if they can, and single requests."""
        line, room = self._queue, limit
        while room and line:
            if type(first := line[0]) is Crowd:
                self._board_crowd(first, flight, room)
            else:
                self._board_singles(flight, room)
            room = limit - len(flight.items)

    def _board_singles(self, flight: Flight, room: int) -> None:
        """Let the requests that go next board, up to the next crowd."""
        boarding: list[Any] = []
        while (left := room - len(boarding)) and (taken := self._take(left)):  # who boards, and no more
            for request in taken:
                if request.future.done():  # it left, or was cancelled in this very pass
                    taken = [each for each in taken if self._flies(each, flight)]
                    break
                request.place = flight
            boarding += taken
        flight.passengers += boarding
        flight.items += [request.item for request in boarding]
        flight.arrived += sum([request.arrived for request in boarding])
        self.gone += len(boarding)

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
            self.lobby.tally.count("cancelled", 1)
        return False

    def _board_measured(self, flight: Flight, limit: int, budget: float) -> None:
        flight.mixed = True
        spent = 0.0
        while (room := limit - len(flight.items)) > 0 and (request := self.head()) is not None:
            if type(request) is Crowd:  # each of it costs 1, as there are no costs
                self._board_crowd(request, flight, room)
                continue
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
            if self.costed:
                self.cost = self.cost - request.queued_cost() if self.qsize() else 0.0
            self.lobby.tally.count(outcome, size)
            self._forget(request)
        self._make_room()

    def _make_room(self) -> None:
        """Let those in for whom there is room now, and see to it that nobody waits for those who left."""
        self._admit()
        if self.empty():
            self.ring()  # a resident may have set timers for those who are gone
        else:
            self._set_alarm()

    def clear(self, error: Callable[[], Exception], outcome: str) -> None:
        """Fail all who wait, for a place in a batch or for room, each with an error of its own."""
        self.ring()  # who came alone stands in the line as well
        for entry in self._queue if self._crowds else ():
            if type(entry) is Crowd and entry.persons is None:
                self._part(entry)
        for request in [*self.lobby, *self._entries()]:
            if request.place is not None:
                request.fail(error(), outcome)
