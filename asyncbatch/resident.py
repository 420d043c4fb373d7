"""The residents: one coroutine a slot, each a thin shell around synchronous decisions.

A resident waits for its slot to be free, then for a batch that may leave, then flies it: runs the function on it and
scatters the outcome. So a batch is formed after the slot is in hand, and fills while all slots are busy. A resident that
ends, because somebody cancelled all tasks for example, tells those who wait, and is made anew by the next request.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from contextvars import Context
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any, NoReturn

from .deadlines import Deadlines
from .departures import Departures
from .errors import Closed, NotRunning, QueueFull
from .executors.slot import prepared
from .flight import CURRENT, Flight
from .metrics.events import BatchEnded, BatchStarted
from .metrics.statistics import Statistics, Tally
from .request import Bulk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .executors import Slot
    from .intake import Discipline, IntakeQueue
    from .metrics.events import Event, Observer
    from .policies import Limits, Policy
    from .request import Request

__all__ = ("Residents",)

logger = logging.getLogger("asyncbatch")


class Residents:
    """What of a batcher is alive between entering and closing: its queue, its slots, and the coroutines between them."""

    def __init__(
        self,
        name: str,
        limits: Limits,
        slots: Sequence[Slot],
        *,
        discipline: Discipline,
        policy: Policy | None,
        costed: bool,
        observers: Sequence[Observer],
    ) -> None:
        self.name = name
        self.loop = asyncio.get_running_loop()
        self._too_early = functools.partial(Closed.too_early, name)
        self._by_others = functools.partial(Closed.by_others, name)
        self._limits = limits
        self._costed = costed
        self._slots = slots
        self._observers = tuple(observers)
        self._tally = tally = Tally(self._emit if observers else None, name)
        self.queue: IntakeQueue = discipline.queue_class(discipline, tally, self._check, self._overflow, costed=costed)
        self._deadlines = Deadlines(self.loop, name, self._is_not_waiting)
        self._timed = False  # whether any request ever had a deadline
        self._departures = Departures(name, limits, policy, self.queue, self._deadlines, tally, costed=costed)
        self._flights: set[Flight] = set()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._missing = set(range(len(slots)))
        self._start_missing()

    # What the batcher asks for.

    def watch(self, request: Request) -> None:
        """Watch the deadline of a request that has just come in; one that has come already never runs."""
        self._timed = True
        self._deadlines.watch(request)
        self._deadlines.expire(self.loop.time())
        self.queue.ring()

    def flush(self) -> None:
        self._departures.flush(self.loop.time())
        self.queue.ring_all()

    def consider(self) -> None:
        self.queue.ring_all()

    @property
    def capacity(self) -> int:
        """How many batches can run at once."""
        return len(self._slots)

    def all_busy(self) -> bool:
        return len(self._flights) >= len(self._slots)

    def statistics(self) -> Statistics:
        in_flight = sum(flight.aboard for flight in self._flights)
        return self._tally.snapshot(self.queue.admitted, self.queue.qsize(), in_flight, len(self.queue.lobby))

    def __str__(self) -> str:
        return f"{self.queue.qsize()} queued | {len(self._flights)} of {len(self._slots)} batches in flight"

    def begin_close(self, *, drain: bool = True) -> None:
        """Let the residents end once nothing waits any more; without `drain` that is now."""
        self._departures.closing = True
        if not drain:
            self.queue.clear(self._too_early, "closed")
        self.queue.ring_all()
        if not self._tasks:
            self._release()

    async def ended(self, timeout: float) -> None:
        """Wait until all residents have ended; past `timeout`, or when cancelled, end them and fail who still waits."""
        try:
            if self._tasks:
                await asyncio.wait(self._tasks.values(), timeout=None if timeout == math.inf else timeout)
        except asyncio.CancelledError:
            self._abort()
            raise
        if self._tasks:
            self._abort()
            await asyncio.wait(self._tasks.values(), timeout=0)  # a pass, for those that end when they are cancelled

    def abandon(self) -> None:
        """Close with nobody waiting for it, from any thread: the batcher was dropped, or its loop is gone."""
        try:
            self.loop.call_soon_threadsafe(self.begin_close)
        except RuntimeError:  # the loop is closed, and its tasks went with it
            self._release()

    # The street.

    async def _reside(self, place: int) -> None:
        slot = self._slots[place]
        task: Any = asyncio.current_task()
        stops = task if slot.cancellable else None
        flight: Flight | None = None
        try:
            while True:
                failure = None if slot.available else await prepared(slot)
                flight = Flight(self, self._tally, stops)
                now, reason = await self._board(flight)
                if not reason:
                    break
                await self._fly(flight, slot, now, reason, failure)
                flight = failure = None  # what a resident holds while it waits is kept alive
                if not self.queue.empty():
                    # A pass for the callers just answered: they may come straight back, and share the next batch.
                    await asyncio.sleep(0)
        finally:
            if flight is not None:
                flight.close(self._by_others)  # whatever went wrong on the way, nobody aboard is left waiting
            self._retire(place, task)

    async def _board(self, flight: Flight) -> tuple[float, str]:
        """Fill `flight` once a batch may leave; return the time, and why it leaves, or "" when the batcher has closed."""
        departures, queue = self._departures, self.queue
        now = self.loop.time()
        while True:
            wait, reason = departures.decide(now)
            if reason and self._fill(flight, now):
                return now, reason
            if departures.closing and queue.empty():
                return now, ""
            if self._timed and queue.empty() and not queue.lobby:
                self._deadlines.clear()  # nobody is left to be late
            getter = queue.doze(departures.enough(), wait)
            try:
                timed_out = await getter
            except asyncio.CancelledError:
                queue.forget(getter)
                raise
            # A loop may fire a little early (uvloop rounds to milliseconds): what was waited for is due all the same.
            now = max(self.loop.time(), now + wait) if timed_out else self.loop.time()

    def _fill(self, flight: Flight, now: float) -> bool:
        if self._timed:
            self._deadlines.expire(now)
        limits = self._limits
        size = limits.max_batch_size
        if not self._costed and limits.max_batch_cost < size:
            size = max(1, int(limits.max_batch_cost))  # each item costs 1
        self.queue.board(flight, size, limits.max_batch_cost)
        self._departures.departed()
        return bool(flight.items)

    async def _fly(self, flight: Flight, slot: Slot, now: float, reason: str, failure: BaseException | None) -> None:
        context = Context()
        context.run(CURRENT.set, flight)
        self._flights.add(flight)
        items = flight.depart(now, reason)
        if self._timed:
            flight.watch(self.loop)
        if self._observers:
            self._emit(BatchStarted(self.name, reason, flight.size, now - flight.oldest))
        try:
            if failure is not None:
                raise failure
            flight.deliver(await slot.run(items, context))
        except asyncio.CancelledError as error:
            self._cancelled(flight, error)
        except BaseException as error:
            if isinstance(error, GeneratorExit) and asyncio.current_task(self.loop) not in self._tasks.values():
                raise  # not the function's: this coroutine is being closed, the loop is gone, and nobody can wait
            flight.fail(error)
            if isinstance(error, KeyboardInterrupt | SystemExit) and current_thread() is main_thread():
                raise  # it ends the program, but nobody is left waiting; elsewhere it would only end the loop
        finally:
            failure = None
            self._arrive(flight, self.loop.time() - now)

    def _arrive(self, flight: Flight, seconds: float) -> None:
        self._flights.discard(flight)
        self._tally.ended(seconds, flight.size)
        if self._observers:
            self._emit(BatchEnded(self.name, flight.size, seconds, flight.error))
        task: Any = asyncio.current_task(self.loop)
        while task is not None and task.cancelling():
            task.uncancel()  # ours, or one that the function swallowed: it is over with this flight

    def _cancelled(self, flight: Flight, error: asyncio.CancelledError) -> None:
        """Tell apart who cancelled the function: somebody outside, we ourselves, or it leaked an inner cancellation."""
        task: Any = asyncio.current_task()
        outside = task.cancelling() > flight.stopped
        if outside:
            flight.close(self._by_others)
        flight.fail(error)
        if outside:
            raise error

    # Lifetime.

    def _check(self) -> None:
        """Refuse a request from the wrong loop, and make residents anew where some have ended."""
        if not self.loop.is_running():  # it is the right thread, and a thread runs one loop at a time
            raise NotRunning(
                f"batcher {self.name!r} belongs to another event loop; enter a batcher in each loop, "
                "or call it from threads through asyncbatch.sync"
            )
        if self._missing and not self._departures.closing:
            self._start_missing()

    def _start_missing(self) -> None:
        for place in sorted(self._missing):
            # In a context of its own: else every batch would carry the context variables of whoever came first.
            resident = self._reside(place)
            task = self.loop.create_task(resident, name=f"asyncbatch {self.name}", context=Context())
            self._tasks[place] = task
            # One that is cancelled before its first step never gets to its own `finally`.
            task.add_done_callback(functools.partial(self._bury, place))
            # Where a loop is dropped without being closed there is nobody left to be told.
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
        self._missing.clear()
        self.queue.be_watchful(False)

    def _bury(self, place: int, task: asyncio.Task[None]) -> None:
        self._retire(place, task)
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            logger.error("the task of batcher %r failed; the next call starts it anew", self.name, exc_info=error)

    def _retire(self, place: int, task: asyncio.Task[None]) -> None:
        if self._tasks.get(place) is not task or self.loop.is_closed():
            return
        del self._tasks[place]
        if not self._departures.closing:
            self._missing.add(place)
            self.queue.be_watchful(True)
        if not self._tasks:
            self.queue.clear(self._by_others, "closed")  # empty, unless the last one was cancelled
            self._deadlines.clear()
            if self._departures.closing:
                self._release()
        self.queue.hand_over()

    def _abort(self) -> None:
        self.queue.clear(self._too_early, "closed")
        for flight in tuple(self._flights):
            flight.close(self._too_early)
        for task in tuple(self._tasks.values()):
            task.cancel()

    def _release(self) -> None:
        for slot in self._slots:
            slot.close()

    # What is said.

    def _overflow(self) -> QueueFull:
        waiting = self.queue.qsize()
        return QueueFull.of(self.name, waiting, waiting * self._tally.seconds_per_item / len(self._slots))

    def _is_not_waiting(self, request: Request) -> bool:
        if request.place is not self.queue and request.place is not self.queue.lobby:
            return True
        return isinstance(request, Bulk) and not (request.size or request.waiting)  # all of it flies

    def _emit(self, event: Event) -> None:
        for observer in self._observers:
            try:
                observer(event)
            except (KeyboardInterrupt, SystemExit) as error:
                self.loop.call_soon(_raise, error)  # not from the midst of a request's change of place
            except BaseException:
                logger.exception("an observer of batcher %r raised on %s", self.name, type(event).__name__)


def _raise(error: BaseException) -> NoReturn:
    raise error
