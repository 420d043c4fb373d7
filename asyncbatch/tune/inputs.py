"""What the command line names: the function, its items, and the times at which callers came."""

from __future__ import annotations

import difflib
import functools
import importlib
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from asyncbatch.decorator import Batched

__all__ = ("BadInput", "arrivals", "function", "items")


class BadInput(Exception):
    """What was named cannot be used; the message says why, and what to write instead."""


def function(named: str) -> Callable[..., Any]:
    """Return the function or class that `module:function` names; of one that `@batched` decorates, what is inside.

    Modules in the current directory can be imported. Raises `BadInput` if there is none.
    """
    module_name, colon, path = named.partition(":")
    if not (module_name and colon and path):
        raise BadInput(f"{named!r} names no function; write module:function, for example my_model:embed")
    if os.getcwd() not in sys.path:  # noqa: PTH109  # as a string
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # a fault of the module itself, with its traceback
        raise BadInput(f"there is no module {error.name!r} in {os.getcwd()}, nor installed") from None  # noqa: PTH109
    try:
        found: Any = functools.reduce(getattr, path.split("."), module)
    except AttributeError:
        raise BadInput(f"module {module_name!r} has no {path!r}{_perhaps(path, vars(module))}") from None
    found = found.__wrapped__ if isinstance(found, Batched) else found
    if not callable(found):
        raise BadInput(f"{named} is a {type(found).__name__}; tune takes a function of a list of items, or a class of such")
    return cast("Callable[..., Any]", found)


def _perhaps(name: str, names: dict[str, Any]) -> str:
    near = difflib.get_close_matches(name, [each for each in names if not each.startswith("_")], 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def items(file: Path) -> list[Any]:
    """Return the items in `file`: the list of a .json, the lines of a .jsonl, the rows of a .npy, else the lines of a text.

    Blank lines are none. Raises `BadInput` for a file that is not what its name says, or that holds nothing.
    """
    readers = {".json": _json, ".jsonl": _json_lines, ".ndjson": _json_lines, ".npy": _rows}
    found = _read(file, readers.get(file.suffix.lower(), _lines))
    if not found:
        raise BadInput(f"{file} holds no items; a few dozen that are like the real ones are enough")
    return found


def arrivals(file: Path) -> list[float]:
    """Return the times in `file`, sorted, in seconds after the first: at least 2, in any of the forms that items have."""
    found = items(file)
    try:
        times = sorted(float(each) for each in found)
    except (TypeError, ValueError):
        times = [math.nan]
    if not all(map(math.isfinite, times)):
        raise BadInput(f"{file} holds no times; write the second at which each request came, one to a line, as 0.125")
    if times[0] == times[-1]:
        raise BadInput(f"{file} holds one moment only; a trace takes at least a few dozen requests, better thousands")
    return [each - times[0] for each in times]


def _read(file: Path, reader: Callable[[Path], list[Any]]) -> list[Any]:
    try:
        return reader(file)
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{file} is not UTF-8 text; arrays are read from .npy") from None


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def _json(file: Path) -> list[Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise BadInput(f"{file} is not JSON: {error}; one value to a line is called .jsonl") from None
    if not isinstance(found, list):
        raise BadInput(f"{file} holds one {type(found).__name__}; it must be a list of items: [item, item, ...]")
    return found


def _json_lines(file: Path) -> list[Any]:
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
        if line.strip():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise BadInput(f"line {number} of {file} is not JSON: {error.msg}; plain text is called .txt") from None
    return found


def _rows(file: Path) -> list[Any]:
    try:
        array = np.load(file, allow_pickle=False)
    except ValueError as error:
        raise BadInput(f"{file} is not an array that np.save wrote: {error}") from None
    if not isinstance(array, np.ndarray) or not array.ndim:
        raise BadInput(f"{file} has no rows; each item is one: np.save(file, np.stack(items))")
    return list(array)
