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
    from collections.abc import Awaitable, Callable, Sequence
    from concurrent.futures import Future

    from .executors import Slot
    from .metrics.statistics import Statistics
    from .policies import Limits

__all__ = ("Residents",)

logger = logging.getLogger("asyncbatch")


class Residents:
    """All residents of a batcher and their house; `open_slots` makes so many more slots to live in."""

    def __init__(
        self, name: str, limits: Limits, capacity: int, open_slots: Callable[[int], Sequence[Slot]], **settings: Any
    ) -> None:
        self.house = House(name, limits, self._check, **settings)
        self._open_slots = open_slots
        self._all: list[Resident] = []
        self._closing: set[Future[Any]] = set()  # what slots that were closed still have to do
        self._resized: asyncio.Future[None] = self.house.loop.create_future()
        self.house.announce(self.statistics)
        self._grow(capacity)

    async def ready(self) -> None:
        """Wait until every slot was available once; raises what one of them failed with."""
        for built in [each.built for each in self._all if each.built is not None]:
            failure = await asyncio.shield(built)
            if failure is not None:
                raise self._raisable(failure)

    def statistics(self) -> Statistics:
        return self.house.statistics(sum(each.is_ready() for each in self._all if not each.leaving))

    def _raisable(self, failure: BaseException) -> BaseException:
        if not isinstance(failure, asyncio.CancelledError | GeneratorExit | StopIteration):
            return failure
        tame = RuntimeError(f"the class of batcher {self.house.name!r} raised {type(failure).__name__}")
        tame.__cause__ = failure  # itself it would be taken for a cancellation of whoever waits, or the end of a coroutine
        return tame

    async def resize(self, capacity: int, *, wait: bool) -> None:
        """Have so many slots; `wait` until the new ones are available, or those that are too many are closed."""
        self._resized.set_result(None)
        self._resized = self.house.loop.create_future()
        staying = [each for each in self._all if not each.leaving]
        if capacity > len(staying):
            self._keep_or_grow(capacity - len(staying))
            if wait:
                await self.ready()
            return
        self.house.capacity = capacity
        leaving = staying[capacity:]
        for each in leaving:
            each.leaving = True
            if each.task is None:
                self._move_out(each)
        self.house.queue.ring_all()
        # One that is to stay after all, as the batcher is resized again, is not waited for.
        while wait and (tasks := [each.task for each in leaving if each.leaving and each.task is not None]):
            await asyncio.wait([*tasks, self._resized], return_when=asyncio.FIRST_COMPLETED)
        if wait:
            await self._closed()

    def _keep_or_grow(self, more: int) -> None:
        """Have `more` slots: first of all those that are about to leave, as they still run."""
        kept = [each for each in self._all if each.leaving][:more]
        for each in kept:
            each.leaving = False
        self.house.capacity += len(kept)
        self._grow(more - len(kept))

    async def _closed(self) -> None:
        """Wait until nothing is left of slots that were closed."""
        while closing := [asyncio.wrap_future(each) for each in tuple(self._closing)]:
            # Not for ever: a fork of this process that closed its copy of the loop leaves threads no way to wake this one.
            await asyncio.wait(closing, timeout=0.1)

    def _grow(self, more: int) -> None:
        self._all += [Resident(self.house, slot) for slot in self._open_slots(more)]
        self.house.capacity += more
        self._start_missing()

    def _move_out(self, resident: Resident) -> None:
        self._all.remove(resident)
        self._close(resident)

    def _close(self, resident: Resident) -> None:
        closing = resident.slot.close()
        if closing is not None:
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def begin_close(self, *, drain: bool = True) -> None:
        """Let the residents end once nothing waits any more; without `drain` that is now."""
        self.house.departures.closing = True
        if not drain:
            self.house.queue.clear(self.house.too_early, "closed")
            for resident in self._all:
                resident.give_up()
        self.house.queue.ring_all()
        if not self._tasks():
            self._release()

    async def ended(self, timeout: float) -> None:
        """Wait until all residents have ended; past `timeout`, or when cancelled, end them and fail who still waits."""
        try:
            if tasks := self._tasks():
                await asyncio.wait(tasks, timeout=None if timeout == math.inf else timeout)
        except asyncio.CancelledError:
            self._abort()
            raise
        if tasks := self._tasks():
            self._abort()
            await asyncio.wait(tasks, timeout=0)  # a pass, for those that end when they are cancelled
        else:
            await self._closed()

    def abandon(self) -> None:
        """Close with nobody waiting for it, from any thread: the batcher was dropped, or its loop is gone."""
        try:
            self.house.loop.call_soon_threadsafe(self.begin_close)
        except RuntimeError:  # the loop is closed, and its tasks went with it
            self._release()

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [each.task for each in self._all if each.task is not None]

    def _check(self) -> None:
        """Refuse a request from the wrong loop, and start residents anew where some have ended."""
        if not self.house.loop.is_running():  # it is the right thread, and a thread runs one loop at a time
            raise NotRunning.elsewhere(self.house.name)
        if not self.house.departures.closing:
            self._start_missing()

    def _start_missing(self) -> None:
        for resident in self._all:
            if resident.task is not None:
                continue
            # In a context of its own: else every batch would carry the context variables of whoever came first.
            life = self._live(resident)
            task = self.house.loop.create_task(life, name=f"asyncbatch {self.house.name}", context=Context())
            resident.task = task
            # One that is cancelled before its first step never gets to its own `finally`.
            task.add_done_callback(functools.partial(self._bury, resident))
            # Where a loop is dropped without being closed there is nobody left to be told.
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
        self.house.queue.be_watchful(False)

    async def _live(self, resident: Resident) -> None:
        """Fly one batch after the other, until the batcher closes; nothing is decided here."""
        task: Any = asyncio.current_task()
        try:
            step: Awaitable[Any] | None = resident.begin(task)
            while step is not None:
                try:
                    step = resident.go_on(await step)
                except BaseException as error:  # noqa: BLE001  # `cope` raises again what is not for callers
                    step = resident.cope(error)
        finally:
            resident.leave()
            self._retire(resident, task)

    def _bury(self, resident: Resident, task: asyncio.Task[None]) -> None:
        self._retire(resident, task)
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            logger.error("the task of batcher %r failed; the next call starts it anew", self.house.name, exc_info=error)

    def _retire(self, resident: Resident, task: asyncio.Task[None]) -> None:
        """Note that a resident ended, and make sure that nobody waits for it."""
        house = self.house
        if resident.task is not task or house.loop.is_closed():
            return
        resident.task = None
        if resident.leaving:
            self._move_out(resident)
        elif not house.departures.closing:
            house.queue.be_watchful(True)
        if not self._tasks():
            house.queue.clear(house.by_others, "closed")  # empty, unless the last one was cancelled
            house.deadlines.clear()
            if house.departures.closing:
                self._release()
        house.queue.hand_over()

    def _abort(self) -> None:
        self.house.queue.clear(self.house.too_early, "closed")
        for flight in tuple(self.house.flights):
            flight.close(self.house.too_early)
        for task in self._tasks():
            task.cancel()

    def _release(self) -> None:
        while self._all:
            self._close(self._all.pop())
