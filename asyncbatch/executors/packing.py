"""Packing: values on their way to another process and back, as a plain description and the bytes that it describes.

The bytes are written once, straight to where the other side reads them. There are three ways:

- equal numpy arrays are stacked; what comes out are the rows of one array;
- all else is pickled as a whole, arrays and other buffers beside the pickle;
- if that fails, on either side, it is done one by one, and what fails then spares its neighbours.
"""

from __future__ import annotations

import math
import operator
import pickle
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

__all__ = (
    "Description",
    "Garbled",
    "Packed",
    "Rows",
    "Unpacked",
    "aligned",
    "numpy",
    "pack",
    "pack_each",
    "unpack",
)

Description: TypeAlias = tuple[Any, ...]
"""What `unpack` must be told, made of plain values."""

_Places: TypeAlias = Sequence[Sequence[tuple[int, int]]]  # of each value, of each of its parts: from where to where

_ALIGNMENT = 64
_LONG = 1 << 14  # bytes
_PLAIN_KINDS = "biufcmMSU"  # of dtypes whose `str` says all of them


class Packed(NamedTuple):
    """Values that are ready to be written: `write` fills the first `size` bytes of what it is given."""

    description: Description
    size: int
    write: Callable[[Any], None]
    array: Any = None  #: where they are one contiguous array already


class Unpacked(NamedTuple):
    """Values that were read, as `Rows` if that is what they are.

    `anchor` lives for as long as any of them that lies in the memory that they were read from.
    """

    values: list[Any]
    errors: dict[int, Exception]  #: those that could not be had; they stand among the values too
    anchor: Any


class Rows(list[Any]):
    """A list of arrays that are the rows of one: `np.asarray(rows)` is that one, and copies nothing."""

    def __init__(self, array: Any) -> None:
        super().__init__(array)
        self._array = array
        self._rows = tuple(self)

    @property
    def array(self) -> Any:
        """The one array; None once the list was changed."""
        same = len(self) == len(self._rows) and all(map(operator.is_, self, self._rows))
        return self._array if same else None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:  # numpy's protocol
        array = self.array
        if array is None:
            return numpy().stack([numpy().asarray(row, dtype) for row in self])
        return array.astype(dtype or array.dtype, copy=bool(copy))


class Garbled(Exception):
    """Raised when values do not unpickle as a whole; one by one, most of them may."""


def pack(values: Any) -> Packed:
    """Describe `values`, a list or an array."""
    return _pack_rows(values) or _pack_whole(values) or pack_each(values)


def unpack(description: Description, memory: Any, *, copy: bool = False) -> Unpacked:
    """Put values together again. Unless told to `copy`, arrays among them lie in `memory`, which must be writable.

    Raises `Garbled` if that fails; then the other side is to `pack_each`.
    """
    way, *details = description
    return _WAYS[way](memory, copy, *details)


def aligned(offset: int) -> int:
    """Return the next offset at which an array of any type may lie."""
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


# Equal arrays.


def _pack_rows(values: Any) -> Packed | None:
    np = sys.modules.get("numpy")
    if np is None:
        return None
    array = values.array if type(values) is Rows else values if type(values) is np.ndarray else None
    if array is not None:
        return _pack_array(array, array.shape, np.copyto) if array.ndim and array.dtype.kind in _PLAIN_KINDS else None
    first = values[0]
    if type(first) is not np.ndarray or not first.ndim or first.dtype.kind not in _PLAIN_KINDS:
        return None
    size = len(values)
    if len(set(map(type, values))) > 1 or [each.dtype for each in values].count(first.dtype) < size:
        return None
    if [each.shape for each in values].count(first.shape) < size:
        return None
    return _pack_array(values, (size, *first.shape), _stack, first.dtype)


def _stack(out: Any, rows: Any) -> None:
    # What `np.stack` does, at half of its cost for small rows.
    numpy().concatenate(rows, out=out.reshape(-1, *out.shape[2:]))


def _pack_array(source: Any, shape: tuple[int, ...], copy: Callable[[Any, Any], None], dtype: Any = None) -> Packed:
    np = numpy()
    whole = dtype is None and source.flags.c_contiguous
    dtype = source.dtype if dtype is None else dtype
    return Packed(
        ("rows", dtype.str, shape),
        math.prod(shape) * dtype.itemsize,
        lambda memory: copy(np.ndarray(shape, dtype, memory), source),
        source if whole else None,
    )


