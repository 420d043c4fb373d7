"""The user's function: what it may be, and what can be told of it without calling it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol, TypeAlias, TypeVar

__all__ = ("Adapter", "BatchClass", "BatchFunction", "Outputs", "behind_partials", "is_async", "is_class", "name_of")

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
ResultT_co = TypeVar("ResultT_co", covariant=True)


class Outputs(Protocol[ResultT_co]):
    """What a batch function returns: as many results as it was given items, in a list, a tuple, an array, ...

    An `Exception` may stand for a result; its caller gets it raised, so that it is no part of the result type.
    """

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[ResultT_co]: ...


BatchFunction: TypeAlias = Callable[[list[ItemT]], Outputs[ResultT | Exception] | Awaitable[Outputs[ResultT | Exception]]]
"""A function of a list of items."""

BatchClass: TypeAlias = Callable[[], BatchFunction[ItemT, ResultT]]
"""A class whose instances are such functions."""


class Adapter:
    """What wraps a batch function and is called in its place: what can be told of it is told of what it wraps.

    Around a class it is taken for that class: calling it without arguments makes one around an instance.
    """

    func: Callable[..., Any]  # named as that of a partial, and looked through as one


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling `function`, or for a class its instances, gives an awaitable."""
    function = behind_partials(function)
    if inspect.iscoroutinefunction(function):
        return True
    kind = function if inspect.isclass(function) else type(function)
    return inspect.iscoroutinefunction(getattr(kind, "__call__", None))  # noqa: B004  # its definition is the question


def behind_partials(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what is called in the end when `function` is a partial or an adapter, or one of one.

    What is told of functions here looks through these.
    """
    while isinstance(function, functools.partial | Adapter):
        function = function.func
    return function


def is_class(function: Callable[..., Any]) -> bool:
    """Whether `function` is a class, to be built once in each worker; a partial gives it its arguments."""
    return inspect.isclass(behind_partials(function))


def name_of(function: Callable[..., Any]) -> str:
    """Return the name under which `function` is known; for an instance, that of its class."""
    function = behind_partials(function)
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) else type(function).__name__
