"""Answers: whatever a function does where it runs, a value comes back from there.

Everything is caught where the function runs: `StopIteration` cannot be the exception of a future, `SystemExit` would end
the event loop, and an exception that does not unpickle breaks a whole process pool.
"""

from __future__ import annotations

import contextlib
import pickle
import time
import traceback
from typing import TYPE_CHECKING, Any

from asyncbatch.function import is_async
from asyncbatch.scatter import let_go

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

__all__ = ("answer", "answer_plainly", "outcome_of", "plain", "refuse_async", "timed")


def answer(function: Callable[..., Any], *args: Any) -> tuple[bool, Any]:
    """Return whether `function` returned, and what it returned or raised."""
    try:
        return True, function(*args)
    except BaseException as error:  # noqa: BLE001  # see the module's docstring
        return False, _tame(error)


def answer_plainly(
    function: Callable[..., Any], *args: Any, dumps: Callable[[Any], bytes] = pickle.dumps
) -> tuple[bool, Any]:
    """Do the same for another process: exceptions must survive the way back, those in a list of results too."""
    ok, outcome = answer(function, *args)
    if not ok:
        return ok, plain(outcome, dumps)
    if type(outcome) is list:
        outcome = [plain(each, dumps) if isinstance(each, BaseException) else each for each in outcome]
    return ok, outcome


def plain(error: BaseException, dumps: Callable[[Any], bytes] = pickle.dumps) -> BaseException:
    """Return `error`, or one that says the same and does pickle; where it was raised is in a note."""
    let_go(error)
    if error.__cause__ is not None:
        let_go(error.__cause__)
    trace = "".join(traceback.format_exception(error)) if error.__traceback__ or error.__cause__ else ""
    try:
        pickle.loads(dumps(error))  # noqa: S301  # our own bytes
    except Exception:  # noqa: BLE001
        error = RuntimeError(f"the batch function raised a {type(error).__name__} that does not pickle")
    if trace:  # else it was never raised, or by asyncbatch itself
        with contextlib.suppress(Exception):  # the user's class may be frozen
            error.add_note(f"in the worker:\n{trace}")
    return error


def outcome_of(answered: tuple[bool, Any]) -> Any:
    """Return what a function returned, or raise what it raised, as `answer` has told of it."""
    ok, outcome = answered
    try:
        if not ok:
            raise outcome
        return outcome
    finally:
        del answered, outcome  # this frame is in the traceback of an exception, which must not be kept alive by itself


def timed(slot: Any, context: Context, function: Callable[..., Any], items: list[Any]) -> Any:
    """Call `function` in `context`, in a thread, and tell the `slot` for how many seconds that `worked`."""
    began = time.thread_time()
    try:
        return context.run(function, items)
    finally:
        slot.worked = time.thread_time() - began


def refuse_async(function: Callable[..., Any], where: str) -> None:
    """Raise `TypeError` if `function` is async: `where` says what has no event loop for it."""
    if is_async(function):
        raise TypeError(
            f"{function!r} is async, and {where} cannot run it; leave executor= out, or write executor='inline'"
        )


def _tame(error: BaseException) -> Exception:
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    tame = RuntimeError(f"the batch function raised {type(error).__name__}")
    tame.__cause__ = error
    return tame
