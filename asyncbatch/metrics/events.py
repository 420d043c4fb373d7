"""Events: what observers are told. An observer is any callable that takes one of these; it gets no item and no result.

Observers run on the event loop, in the batcher's own steps, so they must be quick. One that raises is logged and goes on
being called; it never harms a request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ("BatchEnded", "BatchStarted", "Event", "Observer", "RequestDropped", "WorkerReady")


@dataclass(frozen=True, slots=True)
class BatchStarted:
    """A batch left the queue for the executor; `reason` says why then, `waited` how long its oldest request had waited."""

    batcher: str
    reason: str
    size: int
    waited: float


@dataclass(frozen=True, slots=True)
class BatchEnded:
    """A batch came back after `seconds`; `error` is the name of what the whole batch failed with, or None."""

    batcher: str
    size: int
    seconds: float
    error: str | None


@dataclass(frozen=True, slots=True)
class RequestDropped:
    """`size` items of a request got no result: `outcome` says whether they were cancelled, expired, rejected or closed."""

    batcher: str
    outcome: str
    size: int


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A worker has built its class in `seconds`: `ready` have by now, of `workers`."""

    batcher: str
    ready: int
    workers: int
    seconds: float


Event: TypeAlias = BatchStarted | BatchEnded | RequestDropped | WorkerReady
Observer: TypeAlias = Callable[[Event], object]
