"""Executors: where the function runs. A slot runs one batch at a time; an executor's slots are its capacity.

An executor is a frozen configuration whose `open` makes the slots for one batcher. A slot takes items and gives outputs:
it knows no caller, no queue and no policy. To add one, write one file with a class that has `open`.
"""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any

from asyncbatch.function import is_async

from .futures import FuturesExecutor
from .inline import InlineExecutor
from .process import ProcessExecutor
from .slot import Executor, Slot
from .thread import ThreadExecutor

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Executor", "FuturesExecutor", "InlineExecutor", "ProcessExecutor", "Slot", "ThreadExecutor", "resolve")

_NAMED: dict[str, Callable[[], Executor]] = {"inline": InlineExecutor, "process": ProcessExecutor, "thread": ThreadExecutor}


def resolve(executor: Any, function: Callable[..., Any]) -> Executor:
    """Return the executor that `executor` names or is; the default is inline for what is async, else a thread.

    Raises `TypeError` if it cannot run `function`.
    """
    resolved = _resolved(executor, function)
    accept = getattr(resolved, "accept", None)
    if accept is not None:
        accept(function)
    return resolved


def _resolved(executor: Any, function: Callable[..., Any]) -> Executor:
    if executor is None:
        executor = "inline" if is_async(function) else "thread"
    if isinstance(executor, str):
        if executor not in _NAMED:
            raise ValueError(f"executor must be one of {sorted(_NAMED)}, or an executor object, not {executor!r}")
        return _NAMED[executor]()
    if isinstance(executor, concurrent.futures.Executor):
        return FuturesExecutor(executor)
    if isinstance(executor, type) or not callable(getattr(executor, "open", None)):
        raise TypeError(
            f"executor must be a name, a concurrent.futures.Executor or one of asyncbatch's executors, not {executor!r}; "
            "write for example executor=ThreadExecutor(workers=2)"
        )
    resolved: Executor = executor
    return resolved
