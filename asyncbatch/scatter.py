"""Scatter: outputs and errors to the callers they belong to. It does not know how outputs were made.

Every caller gets an exception object of its own, chain and notes included: one object in the hands of many would carry the
notes, the context and the traceback of each to all the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from .crowd import Crowd
from .errors import FunctionFailed, OutputCountMismatch, OutputTypeError
from .request import Portion

if TYPE_CHECKING:
    from .request import Passenger

__all__ = ("answer", "any_failed", "checked", "deliver", "fail", "let_go", "own_copy")

_OURS = __name__.rpartition(".")[0] + "."

# How many exceptions of one chain are copied; what lies deeper is shared.
_CHAIN = 64


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


def any_failed(outputs: Sequence[Any]) -> bool:
    """Tell whether there is an exception among them."""
    if len(outputs) == 1:  # of a lone caller, who need not pay for a set
        return issubclass(type(outputs[0]), BaseException)
    failures = False
    for kind in set(map(type, outputs)):
        failures = failures or issubclass(kind, BaseException)
    return failures


def answer(futures: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Give each future its output; return how many were still waiting for it."""
    succeeded = len(outputs)
    answers = map(type(futures[0]).set_result, futures, outputs)  # on every request's way, so it is left to C
    while True:
        try:
            any(answers)  # which are None, each
        except asyncio.InvalidStateError:  # cancelled in this very pass; the next one is next
            succeeded -= 1
        else:
            return succeeded


def deliver(
    passengers: Sequence[Passenger | Crowd], outputs: Sequence[Any], note: Callable[[], str] | None
) -> tuple[int, int]:
    """Hand out `outputs`, one for each item; return how many items succeeded and failed.

    With a `note` there are exceptions among them, and no crowds among the passengers: each fails its own item, and has the
    note. Callers that have left are counted in neither.
    """
    succeeded = failed = start = 0
    for passenger in passengers:
        part = outputs[start : start + passenger.size]
        start += passenger.size
        if passenger.place is None or passenger.future.done():
            continue
        errors = []
        if note is not None:
            part = [_own(each, note()) if isinstance(each, BaseException) else each for each in part]
            errors = [each for each in part if isinstance(each, BaseException)]
        failed += len(errors)
        succeeded += len(part) - len(errors)
        if isinstance(passenger, Crowd):
            passenger.answer(part)
        else:
            _settle(passenger, part, errors)
    return succeeded, failed


def let_go(error: BaseException) -> None:
    """Take our own frames off the traceback of `error`: whoever keeps it would keep the batch with them."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(_OURS):
        trace = trace.tb_next
    with contextlib.suppress(Exception):  # the user's class may be frozen
        error.__traceback__ = trace


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
        future = passenger.future
        passenger.let_go()
        (future.set_exception if errors else future.set_result)(part[0])
    elif errors and not passenger.bulk.return_exceptions:
        passenger.place = None  # this part has its outcome; leaving is for the others
        passenger.bulk.fail(errors[0], "cancelled")
    else:
        passenger.bulk.deliver(passenger, part)


def _own(error: BaseException, note: str) -> BaseException:
    """Return what one caller gets for `error`. Whatever the user's class does, that is an exception it can catch."""
    try:
        if isinstance(error, Exception) and not isinstance(error, StopIteration):
            own = own_copy(error, {})
        else:  # taken for the caller's own cancellation, or the end of a generator
            own = RuntimeError(f"the batch function raised {_kind(error)}")
            own.__cause__ = own_copy(error, {})
        own.add_note(note)
    except Exception:  # noqa: BLE001  # it cannot be copied, or not be written to
        own = FunctionFailed(f"the batch function raised {_kind(error)}, which cannot be copied for each caller")
        own.__cause__ = error
        own.add_note(note)
    return own


def own_copy(error: BaseException, known: dict[int, BaseException]) -> BaseException:
    """Return an exception that equals `error`, with its traceback, notes and copies of what it was raised from.

    `known` holds the copies made so far, by the identity of their originals. Raises `TypeError` for what cannot be copied.
    """
    if id(error) in known:
        return known[id(error)]
    if len(known) >= _CHAIN:
        return error
    twin = known[id(error)] = _twin(error, known)
    if (notes := getattr(error, "__notes__", None)) is not None:
        twin.__notes__ = list(notes)
    twin.__cause__ = own_copy(error.__cause__, known) if error.__cause__ is not None else None
    twin.__context__ = own_copy(error.__context__, known) if error.__context__ is not None else None
    twin.__suppress_context__ = error.__suppress_context__
    return twin.with_traceback(error.__traceback__)


def _twin(error: BaseException, known: dict[int, BaseException]) -> BaseException:
    """Copy the object itself: as pickle would, else without its `__init__`, which may want other arguments."""
    if isinstance(error, BaseExceptionGroup):
        return error.derive([own_copy(each, known) for each in error.exceptions])
    for make in (copy.copy, _rebuilt, _bare):
        try:
            twin = make(error)
            _copy_slots(error, twin)
            if type(twin) is type(error) and twin is not error and _same(twin, error):
                return twin
        except Exception:  # noqa: BLE001, S112  # the user's class: whatever it does, the caller gets an answer
            continue
    raise TypeError("cannot be copied")


def _copy_slots(error: BaseException, twin: BaseException) -> None:
    for kind in type(error).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(error, name):
                setattr(twin, name, getattr(error, name))


def _rebuilt(error: BaseException) -> BaseException:
    """Do as `copy` does, but for what others registered: what tblib did for all exceptions shares their attributes."""
    reduced: Any = error.__reduce_ex__(4)
    make, args, *state = reduced
    twin: BaseException = make(*args)
    if state and state[0] is not None:
        twin.__setstate__(state[0])
    return twin


def _bare(error: BaseException) -> BaseException:
    twin = type(error).__new__(type(error), *error.args)
    twin.__dict__.update(error.__dict__)
    return twin


def _same(twin: BaseException, error: BaseException) -> bool:
    # By identity: the arguments are the user's, and comparing arrays is no yes or no.
    return (
        len(twin.args) == len(error.args)
        and all(ours is theirs for ours, theirs in zip(twin.args, error.args, strict=True))
        and vars(twin) is not vars(error)
        and vars(twin).keys() == vars(error).keys()
        and str(twin) == str(error)
    )


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
