"""The keywords of the public calls, as types for those that pass them on: a misspelt one is found before anything runs."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

from . import parameters

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Hashable, Iterable

    from .checkpoint import Checkpoint
    from .discipline import Discipline
    from .executors import Executor
    from .imap import OnProgress
    from .metrics.events import Observer
    from .objectives import LatencyObjective
    from .policies import Policy

__all__ = ("Details", "Options", "Reading", "spelt_out")

CallT = TypeVar("CallT", bound="Callable[..., Any]")


class Details(TypedDict, total=False):
    """Those of every call; see `Batcher.__call__`."""

    timeout: float
    priority: float
    key: Hashable


def spelt_out(call: CallT) -> CallT:
    """Show the details in the signature of a `call` that takes `**details`, as that costs least where there are none."""
    signature = inspect.signature(call)
    kept = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    details = inspect.signature(parameters.call).parameters.values()
    vars(call)["__signature__"] = signature.replace(parameters=[*kept, *details])
    return call


class Reading(Details, total=False):
    """Those of `Batcher.imap`, but for `return_exceptions`."""

    ordered: bool
    read_ahead: int | None
    on_progress: OnProgress | None
    checkpoint: Checkpoint | None


class Options(TypedDict, total=False):
    """Those of `Batcher` itself."""

    max_batch_size: int
    max_wait: float
    max_batch_cost: float
    cost: Callable[[Any], float] | None
    oversized: Literal["alone", "reject"]
    policy: Policy | LatencyObjective | None
    queue: Discipline | None
    executor: str | Executor | concurrent.futures.Executor | None
    name: str | None
    observers: Iterable[Observer]
