"""Scatter: outputs and errors to the callers they belong to. It does not know how outputs were made.

Every caller gets an exception object of its own, chain and notes included: one object in the hands of many would carry the
notes, the context and the traceback of each to all the others.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from .errors import FunctionFailed, OutputCountMismatch, OutputTypeError
from .request import GONE, Portion

if TYPE_CHECKING:
    from .request import Passenger

__all__ = ("checked", "deliver", "fail", "own_copy")

# How far the causes of an exception are copied; what lies deeper is shared.
_CHAIN = 16


def checked(outputs: Any, expected: int, name: str) -> Sequence[Any]:
    """Return `outputs` as a sequence of `expected` results, or raise `OutputTypeError` or `OutputCountMismatch`."""
    if type(outputs) is not list and type(outputs) is not tuple:
        if isinstance(outputs, str | bytes | bytearray | Mapping | AbstractSet) or not hasattr(outputs, "__len__"):
            raise OutputTypeError(name, _kind(outputs))
        try:
            outputs = list(outputs)
        except TypeError:  # an array without dimensions has a length in name only
            raise OutputTypeError(name, _kind(outputs)) from None
    if len(outputs) != expected:
        raise OutputCountMismatch(name, expected, len(outputs))
    return outputs  # type: ignore[no-any-return]


def deliver(
    passengers: Sequence[Passenger], outputs: Sequence[Any], note: Callable[[], str], *, mixed: bool
) -> tuple[int, int]:
    """Hand out `outputs`, one for each item; return how many items succeeded and failed.

    An exception among them fails its own item, with a `note`. Callers that have left are counted in neither. `mixed`
    tells that portions of bulks may be among the passengers.
    """
    failures = False
    for kind in set(map(type, outputs)):
        failures = failures or issubclass(kind, BaseException)
    if failures or mixed:
        return _deliver_by_hand(passengers, outputs, note, failures=failures)
    succeeded = len(outputs)
    for request, output in zip(passengers, outputs, strict=True):
        future, request.future = request.future, GONE  # type: ignore[misc]  # none is a portion
        try:
            future.set_result(output)
        except asyncio.InvalidStateError:
            succeeded -= 1
    return succeeded, 0


def _deliver_by_hand(
    passengers: Sequence[Passenger], outputs: Sequence[Any], note: Callable[[], str], *, failures: bool
) -> tuple[int, int]:
    succeeded = failed = start = 0
    for passenger in passengers:
        part = outputs[start : start + passenger.size]
        start += passenger.size
        if passenger.place is None or passenger.future.done():
            continue
        errors = []
        if failures:
            part = [_own(each, note()) if isinstance(each, BaseException) else each for each in part]
            errors = [each for each in part if isinstance(each, BaseException)]
        failed += len(errors)
        succeeded += len(part) - len(errors)
        _settle(passenger, part, errors)
    return succeeded, failed


def fail(passengers: Sequence[Passenger], error: BaseException, note: str) -> int:
    """Give each caller its own copy of `error`; return how many items failed."""
    failed = 0
    for passenger in passengers:
        if passenger.place is None or passenger.future.done():
            continue
        failed += passenger.size
        many = isinstance(passenger, Portion) and passenger.bulk.return_exceptions
        errors = [_own(error, note) for _ in range(passenger.size if many else 1)]
        _settle(passenger, errors, errors)
    return failed


def _settle(passenger: Passenger, part: Sequence[Any], errors: Sequence[BaseException]) -> None:
    """Give a caller its part. The first error of a bulk ends it, and what is left of it, unless errors are results."""
    if not isinstance(passenger, Portion):
        future, passenger.future = passenger.future, GONE
        (future.set_exception if errors else future.set_result)(part[0])
    elif errors and not passenger.bulk.return_exceptions:
        passenger.place = None  # this part has its outcome; leaving is for the others
        passenger.bulk.fail(errors[0], "cancelled")
    else:
        passenger.bulk.deliver(passenger, part)


def _own(error: BaseException, note: str) -> BaseException:
    if not isinstance(error, Exception) or isinstance(error, StopIteration):
        # Neither can be raised in a caller: it would be taken for the caller's own cancellation, or end a generator.
        own: BaseException = RuntimeError(f"the batch function raised {_kind(error)}")
        own.__cause__ = own_copy(error)
    else:
        own = own_copy(error)
    own.add_note(note)
    return own


def own_copy(error: BaseException, depth: int = _CHAIN) -> BaseException:
    """Return an exception that equals `error`, with its traceback, notes and copies of what it was raised from."""
    twin = _twin(error)
    if twin is None:
        twin = FunctionFailed(f"{_kind(error)}, which cannot be copied for each caller")
        twin.__cause__ = error
        return twin
    if isinstance(notes := getattr(error, "__notes__", None), list):
        twin.__notes__ = list(notes)
    if depth:
        twin.__cause__ = own_copy(error.__cause__, depth - 1) if error.__cause__ else None
        context = error.__context__ if error.__context__ is not error.__cause__ else None
        twin.__context__ = own_copy(context, depth - 1) if context else twin.__cause__
    twin.__suppress_context__ = error.__suppress_context__
    return twin.with_traceback(error.__traceback__)


def _twin(error: BaseException) -> BaseException | None:
    """Copy the object itself: as pickle would, else without its `__init__`, which may want other arguments."""
    if type(error) in (ExceptionGroup, BaseExceptionGroup):
        return error.derive([own_copy(each) for each in error.exceptions])  # type: ignore[attr-defined, no-any-return]
    for make in (copy.copy, _bare):
        try:
            twin = make(error)
            if type(twin) is type(error) and twin is not error and _same(twin, error):
                return twin
        except Exception:  # noqa: BLE001, S112  # the user's class: whatever it does, the caller gets an answer
            continue
    return None


def _bare(error: BaseException) -> BaseException:
    twin = type(error).__new__(type(error), *error.args)
    twin.__dict__.update(error.__dict__)
    return twin


def _same(twin: BaseException, error: BaseException) -> bool:
    # By identity: the arguments are the user's, and comparing arrays is no yes or no.
    return (
        len(twin.args) == len(error.args)
        and all(ours is theirs for ours, theirs in zip(twin.args, error.args, strict=True))
        and vars(twin).keys() == vars(error).keys()
        and str(twin) == str(error)
    )


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
