"""Stacked and Padded: items that are arrays, or dicts or tuples of arrays, become one array each for the function.

The only adapters that need numpy. An item of another kind, shape or dtype than the rest is no reason for the rest to fail,
nor may what it gets depend on its company: items that are alike share a call, the others have calls of their own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from asyncbatch import padding, parameters
from asyncbatch.function import name_of
from asyncbatch.scatter import checked

from .stepwise import Steps, Stepwise, gathered, kept

__all__ = ("Padded", "Stacked")

_Array: TypeAlias = np.ndarray[Any, Any]
_Kind: TypeAlias = "tuple[type, tuple[Any, ...], tuple[_Kind, ...]] | None"
"""How an item is made of arrays: a dict or a tuple, its keys, the kinds of its values; None for an array itself."""


class Stacked(Stepwise[Any, Any]):
    """Calls the function with one array that holds all items, stacked along a new first axis, and splits what it returns.

    Items are arrays, or whatever `numpy.asarray` makes numbers of; or dicts or tuples of them, nested if need be, of which
    the function is given one, with the stacked arrays in it. Items that differ in kind, shape or dtype are not mixed: those
    that are alike share a call, and a call that fails does so for its own items. An item that is no array fails alone, with
    a `TypeError`.

    The function returns an array with one row for each item, or a dict or tuple of such arrays, of which each caller gets
    one with its rows in it; or else a list of results. Rows are copies, so that no caller keeps the whole batch alive or
    sees another's writes; with `copy=False` they are views.
    """

    def __init__(self, function: Callable[..., Any], *, copy: bool = True) -> None:
        super().__init__(function)
        self._copy = copy

    def _steps(self, items: list[Any]) -> Steps:
        results: list[Any] = [None] * len(items)
        callers = len(items) - padding.fillers()
        groups: defaultdict[tuple[Any, ...], list[tuple[int, list[_Array]]]] = defaultdict(list)
        for place, item in enumerate(items):
            leaves: list[_Array] = []
            try:
                kind = _flatten(item, leaves)
            except TypeError as error:
                results[place] = kept(error)
            else:
                groups[kind, *map(self._likeness, leaves)].append((place, leaves))
        calls = []
        for (kind, *_), group in groups.items():
            places, rows = zip(*group, strict=True)
            calls.append((places, self._call(kind, rows, bisect_left(places, callers))))
        return gathered(results, calls)

    def _likeness(self, leaf: _Array) -> Hashable:
        """Return what two arrays must have in common to share a call."""
        return leaf.shape, leaf.dtype

    def _call(self, kind: _Kind, rows: Sequence[list[_Array]], callers: int) -> Steps:  # noqa: ARG002  # those pad
        outputs = yield (_unflatten(kind, iter([np.stack(column) for column in zip(*rows, strict=True)])),)
        return _split(outputs, len(rows), name_of(self.func), lambda _, row: self._own(row))

    def _own(self, row: Any) -> Any:
        return row.copy() if self._copy else row


class Padded(Stacked):
    """Stacks arrays that differ in length: along their first axis they are filled up with `value` to the longest.

    - `multiple_of` rounds the length up, for functions that are compiled for each; `side`, "right" or "left", is where an
      item is filled up.
    - The function is called with the array and a mask of bools, one for each row and position, True where the values are
      the item's own; for dicts and tuples of arrays both are one with an array each. With `mask=False` it is called
      without.
    - With `cut=True` it returns as many positions as it was given, and each caller gets those of its item: the second axis
      of each result must be as long as that of the longest array. Otherwise it returns what is no longer padded.

    Everything else is as for `Stacked`; items may differ in the length of their first axis and in nothing else.
    Arrays without dimensions are only stacked.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        value: complex = 0,
        multiple_of: int = 1,
        side: Literal["right", "left"] = "right",
        *,
        mask: bool = True,
        cut: bool = False,
        copy: bool = True,
    ) -> None:
        super().__init__(function, copy=copy)
        if side not in ("right", "left"):
            raise ValueError(f"side must be 'right' or 'left', not {side!r}")
        self._value = value
        self._multiple = parameters.count("multiple_of", multiple_of)
        self._side = side
        self._mask = mask
        self._cut = cut

    def _likeness(self, leaf: _Array) -> Hashable:
        return leaf.shape[1:], leaf.ndim, leaf.dtype

    def _call(self, kind: _Kind, rows: Sequence[list[_Array]], callers: int) -> Steps:
        columns = [self._pad(column) for column in zip(*rows, strict=True)]
        elements = sum(array.size for array, _ in columns)
        padding.count(elements, elements - sum(leaf.size for row in rows[:callers] for leaf in row))
        arrays, masks = (_unflatten(kind, iter(each)) for each in zip(*columns, strict=True))
        outputs = yield (arrays, masks) if self._mask else (arrays,)
        width = max((mask.shape[1] for _, mask in columns if mask.ndim > 1), default=0)
        places = [self._place(max(map(_length, row)), width) for row in rows]

        def own(index: int, row: Any) -> Any:
            return self._own(self._trimmed(places[index], width, row) if self._cut else row)

        return _split(outputs, len(rows), name_of(self.func), own)

    def _pad(self, column: Sequence[_Array]) -> tuple[_Array, _Array]:
        """Return the arrays in one, and the mask for it."""
        if not column[0].ndim:
            return np.stack(column), np.ones(len(column), bool)
        width = -(-max(map(len, column)) // self._multiple) * self._multiple
        padded = np.full((len(column), width, *column[0].shape[1:]), self._value, column[0].dtype)
        mask = np.zeros((len(column), width), bool)
        for leaf, row, own in zip(column, padded, mask, strict=True):
            place = self._place(len(leaf), width)
            row[place], own[place] = leaf, True
        return padded, mask

    def _place(self, length: int, width: int) -> slice:
        return slice(length) if self._side == "right" else slice(width - length, width)

    def _trimmed(self, place: slice, width: int, row: Any) -> Any:
        if row.shape[:1] != (width,):
            raise ValueError(
                f"{name_of(self.func)} was given {width} positions and returned a result of shape {row.shape}; with "
                "cut=True it must return as many positions, else leave cut=True out"
            )
        return row[place]


def _flatten(item: Any, leaves: list[_Array]) -> _Kind:
    """Add the arrays of `item` to `leaves`, and return how it is made of them."""
    if isinstance(item, Mapping) and item:
        keys = tuple(sorted(item, key=repr))  # equal dicts are alike, whatever the order they were made in
        return dict, keys, tuple(_flatten(item[key], leaves) for key in keys)
    if isinstance(item, tuple) and item:
        return type(item), (), tuple(_flatten(each, leaves) for each in item)
    leaves.append(_array(item))
    return None


def _array(item: Any) -> _Array:
    try:
        leaf = np.asarray(item)
    except Exception:  # noqa: BLE001  # whatever the item says to this, it is the item that is wrong
        leaf = None
    if leaf is None or leaf.dtype.hasobject:
        raise TypeError(
            f"an item must be an array, or a dict or tuple of arrays, not a {type(item).__name__} that is none; convert it "
            "before it is submitted, for example with numpy.array(item, dtype=float)"
        )
    return leaf


def _unflatten(kind: _Kind, arrays: Iterator[_Array]) -> Any:
    if kind is None:
        return next(arrays)
    container, keys, kinds = kind
    parts = [_unflatten(each, arrays) for each in kinds]
    return dict(zip(keys, parts, strict=True)) if container is dict else _tuple(container, parts)


def _tuple(kind: Any, parts: Iterable[Any]) -> Any:
    return getattr(kind, "_make", kind)(parts)  # a named one takes its parts one by one


def _split(outputs: Any, size: int, name: str, own: Callable[[int, Any], Any]) -> list[Any]:
    """Return the results for `size` items; `own` makes what a caller gets of its index and its row of an array."""
    if isinstance(outputs, Mapping):
        columns = [_split(each, size, name, own) for each in outputs.values()]
        rows = [dict(zip(outputs, row, strict=True)) for row in zip(*columns, strict=True)]
    elif isinstance(outputs, tuple):
        columns = [_split(each, size, name, own) for each in outputs]
        rows = [_tuple(type(outputs), row) for row in zip(*columns, strict=True)]
    else:
        each_row = enumerate(checked(outputs, size, name))
        return [own(index, row) if isinstance(row, np.ndarray | np.generic) else row for index, row in each_row]
    return list(checked(rows, size, name))  # a dict of nothing has no rows


def _length(leaf: _Array) -> int:
    return len(leaf) if leaf.ndim else 0
