"""Events: what observers are told. An observer is any callable that takes one of these; it gets no item and no result.

Observers run on the event loop, in the batcher's own steps, so they must be quick. One that raises is logged and goes on
being called; it never harms a request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ("BatchEnded", "BatchStarted", "Event", "Observer", "RequestDropped", "WorkerDied", "WorkerReady")


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
    """A worker has built its class, in `seconds`; `ready` have, of `workers`. Those that replace lost ones are not told."""

    batcher: str
    ready: int
    workers: int
    seconds: float


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """A worker was lost, with a batch or without: `reason` says whether it ended by itself ("exit"), was killed ("signal"),
    took longer than its `timeout` ("timeout") or is gone from a cluster ("lost").

    `exit_code` is that of the process, a signal's number below zero, as in `subprocess`; None on a cluster.
    """

    batcher: str
    reason: str
    exit_code: int | None


Event: TypeAlias = BatchStarted | BatchEnded | RequestDropped | WorkerReady | WorkerDied
Observer: TypeAlias = Callable[[Event], object]
