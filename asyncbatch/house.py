"""The house: what the residents of one batcher share, its queue, its rule for departures and its books."""

from __future__ import annotations

import asyncio
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
from .metrics.events import WorkerReady
from .metrics.statistics import Statistics, Tally
from .request import Bulk, SharedRequest, Wish

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .discipline import Discipline
    from .intake import IntakeQueue
    from .metrics.events import Event, Observer
    from .policies import Limits, Policy
    from .request import Request

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
        policy: Policy | None,
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
        self.tally = tally = Tally(self.emit if observers else None, name)
        costed = cost is not None
        self.queue: IntakeQueue = discipline.queue_class(discipline, tally, check, self._overflow, costed=costed)
        self.deadlines = Deadlines(self.loop, name, self._is_not_waiting)
        self.timed = False  # whether any request ever had a deadline
        rule = discipline.rule_class or Departures
        self.departures = rule(name, limits, policy, self.queue, self.deadlines, tally, costed=costed)
        self.flights: set[Flight] = set()
        self._limits = limits
        self._cost: Any = cost
        self._rejects_oversized = oversized == "reject"

    # What callers ask for.

    def prices(self, items: Sequence[Any]) -> list[float]:
        """Return what each of `items` costs. One that is too large is the end of all of them, if those are rejected."""
        costs = [parameters.cost(self.name, self._cost(item)) for item in items]
        if self._rejects_oversized and max(costs) > self._limits.max_batch_cost:
            self.tally.turn_away("rejected", len(costs))
            raise ItemTooLarge.of(self.name, max(costs), self._limits.max_batch_cost)
        return costs

    def watch(self, request: Request | Wish) -> None:
        """Watch the deadline of a request that has just come in; one that has come already never runs."""
        self.timed = True
        self.deadlines.watch(request)
        self.deadlines.expire(self.loop.time())
        self.queue.ring()

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

    def statistics(self) -> Statistics:
        in_flight = sum(flight.aboard for flight in self.flights)
        return self.tally.snapshot(self.queue.admitted, self.queue.qsize(), in_flight, len(self.queue.lobby), self.capacity)

    def __str__(self) -> str:
        return f"{self.queue.qsize()} queued | {len(self.flights)} of {self.capacity} batches in flight"

    # What residents ask for.

    def board(self, flight: Flight, now: float) -> None:
        """Fill `flight` with those who go next."""
        if self.timed:
            self.deadlines.expire(now)
        limits = self._limits
        size = limits.max_batch_size
        if self._cost is None and limits.max_batch_cost < size:
            size = max(1, int(limits.max_batch_cost))  # each item costs 1
        self.queue.board(flight, size, limits.max_batch_cost)
        if self.departures.flushing and self.queue.empty():
            self.departures.flushing = False

    def forget_deadlines(self) -> None:
        """Let the timer go when nobody is left to be late."""
        if self.timed and self.queue.empty() and not self.queue.lobby:
            self.deadlines.clear()

    def report_ready(self, seconds: float) -> None:
        """Note that a slot was built."""
        self.ready += 1
        if self.observers:
            self.emit(WorkerReady(self.name, self.ready, self.capacity, seconds))

    def _overflow(self) -> QueueFull:
        waiting = self.queue.qsize()
        return QueueFull.of(self.name, waiting, waiting * self.tally.seconds_per_item / self.capacity)

    def _is_not_waiting(self, request: Request) -> bool:
        if request.place is None or isinstance(request.place, Flight):
            return True
        return isinstance(request, Bulk) and not (request.size or request.waiting)  # all of it flies

    def emit(self, event: Event) -> None:
        for observer in self.observers:
            try:
                observer(event)
            except (KeyboardInterrupt, SystemExit) as error:
                self.loop.call_soon(_raise, error)  # not from the midst of a request's change of place
            except BaseException:
                logger.exception("an observer of batcher %r raised on %s", self.name, type(event).__name__)


def _raise(error: BaseException) -> NoReturn:
    raise error
