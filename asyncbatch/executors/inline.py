"""Inline: the function runs on the event loop, in the resident's own step. For `async def`; there is no thread hop."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from asyncbatch import parameters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
    from contextvars import Context

__all__ = ("InlineExecutor", "drive")


@dataclass(frozen=True, slots=True)
class InlineExecutor:
    """Runs an `async def` function on the event loop, at most `concurrency` batches at once.

    A plain function may run here too; the loop stands still while it works, so it should take microseconds.
    When every caller of a batch has left, its function is cancelled.
    """

    concurrency: int = 1

    def __post_init__(self) -> None:
        parameters.count("concurrency", self.concurrency)

    def open(self, function: Callable[..., Any], name: str) -> Sequence[InlineSlot]:  # noqa: ARG002
        return [InlineSlot(function) for _ in range(self.concurrency)]


class InlineSlot:
    """One batch at a time on the event loop."""

    cancellable = True

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.available = not inspect.isclass(function)

    async def prepare(self) -> None:
        self._function = self._function()
        self.available = True

    async def run(self, items: list[Any], context: Context) -> Sequence[Any]:
        outputs = context.run(self._function, items)
        if type(outputs) is CoroutineType or inspect.isawaitable(outputs):
            outputs = await drive(outputs, context)
        return outputs  # type: ignore[no-any-return]

    def close(self) -> None:
        pass


async def drive(awaitable: Awaitable[Any], context: Context) -> Any:
    """Await something of the user's in `context`."""
    coroutine = awaitable if inspect.iscoroutine(awaitable) else _awaiting(awaitable)
    try:
        waits_for = context.run(coroutine.send, None)
    except StopIteration as end:  # it never had to wait, as most caches and all identity functions
        return end.value
    return await _Driven(coroutine, context, waits_for)


async def _awaiting(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


class _Driven:
    """A started coroutine that is stepped in a context of its own, inside the task that awaits it.

    A task a batch would give it the context too, at the price of a task and another pass of the loop a batch.
    """

    __slots__ = ("_context", "_coroutine", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], context: Context, waits_for: Any) -> None:
        self._coroutine = coroutine
        self._context = context
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, Any]:
        step, value = self._coroutine.send, None
        while True:
            try:
                value = yield self._waits_for
                step = self._coroutine.send
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001  # whatever is thrown in belongs to the coroutine
                step, value = self._coroutine.throw, error  # type: ignore[assignment]
            try:
                self._waits_for = self._context.run(step, value)
            except StopIteration as end:
                return end.value
            finally:
                value = None  # an exception that was thrown in must not be kept alive by this frame