def _unpack_rows(memory: Any, copy: bool, dtype: str, shape: tuple[int, ...]) -> Unpacked:
    array = numpy().ndarray(shape, dtype, memory)
    if copy:
        array = array.copy()
    return Unpacked(Rows(array) if len(shape) > 1 else list(array), {}, array)


# All else.


def _pack_whole(values: Any) -> Packed | None:
    buffers: list[memoryview] = []

    def beside(buffer: pickle.PickleBuffer) -> bool:
        part = buffer.raw()
        if short := len(part) < _LONG:  # it is cheaper in the pickle
            return short
        buffers.append(part)
        return False

    try:
        return _pack_parts("whole", [[pickle.dumps(values, 5, buffer_callback=beside), *buffers]])
    except Exception:  # noqa: BLE001  # the user's own ways of pickling may raise anything
        return None


def _unpack_whole(memory: Any, copy: bool, places: _Places) -> Unpacked:
    (data, *buffers), anchor = _parts(memory, copy, places[0])
    try:
        return Unpacked(pickle.loads(data, buffers=buffers), {}, anchor)  # noqa: S301  # from our own other half
    except Exception as error:  # as above
        raise Garbled from error


def pack_each(values: Sequence[Any]) -> Packed:
    """Describe `values` one by one. What does not pickle travels as the `TypeError` that says so."""
    pickles, failed = [], []
    for number, value in enumerate(values):
        try:
            pickles.append([pickle.dumps(value, 5)])
        except Exception as error:  # noqa: BLE001  # as above
            pickles.append([pickle.dumps(_hopeless(f"{_kind(value)} could not be pickled", error))])
            failed.append(number)
    return _pack_parts("each", pickles, failed)


def _unpack_each(memory: Any, copy: bool, places: _Places, failed: Sequence[int]) -> Unpacked:  # noqa: ARG001  # pickle does
    values: list[Any] = []
    errors: dict[int, Exception] = {}
    for number, ((start, end),) in enumerate(places):
        try:
            values.append(pickle.loads(memory[start:end]))  # noqa: S301  # as above
        except Exception as error:  # noqa: BLE001  # as above
            errors[number] = _hopeless("value could not be unpickled on the other side", error)
            values.append(errors[number])
    errors.update((number, values[number]) for number in failed)
    return Unpacked(values, errors, None)


def _hopeless(what: str, error: Exception) -> TypeError:
    # Neither value nor error is quoted: what a class says when it does not pickle may tell what is in it.
    return TypeError(
        f"a {what} ({type(error).__name__}); what travels to a worker process and back must be made of plain data, arrays, "
        "and classes that are defined at the top level of a module that both can import"
    )


def _kind(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _pack_parts(way: str, values: Sequence[Sequence[Any]], *details: Any) -> Packed:
    """Lay out one part after the other, of one value after the other."""
    end = 0
    places: list[list[tuple[int, int]]] = []
    pieces: list[tuple[int, Any]] = []
    for parts in values:
        places.append([])
        for part in parts:
            start = aligned(end)
            end = start + len(part)
            places[-1].append((start, end))
            pieces.append((start, part))
    return Packed((way, places, *details), end, lambda memory: _write(memory, pieces))


def _write(memory: Any, pieces: Iterable[tuple[int, Any]]) -> None:
    np = sys.modules.get("numpy")
    for start, piece in pieces:
        if np is not None and len(piece) > _LONG:  # numpy lets the event loop run while it copies
            np.frombuffer(memory, "u1")[start : start + len(piece)] = np.frombuffer(piece, "u1")
        else:
            memory[start : start + len(piece)] = piece


def _parts(memory: Any, copy: bool, places: Sequence[tuple[int, int]]) -> tuple[list[Any], Any]:
    """Return the parts of one value, and what lives as long as any of them that lies in `memory`."""
    first, *others = [memory[start:end] for start, end in places]
    if copy or not others:
        return [first, *map(bytearray, others)], None
    anchor = numpy().frombuffer(memory, "u1")  # what is made of a part of it keeps all of it alive, and it can be watched
    return [first, *[anchor[start:end] for start, end in places[1:]]], anchor


def numpy() -> Any:
    """Return the module, which only those pay for who have arrays."""
    import numpy as np  # noqa: PLC0415  # as it says

    return np


_WAYS: dict[str, Callable[..., Unpacked]] = {"rows": _unpack_rows, "whole": _unpack_whole, "each": _unpack_each}
