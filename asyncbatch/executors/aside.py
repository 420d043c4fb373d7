"""Aside: a thread of a slot's own, for what would hold up the event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Aside",)


class Aside:
    """Runs one job at a time; the slot is taken until it ends, whoever waits for it."""

    def __init__(self, name: str) -> None:
        self._thread = concurrent.futures.ThreadPoolExecutor(1, name)  # starts with its first work
        self._job: concurrent.futures.Future[Any] | None = None

    @property
    def busy(self) -> bool:
        return self._job is not None

    async def run(self, call: Callable[..., Any], *args: Any) -> Any:
        """Return what `call` returns, or raise what it raises."""
        self._job = job = self._thread.submit(call, *args)
        job.add_done_callback(self._came_back)
        return await asyncio.wrap_future(job)

    async def idle(self) -> None:
        """Wait for a job whose awaiter was cancelled."""
        if (job := self._job) is not None:
            await asyncio.wait([asyncio.wrap_future(job)])

    def close(self, last: Callable[[], None] | None) -> concurrent.futures.Future[None] | None:
        """Run `last`, if there is such a thing, and end; return what is done then."""
        ended = None
        if last is not None:
            with contextlib.suppress(RuntimeError):  # closed before; or the interpreter ends, and what it started with it
                ended = self._thread.submit(last)
        self._thread.shutdown(wait=False)
        return ended

    def _came_back(self, _: object) -> None:
        self._job = None  # nothing of the batch is kept
