"""The functions that are carried: of a list of items, or of what is stacked of it already."""

from __future__ import annotations

from typing import Any

import numpy as np


def same(items: list[Any]) -> list[Any]:
    return items


def double(items: Any) -> Any:
    array = np.asarray(items)
    array *= 2
    return array


def compute(items: list[int]) -> list[int]:
    """Keep a core busy with nothing but Python."""
    return [sum(number * number % 7 for number in range(item)) for item in items]


def stacked(function: str, items: list[Any]) -> Any:
    """Return the items as whoever pickles them had best hand them over."""
    return np.stack(items) if function == "double" else items
