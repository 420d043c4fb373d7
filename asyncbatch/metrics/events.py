"""Events: what observers are told. An observer is any callable that takes one of these; it gets no item and no result.

Observers run on the event loop, in the batcher's own steps, so they must be quick. One that raises is logged and goes on
being called; it never harms a request. More kinds of events may come: pass over those you do not know.

`BatchStarted` and `BatchEnded` are told in the context of their batch. What an observer sets in a context variable at the
start, the function finds there if it runs in this process, and so does the observer at the end.

An observer may have more than being called:
- `opened(name, statistics)` is called when a batcher is entered; `statistics()` returns its `Statistics`, in any thread. It
  is a method that keeps alive what it speaks of, so hold it in a `weakref.WeakMethod`.
- With `wants_requests = True` it hears of each request as well, and every request takes the longer way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import Context
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = (
    "BatchEnded",
    "BatchStarted",
    "Event",
    "Observer",
    "RequestDropped",
    "RequestQueued",
    "WorkerDied",
    "WorkerReady",
    "curious",
)


@dataclass(frozen=True, slots=True)
class RequestQueued:
    """A request of `size` items came in, to the queue or to those who wait for room there. Told in its caller's context."""

    batcher: str
    size: int


@dataclass(frozen=True, slots=True)
class BatchStarted:
    """A batch left the queue for the executor; `reason` says why then, `waited` how long its oldest request had waited.

    `waits` is how long each request had, and `callers` the contexts that they came from, for observers that want requests;
    the items of one `map` are one request here.
    """

    batcher: str
    reason: str
    size: int
    waited: float
    waits: tuple[float, ...] = field(repr=False)
    callers: tuple[Context, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class BatchEnded:
    """A batch came back after `seconds`: so many items `succeeded` or `failed`, the callers of the others had left.

    `error` is the name of what the whole batch failed with, or None. `elements` and `padding` are as in `Statistics`.
    """

    batcher: str
    size: int
    seconds: float
    error: str | None
    succeeded: int
    failed: int
    elements: int = 0
    padding: int = 0


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


Event: TypeAlias = RequestQueued | BatchStarted | BatchEnded | RequestDropped | WorkerReady | WorkerDied
Observer: TypeAlias = Callable[[Event], object]


def curious(observers: Iterable[Observer]) -> bool:
    """Whether any of `observers` is to hear of each request."""
    return any(getattr(observer, "wants_requests", False) for observer in observers)
