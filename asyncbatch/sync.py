"""The batcher for threads: Flask, Django, scripts. All threads of a process share one, and its batches.

    with asyncbatch.sync.Batcher(embed, max_batch_size=64, max_wait=0.002) as batcher:
        vector = batcher("one text")            # blocks this thread, and no other
        vectors = batcher.map(["many", "texts"])

The batches are formed on an event loop in a thread of the batcher's own. It starts with the first call, not before, so that
a server may make a batcher and then fork its workers: each starts a thread of its own.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, Unpack, overload

from . import batcher as _batcher
from . import parameters
from .errors import Closed, WouldDeadlock
from .function import BatchClass, BatchFunction, ItemT, ResultT
from .keywords import spelt_out

if TYPE_CHECKING:
    from .keywords import Details, Options
    from .metrics.statistics import Statistics

__all__ = ("Batcher",)

T = TypeVar("T")


class Batcher(Generic[ItemT, ResultT]):
    """A batcher that is called from any thread; the parameters are those of `asyncbatch.Batcher`.

    `with` closes it. One that is left open ends with the process. After a fork, the child begins anew.
    """

    def __init__(
        self, function: BatchFunction[ItemT, ResultT] | BatchClass[ItemT, ResultT], **options: Unpack[Options]
    ) -> None:
        self._make: Callable[[], _batcher.Batcher[ItemT, ResultT]] = lambda: _batcher.Batcher(function, **options)
        self.name = self._make().name  # so that wrong options are told now
        self._closed = False
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._portal: _Portal[ItemT, ResultT] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(drain=kind is None)

    @spelt_out
    def __call__(self, item: ItemT, **details: Unpack[Details]) -> ResultT:
        """Return the result for `item`; blocks the calling thread. Raises as `asyncbatch.Batcher.__call__` does."""
        return self._wait(lambda batcher: batcher(item, **details))

    @spelt_out
    def submit(self, item: ItemT, **details: Unpack[Details]) -> concurrent.futures.Future[ResultT]:
        """Return a future of the result for `item`; it waits for room in the queue, and cancelling it is leaving."""
        return self._send(lambda batcher: batcher(item, **details))

    @overload
    def map(
        self, items: Iterable[ItemT], *, return_exceptions: Literal[False] = ..., **details: Unpack[Details]
    ) -> list[ResultT]: ...
    @overload
    def map(
        self, items: Iterable[ItemT], *, return_exceptions: bool, **details: Unpack[Details]
    ) -> list[ResultT | BaseException]: ...
    @spelt_out
    def map(self, items: Iterable[ItemT], *, return_exceptions: bool = False, **details: Unpack[Details]) -> list[Any]:
        """Return the results for all `items`, in order; see `asyncbatch.Batcher.map`."""
        items = list(items)
        return self._wait(lambda batcher: batcher.map(items, return_exceptions=return_exceptions, **details))

    def flush(self) -> None:
        """Let all that waits now leave without further waiting."""
        self._wait(_flush)

    def resize(self, capacity: int) -> None:
        """Let `capacity` batches run at once; see `asyncbatch.Batcher.resize`."""
        self._wait(lambda batcher: batcher.resize(capacity))

    def statistics(self) -> Statistics:
        """Return a snapshot of what has happened since the first call in this process."""
        return self._wait(_statistics)

    def close(self, drain: bool = True, timeout: float = float("inf")) -> None:
        """Close as `asyncbatch.Batcher.aclose` does, and end the thread; harmless when repeated."""
        parameters.seconds("timeout", timeout)
        with self._guard():
            self._closed = True
            portal, self._portal = self._portal, None
        if portal is not None:
            portal.close(drain, timeout)

    def _send(
        self, call: Callable[[_batcher.Batcher[ItemT, ResultT]], Coroutine[Any, Any, T]]
    ) -> concurrent.futures.Future[T]:
        with self._guard():
            if self._closed:
                raise Closed(f"batcher {self.name!r} is closed; make a new one")
            if self._portal is None or self._portal.ended:
                self._portal = _Portal(self._make)
                # A portal that nobody closes ends with its batcher, which must not be kept by what is told then.
                weakref.finalize(self, _end, *self._portal.serving)
            return self._portal.send(call)

    def _guard(self) -> threading.Lock:
        if self._pid != os.getpid():
            self._reset()  # the thread stayed in the parent, and so may have a holder of the lock
        return self._lock

    def _wait(self, call: Callable[[_batcher.Batcher[ItemT, ResultT]], Coroutine[Any, Any, T]]) -> T:
        if _running_loop():
            raise WouldDeadlock(
                f"batcher {self.name!r} would block the event loop that runs in this thread; "
                "use asyncbatch.Batcher there, and await it"
            )
        future = self._send(call)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C while waiting: the request leaves, too
            raise
        finally:
            del future


class _Portal(Generic[ItemT, ResultT]):
    """A thread with an event loop in which one batcher is entered."""

    def __init__(self, make: Callable[[], _batcher.Batcher[ItemT, ResultT]]) -> None:
        self._batcher = make()
        self._alive = True
        self._entered: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = (
            concurrent.futures.Future()
        )
        self._calls: set[concurrent.futures.Future[Any]] = set()
        # A daemon: a batcher that was left open must not keep the process from ending.
        self._thread = threading.Thread(target=self._serve, name=f"asyncbatch {self._batcher.name}", daemon=True)
        self._thread.start()
        self.serving = self._entered.result()

    @property
    def ended(self) -> bool:
        """Whether the thread serves no more: it was closed, or the function ended the loop by `SystemExit`."""
        return not self._alive

    def _serve(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:  # noqa: BLE001  # to whoever made the first call, if nobody has heard of it yet
            if not self._entered.done():
                self._entered.set_exception(error)
        finally:
            self._alive = False
            for future in tuple(self._calls):
                self._refuse(future)

    async def _live(self) -> None:
        closing = asyncio.Event()
        async with self._batcher:
            self._entered.set_result((asyncio.get_running_loop(), closing))
            await closing.wait()

    def send(
        self, call: Callable[[_batcher.Batcher[ItemT, ResultT]], Coroutine[Any, Any, T]]
    ) -> concurrent.futures.Future[T]:
        coroutine = call(self._batcher)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self.serving[0])
        except RuntimeError:  # the loop has just been closed
            coroutine.close()
            future = concurrent.futures.Future()
        self._calls.add(future)
        future.add_done_callback(self._calls.discard)
        if not self._alive:  # a loop that ends drops what was sent to it without a word
            self._refuse(future)
        return future

    def _refuse(self, future: concurrent.futures.Future[Any]) -> None:
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            future.set_exception(Closed.too_early(self._batcher.name))

    def close(self, drain: bool, timeout: float) -> None:
        """Close the batcher and end the thread; called by the batcher's own function, do not wait for it."""
        closed = self.send(lambda batcher: batcher.aclose(drain, timeout))
        if self._batcher.in_own_flight():
            closed.add_done_callback(lambda _: _end(*self.serving))
            return
        try:
            with contextlib.suppress(Closed):  # the function ended the loop
                closed.result()
        finally:
            _end(*self.serving)
            self._thread.join()


def _end(loop: asyncio.AbstractEventLoop, closing: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed already
        loop.call_soon_threadsafe(closing.set)


async def _flush(batcher: _batcher.Batcher[Any, Any]) -> None:
    batcher.flush()


async def _statistics(batcher: _batcher.Batcher[Any, Any]) -> Statistics:
    return batcher.statistics()


def _running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
