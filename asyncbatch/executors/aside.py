"""Aside: a thread of a slot's own, for a function that works in one, and for what would hold up the event loop.

No pool of the standard library: there each job has a future for threads, which is chained to one for the loop, and that is
half of what the trip costs.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
from functools import partial
from queue import SimpleQueue
from threading import Thread, current_thread
from typing import TYPE_CHECKING, Any, TypeAlias

from .answers import answer, outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Aside",)

# What to call, with which arguments, and whom to tell whether that returned, and what; None is the end.
_Jobs: TypeAlias = "SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...], Callable[[tuple[bool, Any]], Any]] | None]"

_at_work: dict[Thread, _Jobs] = {}
_ending = False  # whether the interpreter does


class Aside:
    """Runs one job at a time; the slot is `busy` until it ends, whoever waits for it. One event loop has all of them."""

    def __init__(self, name: str) -> None:
        self.busy = False
        self._name = name
        self._jobs: _Jobs | None = None  # the thread starts with its first work
        self._closed = False
        self._idle: asyncio.Future[None] | None = None  # for who waits until it is

    def __del__(self) -> None:
        self._end()

    def submit(self, call: Callable[..., Any], *args: Any) -> asyncio.Future[tuple[bool, Any]]:
        """Return a future of whether `call` returned, and what it returned or raised; cancelling it spares the job."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[tuple[bool, Any]] = loop.create_future()
        wake: Any = loop.call_soon_threadsafe
        self._put(call, args, partial(wake, self._came_back, future))
        self.busy = True
        _expect(loop, 1)
        return future

    async def run(self, call: Callable[..., Any], *args: Any) -> Any:
        """Return what `call` returns, or raise what it raises."""
        return outcome_of(await self.submit(call, *args))

    async def idle(self) -> None:
        """Wait for a job whose awaiter was cancelled."""
        if self.busy:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle

    def close(self, last: Callable[[], None] | None) -> concurrent.futures.Future[None] | None:
        """Run `last`, if there is such a thing, and end; return what is done then."""
        ended: concurrent.futures.Future[None] | None = None
        if last is not None:
            done: concurrent.futures.Future[None] = concurrent.futures.Future()
            with contextlib.suppress(RuntimeError):  # closed before; or the interpreter ends
                self._put(last, (), lambda _: done.set_result(None))
                ended = done
        self._closed = True
        self._end()
        return ended

    def _put(self, call: Callable[..., Any], args: tuple[Any, ...], tell: Callable[[tuple[bool, Any]], Any]) -> None:
        if self._closed or _ending:
            raise RuntimeError(f"thread {self._name!r} takes no job after it was closed, or as the interpreter ends")
        if self._jobs is None:
            jobs: _Jobs = SimpleQueue()
            thread = Thread(target=_work, args=(jobs,), name=self._name, daemon=True)
            thread.start()
            _at_work[thread] = self._jobs = jobs
        self._jobs.put((call, args, tell))

    def _end(self) -> None:
        if self._jobs is not None:
            self._jobs.put(None)

    def _came_back(self, future: asyncio.Future[tuple[bool, Any]], outcome: tuple[bool, Any]) -> None:
        self.busy = False
        _expect(future.get_loop(), -1)
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        if not future.done():
            future.set_result(outcome)


def _expect(loop: Any, answers: int) -> None:
    """Tell a loop whose clock jumps, see `testing`, for how many answers more it has to wait."""
    expect = getattr(loop, "expect", None)
    if expect is not None:
        expect(answers)


def _work(jobs: _Jobs) -> None:
    """Do one job after the other. It keeps nothing of one while it waits for the next, nor the `Aside` it is of."""
    while (job := jobs.get()) is not None:
        call, args, tell = job
        outcome = answer(call, *args)
        del job, call, args
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits for it any more
            tell(outcome)
        del tell, outcome
    del _at_work[current_thread()]


@atexit.register
def _finish() -> None:
    """Let what is at work as the interpreter ends come to its end, as it would in a pool of the standard library."""
    global _ending  # noqa: PLW0603  # it is the state of the process
    _ending = True
    for jobs in _at_work.copy().values():
        jobs.put(None)
    for thread in _at_work.copy():
        thread.join()
