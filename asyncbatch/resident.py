"""The resident: the coroutine of one slot, a thin shell around synchronous decisions.

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

if TYPE_CHECKING:
    from collections.abc import Callable

    from .executors import Slot
    from .house import House

__all__ = ("Resident",)


class Resident:
    """What one slot's coroutine knows: its house, with the queue and the rule for departures, and its slot.

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
        self._time = house.loop.time
        self._stopwatch = house.stopwatch
        self._began = 0.0
        self._task: Any = None
        self._flying: Flight | None = None
        self._doze: asyncio.Future[bool] | None = None
        self._due = 0.0  # when that is over, if nothing comes in between

    async def live(self, retire: Callable[[asyncio.Task[None]], None]) -> None:
        """Fly one batch after the other, until the batcher closes; `retire` is told at the end, whatever it was."""
        house, slot, queue = self._house, self.slot, self._queue
        self._task = asyncio.current_task()
        flight: Flight | None = None
        failure: BaseException | None = None
        try:
            while slot.available or not self._is_over():  # if it is over, and the slot is there, `_board` tells
                failure = None if slot.available else await self._prepared(failure)
                if failure is not None and queue.empty():
                    continue
                flight = Flight(house, self._task if slot.cancellable else None)
                while (doze := self._board(flight)) is not None:
                    await doze
                    if not slot.available:
                        break  # its worker was lost, and a new one is not put off until there is a batch for it
                if doze is not None:
                    queue.hand_over()  # it may have been woken by an arrival, which need not wait for that
                    continue
                if not flight.reason:
                    break
                items, context = self._depart(flight)
                try:
                    if failure is not None:
                        raise failure
                    flight.deliver(await slot.run(items, context))
                except BaseException as error:  # noqa: BLE001  # `_fail` raises again what is not for callers
                    self._fail(flight, error)
                finally:
                    self._arrive(flight, context)
                del items, context  # what a resident holds while it waits is kept alive
                flight = None
                if queue.gate.admitted != queue.gone:
                    queue.gate.now = self._time()
                    # A pass for the callers just answered: they may come straight back, and share the next batch.
                    await asyncio.sleep(0)
        finally:
            self._leave(flight)
            retire(self._task)

    async def _prepared(self, failure: BaseException | None) -> BaseException | None:
        """Make the slot available; return what that failed with. After a `failure` it is done for somebody who waits."""
        if failure is not None and self._queue.empty():
            await self._arrival()
        began = self._stopwatch()
        failure = await prepared(self.slot)
        if self.built is not None and not self.built.done():
            self.built.set_result(failure)
            if failure is None:
                self._house.report_ready(self._stopwatch() - began)
        return failure

    def is_ready(self) -> bool:
        """Whether a batch could run here now, or does."""
        return self._flying is not None or self.slot.available

    def _is_over(self) -> bool:
        return self.leaving or (self._departures.closing and self._queue.empty())

    async def _arrival(self) -> None:
        self._doze = self._queue.doze(1, math.inf)
        await self._doze
        self._doze = None

    def give_up(self) -> None:
        """Stop work that nobody waits for any more, as the batcher closes, if that ends with its slot."""
        flight = self._flying
        if flight is not None and not flight.aboard and getattr(self.slot, "ends_with_close", False):
            flight.stopped = True
            self._task.cancel()

    def _board(self, flight: Flight) -> asyncio.Future[bool] | None:
        """Fill `flight` if a batch may leave now, or the batcher has closed; else return what to wait for."""
        self._queue.gate.now = 0.0
        now, doze = self._time(), self._doze
        if doze is not None:
            self._doze = None
            if doze.result():
                # A loop may fire a little early (uvloop rounds to milliseconds): what was waited for is due all the same.
                now = max(now, self._due)
        house, queue = self._house, self._queue
        wait, more = math.inf, 1
        if queue.gate.admitted == queue.gone:
            self._departures.flushing = False
        elif not self.leaving:
            wait, reason = self._departures.decide(now)
            if reason:
                house.board(flight, now)
                if flight.items:
                    flight.depart(now, reason)
                    return None
            more = self._departures.enough()
        if self._is_over():
            return None
        if house.timed:
            house.forget_deadlines()
        self._due = now + wait
        self._doze = doze = queue.doze(more, wait)
        return doze

    def _depart(self, flight: Flight) -> tuple[list[Any], Context]:
        """Return what the function gets, and the context that it runs in."""
        house = self._house
        house.flights[flight] = None
        self._flying = flight
        if house.timed:
            flight.watch(house.loop)
        context = Context()
        if house.observers:
            context.run(house.report_start, flight)
        context.run(CURRENT.set, flight)
        items, flight.items = flight.items, []  # in a list that nobody else holds
        self._began = self._stopwatch()
        return items, context

    def _arrive(self, flight: Flight, context: Context) -> None:
        house = self._house
        house.flights.pop(flight, None)
        self._flying = None
        seconds = self._stopwatch() - self._began
        house.tally.ended(seconds, flight.size)
        if seconds >= self._departures.heeds:
            self._departures.landed(flight, seconds, self._time())
        if house.observers:
            # In a copy: a thread that nobody waits for may still be at work in the context itself.
            context.copy().run(house.report_end, flight, seconds)
        while self._task.cancelling():
            self._task.uncancel()  # ours, or one that the function swallowed: it is over with this flight

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

    def _leave(self, flight: Flight | None) -> None:
        self._queue.gate.now = 0.0
        if self._doze is not None:
            self._queue.forget(self._doze)
            self._doze = None
        if self.built is not None and not self.built.done():
            self.built.set_result(self._house.by_others())
        if flight is not None:
            flight.close(self._house.by_others)  # whatever went wrong on the way, nobody aboard is left waiting
