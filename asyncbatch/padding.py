"""Padding: how much of what a function works on is there only to fill up.

Whoever fills up counts that where the function runs, and it is the batch's, in whatever thread. In another process it is
gathered beside the function and goes back with the answer, to be counted in the batch here.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from threading import Lock
from typing import TYPE_CHECKING, Any

from . import parameters
from .flight import CURRENT, Flight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextvars import Context

__all__ = ("count", "fillers", "filling", "gathering", "tell")


class _Meter:
    """What is counted where there is no flight to count it, or not at once; the last `fillers` items are not a caller's."""

    def __init__(self, fillers: int = 0) -> None:
        self.elements = self.padding = 0
        self.fillers = fillers
        self._counting = Lock()  # a function may have threads of its own

    def note_padding(self, elements: int, padding: int) -> None:
        with self._counting:
            self.elements += elements
            self.padding += padding


_METER: ContextVar[_Meter | None] = ContextVar("asyncbatch.padding", default=None)


def count(elements: int, padding: int) -> None:
    """Count `elements` that a batch function works on, of which `padding` are there only to fill up.

    `Padded` and `AllowedSizes` do it by themselves. A function that pads in another way may do it too, wherever it runs, in
    the context that it was called in; what it counts adds up to the `elements` and the `padding` of its batch. Outside of a
    batch it does nothing. Raises `TypeError` or `ValueError` for what are no such numbers.
    """
    elements, padding = parameters.whole("elements", elements), parameters.whole("padding", padding)
    if padding > elements:
        raise ValueError(f"padding is a part of elements, so it must be at most {elements}, not {padding}")
    meter = _meter()
    if meter is not None:
        meter.note_padding(elements, padding)


def fillers() -> int:
    """Return how many items at the end of those that an adapter is given were put there by another, to fill up."""
    meter = _METER.get()
    return 0 if meter is None else meter.fillers


@contextlib.contextmanager
def filling(size: int, fillers: int) -> Iterator[None]:
    """Count `size` items, the last `fillers` to fill up; unless something that sees into them is counted meanwhile."""
    outside, inside = _meter(), _Meter(fillers)
    token = _METER.set(inside)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # a coroutine that is closed ends in the context of whoever closes it
            _METER.reset(token)
        if outside is not None:
            outside.note_padding(*(inside.elements, inside.padding) if inside.elements else (size, fillers))


def gathering(call: Callable[..., tuple[Any, ...]], *args: Any, **options: Any) -> tuple[Any, ...]:
    """Return the tuple that `call` returns, with one more entry for `tell`, in another process, if anything was counted."""
    meter = _Meter()
    token = _METER.set(meter)
    try:
        answer = call(*args, **options)
    finally:
        _METER.reset(token)
    return (*answer, (meter.elements, meter.padding)) if meter.elements else answer


def tell(context: Context, gathered: Iterable[tuple[int, int]]) -> None:
    """Count what was gathered for the batch that `context` is of, which nothing runs in now."""
    for elements, padding in gathered:
        context.run(count, elements, padding)


def _meter() -> _Meter | Flight | None:
    return _METER.get() or CURRENT.get()
