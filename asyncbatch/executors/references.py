"""References: how a worker process is told of the user's function: by name, as pickle does, and where names come from."""

from __future__ import annotations

import functools
import io
import os
import pickle
import sys
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

from asyncbatch.function import Adapter, behind_partials, name_of

__all__ = ("main_module", "refer", "refuse_nameless")

_DEEPEST = 100  # decorators around one function; what makes attributes up has no end of them


def refer(function: Callable[..., Any]) -> bytes:
    """Return what a worker makes `function` of. Raises `TypeError`, with what to write instead, if none can."""
    file = io.BytesIO()
    try:
        _Pickler(file, 5).dump(function)
    except _Nameless as error:
        raise TypeError(*error.args) from None
    except Exception as error:
        raise TypeError(
            f"{name_of(function)} cannot be told to a worker process ({type(error).__name__}: {error}); pass a function or "
            "a class that is defined at the top level of a module, or a partial of one, with arguments that pickle"
        ) from error
    return file.getvalue()


def refuse_nameless(function: Callable[..., Any]) -> None:
    """Raise `TypeError` for a function or class that plainly has no name by which a worker could import it."""
    function = behind_partials(function)
    name = getattr(function, "__qualname__", "")
    if "<" in name:  # <lambda>, or in the <locals> of another function
        raise _Nameless(
            f"{name} cannot be told to a worker process, which imports it by name; "
            "define it with `def` or `class` at the top level of a module"
        )
    if getattr(function, "__module__", "") == "__main__" and not _main_can_be_imported():
        raise _Nameless(
            f"{name or name_of(function)} is defined in a notebook, an interactive session or a package's __main__, which "
            "a worker process cannot import; put it into a file, say my_model.py, and write `from my_model import ...`"
        )


def _main_can_be_imported() -> bool:
    main = sys.modules["__main__"]
    if main.__spec__ is not None:  # `python -m`; importing a package's __main__ would run it
        return not main.__spec__.name.endswith("__main__")
    return os.path.isfile(getattr(main, "__file__", None) or "")  # noqa: PTH113  # "<stdin>" for one


def main_module() -> dict[str, Any]:
    """Return what a worker needs to know to import the main module, in the words of `multiprocessing.spawn`."""
    main = sys.modules["__main__"]
    sys.modules.setdefault("__mp_main__", main)  # what a worker calls it
    setup: dict[str, Any] = {"sys_argv": sys.argv}
    if main.__spec__ is not None:
        setup["init_main_from_name"] = main.__spec__.name
    elif _main_can_be_imported():
        setup["init_main_from_path"] = main.__file__
    return setup


class _Nameless(TypeError):
    pass


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, (FunctionType, type)):
            return NotImplemented
        refuse_nameless(obj)
        module, name = obj.__module__, obj.__qualname__
        way = _way(_found(module, name), obj)
        return (_unwrapped, (module, name, way)) if way else NotImplemented


def _way(named: Any, function: Any) -> list[str]:
    """Return by which attributes `function` is had from what stands under its name, which decorators made of it."""
    way: list[str] = []
    while named is not function:
        way.append("func" if isinstance(named, partial | Adapter) else "__wrapped__")
        named = getattr(named, way[-1], None)
        if named is None or len(way) > _DEEPEST:
            return []  # as pickle will say
    return way


def _unwrapped(module: str, name: str, way: list[str]) -> Any:
    __import__(module)
    return functools.reduce(getattr, way, _found(module, name))


def _found(module: str, name: str) -> Any:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
