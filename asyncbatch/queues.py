"""Queue disciplines: which waiting request goes next, how many may wait, and what becomes of one more.

A discipline is a frozen configuration; its running state is an `IntakeQueue` that overrides the documented hooks of
`asyncio.Queue`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from typing import Any, ClassVar, Literal

from . import parameters
from .intake import IntakeQueue

__all__ = ("EarliestDeadline", "Fifo")


class _DeadlineQueue(IntakeQueue):
    """A heap of (deadline, sequence, request): equals stay first in, first out, and requests are never compared."""

    in_order = False

    def _init(self, maxsize: float) -> None:  # noqa: ARG002
        self._queue: list[Any] = []  # type: ignore[assignment]
        self._sequence = count()
        self.put_last = self._put

    def _put(self, request: Any) -> None:
        heapq.heappush(self._queue, (request.deadline, next(self._sequence), request))

    def _get(self) -> Any:
        return heapq.heappop(self._queue)[2]

    def _take(self, limit: int) -> list[Any]:
        return [self._get() for _ in range(min(limit, len(self._queue)))]

    def _peek(self) -> Any:
        return self._queue[0][2] if self._queue else None

    def _entries(self) -> Iterable[Any]:
        return (row[2] for row in self._queue)

    def _sweep(self) -> None:
        self._queue[:] = [row for row in self._queue if row[2].place is not None]
        heapq.heapify(self._queue)

    def _victim(self) -> Any:
        live = (row for row in self._queue if row[2].place is not None)
        return max(live, key=lambda row: (row[0], -row[1]))[2]

    def oldest(self) -> float:
        return min((row[2].arrived for row in self._queue if row[2].place is not None), default=math.inf)


@dataclass(frozen=True, slots=True)
class Fifo:
    """First in, first out: the default.

    At most `maxsize` items wait in the queue (`math.inf`: no bound). `when_full` says what becomes of one more:

    - `"wait"`: `await batcher(item)` waits for room, in turn; `submit`, which cannot wait, raises `QueueFull`;
    - `"reject"`: it raises `QueueFull`;
    - `"evict"`: it comes in, and the least urgent request leaves with `QueueFull`: here the one that waited longest.

    The items of one `map` or `imap` never push each other out: once the first is in, the others come in as room frees.
    """

    maxsize: float = 1024
    when_full: Literal["wait", "reject", "evict"] = "wait"

    uses_deadlines: ClassVar[bool] = False
    queue_class: ClassVar[type[IntakeQueue]] = IntakeQueue

    def __post_init__(self) -> None:
        if self.maxsize != math.inf:
            parameters.count("maxsize", self.maxsize)
        if self.when_full not in ("wait", "reject", "evict"):
            raise ValueError(f"when_full must be 'wait', 'reject' or 'evict', not {self.when_full!r}")


@dataclass(frozen=True, slots=True)
class EarliestDeadline(Fifo):
    """The request with the earliest deadline first; those without one last; equals first in, first out.

    Deadlines are those of `timeout=` and of the nearest enclosing anyio cancel scope, whichever is earlier.
    `when_full="evict"` turns out the request with the latest deadline.
    """

    uses_deadlines: ClassVar[bool] = True
    queue_class: ClassVar[type[IntakeQueue]] = _DeadlineQueue
