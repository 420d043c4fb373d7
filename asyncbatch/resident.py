"""The resident: what is decided, and noted, between the waits of one slot's coroutine. Synchronous, so it may be compiled.

It waits for its slot to be free, then for a batch that may leave, then flies it: runs the function on it and scatters the
outcome. So a batch is formed after the slot is in hand, and fills while all slots are busy.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from .executors.slot import prepared
from .flight import Flight
from .pilot import Pilot

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from .executors import Slot
    from .house import House
    from .request import LoneRequest

__all__ = ("Resident",)


class Resident(Pilot):
    """What one slot's coroutine knows.

    The coroutine, which `residents` has, waits for what `begin` returns. It tells `go_on` what that gave, or `cope` what it
    raised, and is told what to wait for next, until that is nothing; then it calls `leave`. So this is called twice a batch
    at most, and never read, as both are slow from what is not compiled to what is.

    `task` is what runs it, None when that has ended; `leaving` tells it to end after this flight; `built` is when its slot
    was first available, with what it failed with if it was not, and None if there was nothing to build.
    """

    def __init__(self, house: House, slot: Slot) -> None:
        super().__init__(house, slot)
        self.task: asyncio.Task[None] | None = None
        self.leaving = False
        self.built: asyncio.Future[BaseException | None] | None = None if slot.available else house.loop.create_future()
        if (restarts := getattr(slot, "restarts", None)) is not None:
            restarts.on_loss = house.report_loss
        self._hosts = False  # whether it serves who comes alone, next
        self._handed: Any = None  # what came of that, if it was more than a result
        self._doze: Any = None  # a future
        self._due = 0.0  # when that is over, if nothing comes in between
        self._patient = False  # whether it gave a pass already to those who may be about to leave
        self._preparing = False  # whether it waits for its slot, or for somebody for whom that is made available

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
        flight, queue = self._flight, self.queue
        if self._handed is not None:
            return self._take_over()
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
            return self._await_slot() if doze is not None else self._prepared(outcome)
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
        return self.go_on(None) if self.queue.empty() else self._pass()

    def leave(self) -> None:
        """See to it that nobody waits for what this one was about to do."""
        self.queue.gate.now = 0.0
        if self._doze is not None:
            self.queue.forget(self._doze)
        if not self.loop.is_closed():
            self.queue.ring()  # who came alone is for another one, from now on
        if self.built is not None and not self.built.done():
            self.built.set_result(self._house.by_others())
        if self._flight is not None:
            self._flight.close(self._house.by_others)  # whatever went wrong on the way, nobody aboard is left waiting
        self._doze, self._flight, self._failure, self._preparing, self._handed = None, None, None, False, None

    # From its slot to the next batch.

    def _await_slot(self) -> Awaitable[Any] | None:
        if self._is_over():
            return None
        self._preparing = True
        if self._failure is None or not self.queue.empty():
            return self._prepare()
        self._doze = doze = self.queue.doze(1, math.inf)  # after a failure it is done for somebody who waits
        return doze

    def _is_over(self) -> bool:
        return self.leaving or (self._departures.closing and self.queue.empty())

    def _prepare(self) -> Awaitable[BaseException | None]:
        self._began = self._stopwatch()
        return prepared(self.slot)

    def _prepared(self, failure: BaseException | None) -> Awaitable[Any] | None:
        self._preparing, self._failure = False, failure
        if self.built is not None and not self.built.done():
            self.built.set_result(failure)
            if failure is None:
                self._house.report_ready(self._stopwatch() - self._began)
        return self._board(False) if failure is None or not self.queue.empty() else self.go_on(None)

    def _board(self, slept: bool) -> Awaitable[Any] | None:
        """Let a batch fly if one may leave now; else wait, unless all is over; `slept` says that it was until due."""
        house, queue, lull = self._house, self.queue, self._lull
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
                self._patient = False
                outcome = self._fly(flight, now, reason)
                at_once = isinstance(outcome, tuple)
                self._hosts = at_once and flight.size == 1 and not house.observers
                if at_once:
                    return self.go_on(outcome[0])
                lull.waits(self._stopwatch() - self._began, flight.size)
                return outcome  # type: ignore[no-any-return]
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
        self._doze = doze = self.queue.doze(1, math.inf)
        if self._hosts and not departures.holds():
            self.queue.gate.host = self
        return doze

    # Who comes alone.

    def serve(self, request: LoneRequest) -> Sequence[Any]:
        """Let a batch of one `request`, who came alone, fly in the step of its caller, as this one dozes.

        Return all its results; or nothing, if there is to wait for that: then the request has a future for it.
        """
        house, queue, departures = self._house, self.queue, self._departures
        if departures.returning.boards:
            queue.ring()  # who boards the next batches is looked at
            return ()
        now = self._time()
        reason = departures.decide(now)[1]
        self._flight = flight = Flight(house, self._stoppable)
        queue.alone, request.place = None, flight
        queue.gone += 1
        flight.items, flight.oldest, flight.arrived = [request.item], request.arrived, request.arrived
        try:
            outcome = self._fly(flight, now, reason)
            outputs = flight.sole(outcome[0]) if type(outcome) is tuple else ()
        except BaseException as error:  # noqa: BLE001  # the task of this one is to cope with it
            outcome, outputs = error, ()
        if outputs:
            self._arrive(flight)
            if not self._doze.done():  # the function itself may have had it woken
                queue.gate.host = self
        else:
            self._hand_over(request, flight, outcome)
            del outcome  # this frame is in the traceback of an error, which must not be kept alive by itself
        return outputs

    def _hand_over(self, request: LoneRequest, flight: Flight, outcome: Any) -> None:
        """Have the task of this one go on with what serving a caller came to."""
        request.give(self.loop.create_future())
        flight.passengers.append(request)
        self._handed, self._hosts = outcome, False
        if not self._doze.done():
            self._doze.set_result(False)

    def _take_over(self) -> Awaitable[Any] | None:
        handed, self._handed, self._doze = self._handed, None, None
        if isinstance(handed, BaseException):
            return self.cope(handed)
        return self.go_on(handed[0]) if type(handed) is tuple else handed

    def _pass(self) -> Awaitable[None]:
        """Give the callers just answered a pass: they may come straight back, and share the next batch with who waits."""
        self.queue.gate.now = self._time()
        return asyncio.sleep(0)
