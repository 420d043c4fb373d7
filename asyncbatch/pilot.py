"""The pilot: flies the batches of one slot. It starts the function, keeps the books, and knows whose an error is."""

from __future__ import annotations

import asyncio
from contextvars import Context
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any

from .flight import CURRENT
from .lull import Lull

if TYPE_CHECKING:
    from .executors import Slot
    from .flight import Flight
    from .house import House

__all__ = ("Pilot",)


_set_current = CURRENT.set


class Pilot:
    """Knows its slot, and its house, with the queue and the rule for departures. One batch at a time flies."""

    def __init__(self, house: House, slot: Slot) -> None:
        self.slot = slot
        self.loop = house.loop
        self.queue = house.queue
        self._house = house
        self._departures = house.departures
        self._lull = Lull(house.queue, house.stopwatch, slot)
        self._time = house.loop.time
        self._stopwatch = house.stopwatch
        self._began = 0.0
        self._task: Any = None
        self._stoppable: Any = None  # the same, if that stops the work
        self._flight: Flight | None = None  # the last that was to be filled, until it is back
        self._context: Context | None = None  # what it flies in, as long as it does
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

    def _fly(self, flight: Flight, now: float, reason: str) -> Any:
        """Start the function, in a context of its own."""
        house = self._house
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
