"""Any `concurrent.futures.Executor` of the user's: the function runs there, and an answer always comes back."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asyncbatch import padding, parameters
from asyncbatch.function import is_class, name_of

from .answers import answer, answer_plainly, outcome_of, refuse_async, timed
from .inline import drive

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context

__all__ = ("FuturesExecutor", "FuturesSlot")


@dataclass(frozen=True, slots=True)
class FuturesExecutor:
    """Runs the function in a `concurrent.futures.Executor`, which stays the caller's to shut down.

    At most `concurrency` batches are handed to it at once: by default as many as it has workers, where it says so, else
    one. For a process pool the function must be importable by name, and items and results must pickle.
    """

    executor: concurrent.futures.Executor
    concurrency: int | None = None

    def __post_init__(self) -> None:
        parameters.instance("executor", self.executor, concurrent.futures.Executor, "ProcessPoolExecutor(2)")
        if self.concurrency is not None:
            parameters.count("concurrency", self.concurrency)

    def accept(self, function: Callable[..., Any]) -> None:
        """Raise `TypeError` if `function` cannot run here."""
        refuse_async(function, type(self.executor).__name__)
        if is_class(function):
            raise TypeError(
                f"{type(self.executor).__name__} cannot keep an instance of {name_of(function)} in each worker; "
                "pass a function, or run the class in a ThreadExecutor"
            )

    @property
    def capacity(self) -> int:
        # `_max_workers` is private, but the standard pools, loky and mpi4py all have it, and nothing public tells.
        capacity: int = self.concurrency or getattr(self.executor, "_max_workers", None) or 1
        return capacity

    def open(self, function: Callable[..., Any], name: str, count: int) -> Sequence[FuturesSlot]:  # noqa: ARG002
        return [FuturesSlot(self.executor, function) for _ in range(count)]


class FuturesSlot:
    """One batch at a time in a pool that others may use too."""

    cancellable = False
    worked = 0.0

    def __init__(self, pool: concurrent.futures.Executor, function: Callable[..., Any]) -> None:
        self._pool = pool
        self._function: Any = function
        self.where = "thread" if isinstance(pool, concurrent.futures.ThreadPoolExecutor) else "apart"
        self._running: concurrent.futures.Future[Any] | None = None

    @property
    def available(self) -> bool:
        return self._running is None or self._running.done()

    async def prepare(self) -> None:
        """Wait for work whose awaiter was cancelled: the slot is taken until it ends."""
        if self._running is not None:
            await asyncio.wait([asyncio.wrap_future(self._running)])

    async def run(self, items: list[Any], context: Context) -> Sequence[Any]:
        outcome = outcome_of(await self._answered(items, context))
        return await drive(outcome, context) if inspect.isawaitable(outcome) else outcome  # type: ignore[no-any-return]

    async def _answered(self, items: list[Any], context: Context) -> tuple[bool, Any]:
        how = (padding.gathering, answer_plainly) if self.where == "apart" else (answer, timed, self, context)
        call = *how, self._function, items
        try:
            ok, outcome, *gathered = await asyncio.get_running_loop().run_in_executor(self, *call)  # type: ignore[arg-type]
        finally:
            if self._running is not None and self._running.done():
                self._running = None  # nothing of the batch is kept
        padding.tell(context, gathered)
        return ok, outcome

    def submit(self, call: Callable[..., Any], *args: Any) -> concurrent.futures.Future[Any]:
        """Stand in for the pool in `run_in_executor`, to learn when the work really ends."""
        self._running = self._pool.submit(call, *args)
        return self._running

    def close(self) -> None:
        self._function = None  # what was built here goes, however long the batcher is kept
