"""The house: what the residents of one batcher share, its queue, its rule for departures and its books."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from . import parameters
from .deadlines import Deadlines
from .departures import Departures
from .errors import Closed, ItemTooLarge, QueueFull
from .flight import Flight
from .metrics.events import BatchEnded, BatchStarted, RequestDropped, RequestQueued, WorkerDied, WorkerReady, curious
from .metrics.statistics import Statistics, Tally
from .request import Bulk
from .shared import Wish

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .discipline import Discipline
    from .intake import IntakeQueue
    from .metrics.events import Event, Observer
    from .objectives import LatencyObjective
    from .policies import Limits, Policy
    from .request import DetailedRequest, Request
    from .shared import SharedRequest

__all__ = ("House",)

logger = logging.getLogger("asyncbatch")


class House:
    """All that is alive of a batcher but for its coroutines. `check` is called before an arrival that matters."""

    def __init__(
        self,
        name: str,
        limits: Limits,
        check: Callable[[], None],
        *,
        discipline: Discipline,
        policy: Policy | LatencyObjective | None,
        cost: Callable[[Any], float] | None,
        oversized: str,
        observers: Sequence[Observer],
    ) -> None:
        self.name = name
        self.loop = asyncio.get_running_loop()
        # uvloop's clock stands still for a pass and counts milliseconds: too coarse for how long a batch ran.
        self.stopwatch = self.loop.time if isinstance(self.loop, asyncio.BaseEventLoop) else time.perf_counter
        self.capacity = 0  # how many batches can run at once
        self.ready = 0  # how many slots were built, of those where there was something to build
        self.too_early = partial(Closed.too_early, name)
        self.by_others = partial(Closed.by_others, name)
        self.observers = tuple(observers)
        self.told = curious(observers)  # whether of each request
        self.tally = tally = Tally(self._report_dropped if observers else None)
        costed = cost is not None
        self.queue: IntakeQueue = discipline.queue_class(discipline, tally, check, self._overflow, costed=costed)
        self.queue.most = min(limits.max_batch_size, self.queue.bound)
        self.deadlines = Deadlines(self.loop, name, self._is_not_waiting)
        self.timed = False  # whether any request ever had a deadline
        rule = discipline.rule_class or Departures
        self.departures: Departures = rule(name, limits, policy, self.queue, self.deadlines, tally, costed=costed)
        self.flights: dict[Flight, None] = {}  # in their order
        self._limits = limits
        self._cost: Any = cost
        self._rejects_oversized = oversized == "reject"

    # What callers ask for.

    def announce(self, statistics: Callable[[], Statistics]) -> None:
        """Tell observers who ask for it that the batcher opens."""
        for observer in self.observers:
            if hasattr(observer, "opened"):
                self._tell(observer.opened, self.name, statistics)

    def prices(self, items: Sequence[Any]) -> list[float]:
        """Return what each of `items` costs. One that is too large is the end of all of them, if those are rejected."""
        costs = [parameters.cost(self.name, self._cost(item)) for item in items]
        if self._rejects_oversized and max(costs) > self._limits.max_batch_cost:
            self.tally.turn_away("rejected", len(costs))
            raise ItemTooLarge.of(self.name, max(costs), self._limits.max_batch_cost)
        return costs

    def receive(self, request: DetailedRequest) -> None:
        """Tell of a request that has just come in, and watch its deadline, if there is one."""
        if self.told and request.place is not None:
            self.emit(RequestQueued(self.name, len(request.results) if isinstance(request, Bulk) else 1))
        if request.deadline < math.inf:
            self.watch(request)

    def watch(self, request: Request | Wish) -> None:
        """Watch the deadline of a request that has just come in; one that has come already never runs."""
        self.timed = True
        self.deadlines.watch(request)
        if request.deadline <= (now := self.loop.time()):
            self.deadlines.expire(now)
        if self.queue.idle:
            self.queue.ring()  # whoever dozes may have to look earlier

    def urge(self, request: SharedRequest, priority: float, deadline: float) -> None:
        """Let a request go as early as one more of its callers needs it."""
        if deadline < math.inf:
            self.watch(Wish(request, deadline))
        if priority < request.priority or deadline < request.deadline:
            request.priority = min(priority, request.priority)
            request.deadline = min(deadline, request.deadline)
            if request.place is self.queue:
                self.queue.rerank(request)

    def flush(self) -> None:
        """Let all that waits now leave without further waiting."""
        self.departures.flush(self.loop.time())
        self.queue.ring_all()

    def all_busy(self) -> bool:
        return len(self.flights) >= self.capacity

    def statistics(self, ready: int) -> Statistics:
        in_flight, queue = sum([flight.aboard for flight in tuple(self.flights)]), self.queue
        waiting_for_room = len(queue.lobby) + queue.outside
        return self.tally.snapshot(queue.gate.admitted, queue.qsize(), in_flight, waiting_for_room, self.capacity, ready)

    def __str__(self) -> str:
        return f"{self.queue.qsize()} queued | {len(self.flights)} of {self.capacity} batches in flight"

    # What residents ask for.

    def board(self, flight: Flight, now: float) -> None:
        """Fill `flight` with those who go next."""
        if self.timed:
            self.deadlines.expire(now)
        departures = self.departures
        size, budget = departures.size, departures.budget
        if self._cost is None and budget < size:
            size = max(1, int(budget))  # each item costs 1
        self.queue.board(flight, size, budget)
        if departures.flushing and self.queue.empty():
            departures.flushing = False
        returning = departures.returning
        if returning.lingered or returning.boards:
            returning.boarded(flight.came(), self.queue.gate.admitted)

    def forget_deadlines(self) -> None:
        """Let the timer go when nobody is left to be late."""
        if self.timed and self.queue.empty() and not self.queue.lobby:
            self.deadlines.clear()

    def report_ready(self, seconds: float) -> None:
        """Note that a slot was built."""
        self.ready += 1
        if self.observers:
            self.emit(WorkerReady(self.name, self.ready, self.capacity, seconds))

    def report_start(self, flight: Flight) -> None:
        """Tell observers that a batch has left."""
        callers = tuple([each.context for each in flight.passengers]) if self.told else ()
        self.emit(BatchStarted(self.name, flight.reason, flight.size, flight.waited, flight.waits(), callers))

    def report_end(self, flight: Flight, seconds: float) -> None:
        """Tell observers that a batch is back."""
        came = flight.succeeded, flight.failed, flight.elements, flight.padding
        self.emit(BatchEnded(self.name, flight.size, seconds, flight.error, *came))

    def _report_dropped(self, outcome: str, size: int) -> None:
        self.emit(RequestDropped(self.name, outcome, size))

    def report_loss(self, reason: str, exit_code: int | None) -> None:
        """Note, from any thread, that a worker was lost."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._count_loss, reason, exit_code)

    def _count_loss(self, reason: str, exit_code: int | None) -> None:
        self.tally.workers_lost += 1
        if self.observers:
            self.emit(WorkerDied(self.name, reason, exit_code))
        self.queue.ring_all()  # if it was idle, it is replaced now

    def _overflow(self) -> QueueFull:
        waiting = self.queue.qsize()
        return QueueFull.of(self.name, waiting, waiting * self.tally.seconds_per_item / self.capacity)

    def _is_not_waiting(self, request: Request) -> bool:
        if request.place is None or isinstance(request.place, Flight):
            return True
        return isinstance(request, Bulk) and not (request.size or request.waiting)  # all of it flies

    def emit(self, event: Event) -> None:
        for observer in self.observers:
            self._tell(observer, event)

    def _tell(self, observer: Callable[..., object], what: Any, *more: Any) -> None:
        try:
            observer(what, *more)
        except (KeyboardInterrupt, SystemExit) as error:
            self.loop.call_soon(_raise, error)  # not from the midst of a request's change of place
        except BaseException:
            logger.exception("an observer of batcher %r raised on %s", self.name, "opened" if more else type(what).__name__)


def _raise(error: BaseException) -> NoReturn:
    raise error
