"""The residents: the coroutines of all slots, from entering to closing.

One that ends, because somebody cancelled all tasks for example, tells those who wait, and is made anew by the next request.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from contextvars import Context
from typing import TYPE_CHECKING, Any

from .errors import NotRunning
from .house import House
from .resident import Resident

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .executors import Slot
    from .policies import Limits

__all__ = ("Residents",)

logger = logging.getLogger("asyncbatch")


class Residents:
    """The slots of a batcher, the task of each, and their house."""

    def __init__(self, name: str, limits: Limits, slots: Sequence[Slot], **settings: Any) -> None:
        self.house = House(name, limits, len(slots), self._check, **settings)
        self._slots = slots
        self._tasks: dict[Slot, asyncio.Task[None]] = {}
        self._missing = list(slots)
        self._start_missing()

    def begin_close(self, *, drain: bool = True) -> None:
        """Let the residents end once nothing waits any more; without `drain` that is now."""
        self.house.departures.closing = True
        if not drain:
            self.house.queue.clear(self.house.too_early, "closed")
        self.house.queue.ring_all()
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
            self.house.loop.call_soon_threadsafe(self.begin_close)
        except RuntimeError:  # the loop is closed, and its tasks went with it
            self._release()

    def _check(self) -> None:
        """Refuse a request from the wrong loop, and make residents anew where some have ended."""
        if not self.house.loop.is_running():  # it is the right thread, and a thread runs one loop at a time
            raise NotRunning.elsewhere(self.house.name)
        if self._missing and not self.house.departures.closing:
            self._start_missing()

    def _start_missing(self) -> None:
        missing, self._missing = self._missing, []
        for slot in missing:
            # In a context of its own: else every batch would carry the context variables of whoever came first.
            life = Resident(self.house, slot).live(functools.partial(self._retire, slot))
            task = self.house.loop.create_task(life, name=f"asyncbatch {self.house.name}", context=Context())
            self._tasks[slot] = task
            # One that is cancelled before its first step never gets to its own `finally`.
            task.add_done_callback(functools.partial(self._bury, slot))
            # Where a loop is dropped without being closed there is nobody left to be told.
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
        self.house.queue.be_watchful(False)

    def _bury(self, slot: Slot, task: asyncio.Task[None]) -> None:
        self._retire(slot, task)
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            logger.error("the task of batcher %r failed; the next call starts it anew", self.house.name, exc_info=error)

    def _retire(self, slot: Slot, task: asyncio.Task[None]) -> None:
        """Note that a resident ended, and make sure that nobody waits for it."""
        house = self.house
        if self._tasks.get(slot) is not task or house.loop.is_closed():
            return
        del self._tasks[slot]
        if not house.departures.closing:
            self._missing.append(slot)
            house.queue.be_watchful(True)
        if not self._tasks:
            house.queue.clear(house.by_others, "closed")  # empty, unless the last one was cancelled
            house.deadlines.clear()
            if house.departures.closing:
                self._release()
        house.queue.hand_over()

    def _abort(self) -> None:
        self.house.queue.clear(self.house.too_early, "closed")
        for flight in tuple(self.house.flights):
            flight.close(self.house.too_early)
        for task in tuple(self._tasks.values()):
            task.cancel()

    def _release(self) -> None:
        for slot in self._slots:
            slot.close()
