"""Integrate: the settings as code to copy."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from asyncbatch.function import is_async

from .plan import Settings

__all__ = ("as_code", "where")

_EXECUTORS = {"inline": "InlineExecutor(concurrency={})", "thread": "ThreadExecutor(workers={})"}


def where(function: Callable[..., Any], executor: str | None) -> str:
    """Return the name of the executor that runs `function`."""
    return executor or ("inline" if is_async(function) else "thread")


def as_code(
    named: str, function: Callable[..., Any], settings: Settings, *, executor: str | None = None, slots: int = 1
) -> str:
    """Return Python that gives `function`, which is `named` module:name, these settings in so many `slots`."""
    keywords = {name: repr(value) for name, value in settings.keywords.items()}
    imports = {"batched"}
    if settings.policy is not None:
        kind = type(settings.policy).__name__
        imports.add(kind)
        keywords["policy"] = f"{kind}({settings.policy.seconds:g})"
    if slots > 1:
        call = _EXECUTORS.get(where(function, executor), "ProcessExecutor(workers={})").format(slots)
        imports.add(call.partition("(")[0])
        keywords["executor"] = call
    elif executor is not None:
        keywords["executor"] = f'"{executor}"'
    decorator = f"batched({', '.join(f'{name}={value}' for name, value in keywords.items())})"
    head = f"from asyncbatch import {', '.join(sorted(imports))}"
    module, _, name = named.partition(":")
    begin = _begin(name, function)
    if begin is None:
        top = name.partition(".")[0]
        return f"{head}\nfrom {module} import {top}\n\n{name.rpartition('.')[2]} = {decorator}({name})"
    return f"{head}\n\n@{decorator}\n{begin}  # yours, as it is\n    ..."


def _begin(name: str, function: Callable[..., Any]) -> str | None:
    """Return how the definition of `function` begins; None if it has none that could be decorated."""
    if "." in name or name != getattr(function, "__name__", None):
        return None
    if inspect.isclass(function):
        return f"class {name}:"
    return f"{'async ' * inspect.iscoroutinefunction(function)}def {name}(items):"
