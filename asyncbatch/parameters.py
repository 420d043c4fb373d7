"""What a parameter may be. Each check returns the value, or raises an error that says what to write instead."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from numbers import Integral, Real
from typing import TypeVar

__all__ = (
    "amount",
    "call",
    "callables",
    "choice",
    "cost",
    "count",
    "fraction",
    "instance",
    "number",
    "observers",
    "seconds",
    "whole",
)

T = TypeVar("T")


def call(*, timeout: float = math.inf, priority: float = 0, key: Hashable = None) -> tuple[float, float, Hashable]:
    """Return the details of one call. Raises `TypeError` for others, and for a `key` that cannot be one."""
    # What is usual is seen here, as each request with details comes by.
    if type(timeout) is not float or not timeout >= 0:
        timeout = seconds("timeout", timeout)
    if type(priority) is not int:
        priority = number("priority", priority)
    hash(key)
    return timeout, priority, key


def count(name: str, value: object) -> int:
    """Return `value` as an int of at least 1."""
    return whole(name, value, least=1, example=32)


def whole(name: str, value: object, *, least: int = 0, example: int = 3) -> int:
    """Return `value` as an int of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, not {_seen(value)}; write for example {name}={example}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}; write for example {name}={example}")
    return int(value)


def seconds(name: str, value: object) -> float:
    """Return `value` as a float of at least 0; `math.inf` is allowed and means never."""
    return _real(name, value, "seconds, at least 0 (math.inf: never)", f"{name}=0.002")


def amount(name: str, value: object) -> float:
    """Return `value` as a float above 0; `math.inf` is allowed and means no limit."""
    number = _real(name, value, "a number above 0 (math.inf: no limit)", f"{name}=4096")
    if number == 0:
        raise ValueError(f"{name} must be a number above 0 (math.inf: no limit), not 0; write for example {name}=4096")
    return number


def fraction(name: str, value: object) -> float:
    """Return `value` as a float between 0 and 1, both excluded."""
    number = _real(name, value, "a number between 0 and 1", f"{name}=0.9")
    if not 0 < number < 1:
        raise ValueError(f"{name} must be a number between 0 and 1, not {number}; write for example {name}=0.9")
    return number


def cost(name: str, value: object) -> float:
    """Return what a `cost` function said of one item, as a finite float of at least 0."""
    number = _real(f"the cost that batcher {name!r} was told", value, "a finite number, at least 0", "cost=len")
    if number == math.inf:
        raise ValueError(f"the cost that batcher {name!r} was told of an item must be finite, not inf")
    return number


def number(name: str, value: object) -> float:
    """Return `value` if it is a number that can be ordered."""
    if not isinstance(value, float | int | Real) or math.isnan(value):
        raise TypeError(f"{name} must be a number, not {_seen(value)}; write for example {name}=1")
    return value  # type: ignore[return-value]


def callables(**named: object) -> None:
    """Check that each is callable; None is for those that may be left out."""
    for name, value in named.items():
        if not callable(value) and (value is not None or name == "function"):
            raise TypeError(f"{name} must be callable, not {_seen(value)}")


def choice(name: str, value: T, *choices: T) -> T:
    """Return `value` if it is one of `choices`."""
    if value not in choices:
        *others, last = map(repr, choices)
        raise ValueError(f"{name} must be {', '.join(others)} or {last}, not {_seen(value)}")
    return value


def observers(value: Iterable[T]) -> tuple[T, ...]:
    """Return `value` as a tuple of callables."""
    if not isinstance(value, Iterable) or not all(map(callable, each := tuple(value))):
        raise TypeError(f"observers must be a list of callables, not {_seen(value)}; write for example observers=[print]")
    return each


def instance(name: str, value: T, kind: type, example: str) -> T:
    """Return `value` if it is an instance of `kind`."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, not {_seen(value)}; write for example {name}={example}")
    return value


def _real(name: str, value: object, meaning: str, example: str) -> float:
    if isinstance(value, bool) or not isinstance(value, float | int | Real):
        raise TypeError(f"{name} must be {meaning}, not {_seen(value)}; write for example {example}")
    number = float(value)
    if math.isnan(number) or number < 0:
        raise ValueError(f"{name} must be {meaning}, not {number}; write for example {example}")
    return number


def _seen(value: object) -> str:
    # Only plain settings are quoted: anything else may be an item that strayed into a setting, and is not for logs.
    return f"{value!r}" if value is None or isinstance(value, bool | float) else f"a {type(value).__name__}"
