"""The resident: what is decided, and noted, between the waits of one slot's coroutine. Synchronous, so it may be compiled.

It waits for its slot to be free, then for a batch that may leave, then flies it: runs the function on it and scatters the
outcome. So a batch is formed after the slot is in hand, and fills while all slots are busy.
"""

from __future__ import annotations

import asyncio
import math
from contextvars import Context
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any

from .executors.slot import prepared
from .flight import CURRENT, Flight
from .lull import Lull

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from .executors import Slot
    from .house import House

__all__ = ("Resident",)


_set_current = CURRENT.set


class Resident:
    """What one slot's coroutine knows: its house, with the queue and the rule for departures, and its slot.

    The coroutine, which `residents` has, waits for what `begin` returns. It tells `go_on` what that gave, or `cope` what it
    raised, and is told what to wait for next, until that is nothing; then it calls `leave`. So this is called twice a batch
    and never read, as both are slow from what is not compiled to what is.

    `task` is what runs it, None when that has ended; `leaving` tells it to end after this flight; `built` is when its slot
    was first available, with what it failed with if it was not, and None if there was nothing to build.
    """

    def __init__(self, house: House, slot: Slot) -> None:
        self.slot = slot
        self.task: asyncio.Task[None] | None = None
        self.leaving = False
        self.built: asyncio.Future[BaseException | None] | None = None if slot.available else house.loop.create_future()
        if (restarts := getattr(slot, "restarts", None)) is not None:
            restarts.on_loss = house.report_loss
        self._house = house
        self._queue = house.queue
        self._departures = house.departures
        self._lull = Lull(house.queue, house.stopwatch, getattr(slot, "where", "apart"))
        self._time = house.loop.time
        self._stopwatch = house.stopwatch
        self._began = 0.0
        self._task: Any = None
        self._stoppable: Any = None  # the same, if that stops the work
        self._flight: Flight | None = None  # the last that was to be filled, until it is back
        self._context: Context | None = None  # what it flies in, as long as it does
        self._doze: asyncio.Future[bool] | None = None
        self._due = 0.0  # when that is over, if nothing comes in between
        self._patient = False  # whether it gave a pass already to those who may be about to leave
        self._preparing = False  # whether it waits for its slot, or for somebody for whom that is made available
        self._failure: BaseException | None = None  # what the slot failed with, for those who go next

    def is_ready(self) -> bool:
        """Whether a batch could run here now, or does."""
        return self._context is not None or self.slot.available

    def give_up(self) -> None:
        """Stop work that nobody waits for any more, as the batcher closes, if that ends with its slot."""
        flight = self._flight if self._context is not None else None
        if flight is not None and not flight.aboard and getattr(self.slot, "ends_with_close", False):
            flight.stopped = True
            self._task.cancel()

    # What its coroutine asks for.

    def begin(self, task: asyncio.Task[None]) -> asyncio.Future[None]:
        """Note in which task all this runs, and return what to wait for first, which is there already."""
        self._task = task
        self._stoppable = task if self.slot.cancellable else None
        first: asyncio.Future[None] = self._house.loop.create_future()
        first.set_result(None)
        return first

    def go_on(self, outcome: Any) -> Awaitable[Any] | None:
        """Take what the last wait gave, and return what to wait for next, None if it is over.

        Raises what the function does, and what is wrong with what it returned: that is for `cope`.
        """
        flight, queue = self._flight, self._queue
        if flight is not None:
            flight.deliver(outcome)
            self._arrive(flight)
            if queue.gate.admitted != queue.gone:
                if self._lull.opens():
                    return self._pass()
            elif self.slot.available:
                return self._rest()
        doze = self._doze
        self._doze = None
        if self._preparing:
            return self._prepare() if doze is not None else self._prepared(outcome)
        if self.slot.available:
            self._failure = None
            return self._board(outcome is True)
        if doze is not None:
            # Its worker was lost, and a new one is not put off until there is a batch for it; but it may have been woken by
            # an arrival, which need not wait for that.
            queue.hand_over()
        return self._await_slot()

    def cope(self, error: BaseException) -> Awaitable[Any] | None:
        """Go on after an `error`, which is the function's if a batch flies. Raises it if it is not for callers alone."""
        flight = self._flight
        if flight is None or self._context is None:
            raise error
        try:
            self._fail(flight, error)
        finally:
            self._arrive(flight)
        return self.go_on(None) if self._queue.empty() else self._pass()

    def leave(self) -> None:
        """See to it that nobody waits for what this one was about to do."""
        self._queue.gate.now = 0.0
        if self._doze is not None:
            self._queue.forget(self._doze)
        if self.built is not None and not self.built.done():
            self.built.set_result(self._house.by_others())
        if self._flight is not None:
            self._flight.close(self._house.by_others)  # whatever went wrong on the way, nobody aboard is left waiting
        self._doze, self._flight, self._failure, self._preparing = None, None, None, False

    # From its slot to the next batch.

    def _await_slot(self) -> Awaitable[Any] | None:
        if self._is_over():
            return None
        self._preparing = True
        if self._failure is None or not self._queue.empty():
            return self._prepare()
        self._doze = doze = self._queue.doze(1, math.inf)  # after a failure it is done for somebody who waits
        return doze

    def _is_over(self) -> bool:
        return self.leaving or (self._departures.closing and self._queue.empty())

    def _prepare(self) -> Awaitable[BaseException | None]:
        self._began = self._stopwatch()
        return prepared(self.slot)

    def _prepared(self, failure: BaseException | None) -> Awaitable[Any] | None:
        self._preparing, self._failure = False, failure
        if self.built is not None and not self.built.done():
            self.built.set_result(failure)
            if failure is None:
                self._house.report_ready(self._stopwatch() - self._began)
        return self._board(False) if failure is None or not self._queue.empty() else self.go_on(None)

    def _board(self, slept: bool) -> Awaitable[Any] | None:
        """Let a batch fly if one may leave now; else wait, unless all is over; `slept` says that it was until due."""
        house, queue, lull = self._house, self._queue, self._lull
        if lull.trying:
            lull.learn()
        if queue.unsettled and not self._patient:
            self._patient = True  # once: where somebody leaves in each pass, there would be no end of it
            return self._pass()
        queue.gate.now = 0.0
        if self.leaving:
            return None
        if queue.gate.admitted == queue.gone:
            return self._rest()
        time = self._time  # what is called as if it were a method, and is none, is slow to look up
        # A loop may fire a little early (uvloop rounds to milliseconds): what was waited for is due all the same.
        now = max(time(), self._due) if slept else time()
        wait, reason = self._departures.decide(now)
        if reason == "idle" and lull.took and lull.stirs(self._departures.spare(now)):
            return self._pass()
        if reason:
            self._flight = flight = Flight(house, self._stoppable)
            house.board(flight, now)
            if flight.items:
                return self._fly(flight, now, reason)
            self._flight = None
        if queue.gate.admitted == queue.gone:
            return self._rest()
        self._due = now + wait
        self._doze = doze = queue.doze(self._departures.enough(), wait)
        return doze

    def _rest(self) -> Awaitable[Any] | None:
        """Wait for whoever comes next, as nobody waits now, unless all is over."""
        house, departures = self._house, self._departures
        if self.leaving or departures.closing:
            return None
        departures.flushing = False
        if house.timed:
            house.forget_deadlines()
        self._doze = doze = self._queue.doze(1, math.inf)
        return doze

    def _fly(self, flight: Flight, now: float, reason: str) -> Awaitable[Any]:
        """Start the function, in a context of its own."""
        house = self._house
        self._patient = False
        self._context = context = Context()
        flight.depart(now, reason)
        house.flights[flight] = None
        if house.timed:
            flight.watch(house.loop)
        if house.observers:
            context.run(house.report_start, flight)
        context.run(_set_current, flight)
        items, flight.items = flight.items, []  # in a list that nobody else holds
        stopwatch = self._stopwatch
        self._began = stopwatch()
        if self._failure is not None:
            raise self._failure
        return self.slot.run(items, context)

    # And when that is back.

    def _arrive(self, flight: Flight) -> None:
        house, context = self._house, self._context
        self._context = None
        house.flights.pop(flight, None)
        stopwatch, lull = self._stopwatch, self._lull
        now = stopwatch()
        seconds = now - self._began
        house.tally.ended(seconds, flight.size)
        if flight.size > 1 or lull.took:
            lull.landed(now, seconds, flight.size)
        if seconds >= self._departures.heeds:
            self._departures.landed(flight, seconds, self._time())
        if house.observers and context is not None:
            # In a copy: a thread that nobody waits for may still be at work in the context itself.
            context.copy().run(house.report_end, flight, seconds)
        while self._task.cancelling():
            self._task.uncancel()  # ours, or one that the function swallowed: it is over with this flight
        self._flight = None

    def _pass(self) -> Awaitable[None]:
        """Give the callers just answered a pass: they may come straight back, and share the next batch with who waits."""
        self._queue.gate.now = self._time()
        return asyncio.sleep(0)

    def _fail(self, flight: Flight, error: BaseException) -> None:
        """Tell the callers what happened, and go on; but for what is not the function's, or ends the program."""
        if isinstance(error, asyncio.CancelledError):
            # Somebody outside, we ourselves, or an inner cancellation that the function leaked?
            outside = self._task.cancelling() > flight.stopped
            if outside:
                flight.close(self._house.by_others)
            flight.fail(error)
            if outside:
                raise error
        elif isinstance(error, GeneratorExit) and asyncio.current_task(self._house.loop) is not self._task:
            raise error  # not the function's: this coroutine is being closed, the loop is gone, and nobody can wait
        else:
            flight.fail(error)
            if isinstance(error, KeyboardInterrupt | SystemExit) and current_thread() is main_thread():
                raise error  # it ends the program, but nobody is left waiting; elsewhere it would only end the loop
