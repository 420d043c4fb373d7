"""Inline: the function runs on the event loop, in a step of the resident or in its name. For `async def`; no thread hop."""

from __future__ import annotations

import inspect
import types
from dataclasses import dataclass
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from asyncbatch import parameters
from asyncbatch.function import is_class

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence
    from contextvars import Context

__all__ = ("InlineExecutor", "InlineSlot", "drive")


@dataclass(frozen=True, slots=True)
class InlineExecutor:
    """Runs an `async def` function on the event loop, at most `concurrency` batches at once.

    A plain function may run here too; the loop stands still while it works, so it should take microseconds.
    When every caller of a batch has left, its function is cancelled.
    """

    concurrency: int = 1

    def __post_init__(self) -> None:
        parameters.count("concurrency", self.concurrency)

    @property
    def capacity(self) -> int:
        return self.concurrency

    def open(self, function: Callable[..., Any], name: str, count: int) -> Sequence[InlineSlot]:  # noqa: ARG002
        return [InlineSlot(function) for _ in range(count)]


class InlineSlot:
    """One batch at a time on the event loop."""

    cancellable = True
    where = "loop"

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function: Any = function
        self.available = not is_class(function)

    async def prepare(self) -> None:
        try:
            self._function = self._function()
        except GeneratorExit as error:
            raise _leaked() from error
        self.available = True

    def run(self, items: list[Any], context: Context) -> Awaitable[Any] | tuple[Any]:
        try:
            outputs = context.run(self._function, items)
        except GeneratorExit as error:
            raise _leaked() from error
        if type(outputs) is CoroutineType or inspect.isawaitable(outputs):
            return _begin(outputs, context)
        return (outputs,)

    def close(self) -> None:
        self._function = None  # what was built here goes, however long the batcher is kept


async def drive(awaitable: Awaitable[Any], context: Context) -> Any:
    """Await something of the user's in `context`, inside the task that awaits this.

    A task a batch would give it the context too, at the price of a task and another pass of the loop a batch.
    """
    step = _begin(awaitable, context)
    return step[0] if type(step) is tuple else await step  # type: ignore[misc]


def _begin(awaitable: Awaitable[Any], context: Context) -> Awaitable[Any] | tuple[Any]:
    """Take the first step; return what to await for the result, or else a tuple of that alone, if it never waited."""
    coroutine: Any = awaitable if type(awaitable) is CoroutineType else _awaiting(awaitable)
    try:
        waits_for = context.run(coroutine.send, None)
    except StopIteration as end:
        return (end.value,)
    except GeneratorExit as error:
        raise _leaked() from error
    return _go_on(coroutine, context, waits_for)


@types.coroutine
def _go_on(coroutine: Any, context: Context, waits_for: Any) -> Generator[Any, Any, Any]:
    while True:
        try:
            value = yield waits_for
            step = coroutine.send
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:  # noqa: BLE001  # whatever is thrown in belongs to the coroutine
            step, value = coroutine.throw, error
        try:
            waits_for = context.run(step, value)
        except StopIteration as end:
            return end.value
        except GeneratorExit as error:  # the function's own; one that is thrown in above ends this coroutine instead
            raise _leaked() from error
        finally:
            value = None  # an exception that was thrown in must not be kept alive by this frame


def _leaked() -> RuntimeError:
    return RuntimeError("the batch function raised GeneratorExit")


async def _awaiting(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
