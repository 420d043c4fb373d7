"""imap: an async iterator over the results of a source that may not fit in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from . import parameters
from .errors import ItemTooLarge

if TYPE_CHECKING:
    from .checkpoint import Checkpoint

__all__ = ("OnProgress", "Progress", "Submit", "results")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an `imap` is: items `done`, `failed` among them, `waiting` for their result, and `seconds` since it began."""

    done: int
    failed: int
    waiting: int
    seconds: float


OnProgress: TypeAlias = Callable[[Progress], object]
Submit: TypeAlias = Callable[[Any, bool], "asyncio.Future[Any]"]
"""Submits an item; the flag says whether it waits for room even where others are turned away."""


def results(
    source: Iterable[Any] | AsyncIterable[Any],
    submit: Submit,
    checkpoint: Checkpoint | None,
    ordered: bool,
    read_ahead: int,
    return_exceptions: bool,
    on_progress: OnProgress | None,
) -> AsyncGenerator[Any, None]:
    """Return an iterator over the result of each item; at most `read_ahead` are read and not yet yielded.

    Whatever ends the iteration early, an error, a cancellation or `break`, cancels what was read ahead.
    """
    parameters.count("read_ahead", read_ahead)
    if checkpoint is not None and not hasattr(checkpoint, "around"):
        seen = type(checkpoint).__name__
        raise TypeError(f"checkpoint must be a Checkpoint, not a {seen}; write checkpoint=Checkpoint('job.sqlite')")
    kept = contextlib.nullcontext(submit) if checkpoint is None else checkpoint.around(submit)
    return _results(source, kept, ordered, read_ahead, return_exceptions, on_progress)


async def _results(
    source: Iterable[Any] | AsyncIterable[Any],
    kept: contextlib.AbstractAsyncContextManager[Submit],
    ordered: bool,
    read_ahead: int,
    return_exceptions: bool,
    on_progress: OnProgress | None,
) -> AsyncGenerator[Any, None]:
    clock = asyncio.get_running_loop().time
    began, done, failed = clock(), 0, 0
    async with kept as submit:
        window = _Window(submit, read_ahead, ordered=ordered)
        feeder = asyncio.create_task(window.feed(source))
        try:
            while (future := await window.next()) is not None:
                error = None if future.cancelled() else future.exception()
                done, failed = done + 1, failed + (error is not None)
                if on_progress is not None:
                    on_progress(Progress(done, failed, len(window.waiting), clock() - began))
                yield error if error is not None and return_exceptions else future.result()
            await feeder  # raises what the source raised, after the results of what it gave
        finally:
            # No await from here on: under a cancelled anyio scope each one would be cancelled again.
            feeder.cancel()
            for future in tuple(window.waiting):
                if not future.cancel() and not future.cancelled():
                    future.exception()  # nobody will look at it, and that is no reason for a complaint


class _Window:
    """The futures of what was read ahead, in the order of the source, or of their answers."""

    def __init__(self, submit: Submit, size: int, *, ordered: bool) -> None:
        self.waiting: set[asyncio.Future[Any]] = set()
        self._submit = submit
        self._room = asyncio.Semaphore(size)
        self._ordered = ordered
        self._line: asyncio.Queue[asyncio.Future[Any] | None] = asyncio.Queue()
        self._ended = False

    async def feed(self, source: Iterable[Any] | AsyncIterable[Any]) -> None:
        try:
            if isinstance(source, AsyncIterable):
                async for item in source:
                    await self._read(item)
            else:
                for item in source:
                    await self._read(item)
        finally:
            self._ended = True
            self._line.put_nowait(None)

    async def _read(self, item: Any) -> None:
        await self._room.acquire()
        try:
            future = self._submit(item, bool(self.waiting))  # what it read ahead itself is no reason to be turned away
        except ItemTooLarge as error:  # its own error, with a place among the results
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
        self.waiting.add(future)
        if self._ordered:
            self._line.put_nowait(future)
        else:
            future.add_done_callback(self._line.put_nowait)

    async def next(self) -> asyncio.Future[Any] | None:
        """Return the next future, done; None after the last."""
        while self.waiting or not self._ended:
            future = await self._line.get()
            if future is not None:
                if not future.done():
                    await asyncio.wait([future])
                self.waiting.discard(future)
                self._room.release()
                return future
        return None
