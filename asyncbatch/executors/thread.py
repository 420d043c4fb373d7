"""Threads of the batcher's own: the function runs in one, and an answer always comes back."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asyncbatch import parameters
from asyncbatch.function import is_class

from .answers import outcome_of, refuse_async, timed
from .aside import Aside
from .inline import drive

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context

__all__ = ("ThreadExecutor", "ThreadSlot")


@dataclass(frozen=True, slots=True)
class ThreadExecutor:
    """Runs the function in `workers` threads of the batcher's own, one batch each at a time.

    A class is built once in each thread, when the batcher is entered. A thread cannot be stopped: a batch whose callers
    have all left keeps its thread until it ends, and so does one that is still running when the batcher closes.
    """

    workers: int = 1

    def __post_init__(self) -> None:
        parameters.count("workers", self.workers)

    def accept(self, function: Callable[..., Any]) -> None:
        """Raise `TypeError` if `function` cannot run here."""
        refuse_async(function, "a thread")

    @property
    def capacity(self) -> int:
        return self.workers

    def open(self, function: Callable[..., Any], name: str, count: int) -> Sequence[ThreadSlot]:
        return [ThreadSlot(function, name) for _ in range(count)]


class ThreadSlot:
    """One thread. It starts with the first work."""

    cancellable = False
    where = "thread"
    worked = 0.0

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._function: Any = function
        self._built = not is_class(function)
        self._aside = Aside(f"asyncbatch {name}")

    @property
    def available(self) -> bool:
        return self._built and not self._aside.busy

    async def prepare(self) -> None:
        """Wait for work whose awaiter was cancelled: the slot is taken until it ends; then have the class built."""
        await self._aside.idle()
        if not self._built:
            self._function, self._built = await self._aside.run(self._function), True

    async def run(self, items: list[Any], context: Context) -> Sequence[Any]:
        outcome = outcome_of(await self._aside.submit(timed, self, context, self._function, items))
        return await drive(outcome, context) if inspect.isawaitable(outcome) else outcome  # type: ignore[no-any-return]

    def close(self) -> None:
        self._function = None  # what was built here goes, however long the batcher is kept
        self._aside.close(None)
