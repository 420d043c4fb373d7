"""Ranked queues: what goes next is decided by a number that each request has from the moment it comes in.

Requests are never compared, and equals stay first in, first out.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from .intake import IntakeQueue
from .request import GONE

__all__ = ("LazyHeap", "RankedLine", "RankedQueue")

# Rows of those that have moved on stay in a lazy heap until they surface; it is rebuilt when they could be the most.
_SLACK = 64


class _Stale:
    """Stands where a request was before it became more urgent, as a tombstone does for one that left."""

    place = None
    future = GONE


_STALE = _Stale()


class LazyHeap:
    """Rows of (number, sequence), the least first; those that are not `wanted` any more are dropped as they surface.

    Rows name no request: one that stays behind must not keep alive what has been served.
    """

    def __init__(self, wanted: Callable[[int], bool]) -> None:
        self._rows: list[tuple[float, int]] = []
        self._wanted = wanted
        self._rebuild_at = _SLACK

    def push(self, number: float, sequence: int) -> None:
        heapq.heappush(self._rows, (number, sequence))
        if len(self._rows) >= self._rebuild_at:
            self._rows = [row for row in self._rows if self._wanted(row[1])]
            heapq.heapify(self._rows)
            self._rebuild_at = 2 * len(self._rows) + _SLACK

    def first(self) -> tuple[float, int] | None:
        """Return the row with the least number, None if there is none."""
        while self._rows and not self._wanted(self._rows[0][1]):
            heapq.heappop(self._rows)
        return self._rows[0] if self._rows else None


class RankedLine:
    """A heap of (rank, sequence, request). Two lazy ones beside it know who waits longest and who is the least urgent.

    Requests come in and go out as with a deque, but the one that `rank` gives the least number is on the left.
    """

    def __init__(self, rank: Callable[[Any], float], *, evicts: bool) -> None:
        self._rank = rank
        self._rows: list[tuple[float, int, Any]] = []
        self._sequence = count()
        self._here: dict[int, Any] = {}  # all requests in the heap, by their sequence
        self._by_age = LazyHeap(self._waits)
        self._by_rank = LazyHeap(self._waits) if evicts else None  # nobody else asks for it

    def _waits(self, sequence: int) -> bool:
        request = self._here.get(sequence)
        return request is not None and request.place is not None

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._here.values())

    def append(self, request: Any) -> None:
        rank, sequence = self._rank(request), next(self._sequence)
        heapq.heappush(self._rows, (rank, sequence, request))
        self._here[sequence] = request
        self._by_age.push(request.arrived, sequence)
        if self._by_rank is not None:
            self._by_rank.push(-rank, sequence)
        if request.shared:
            request.sequence = sequence

    def popleft(self) -> Any:
        return self._here.pop(heapq.heappop(self._rows)[1], _STALE)

    def peek(self) -> Any:
        return self._here.get(self._rows[0][1], _STALE) if self._rows else None

    def rerank(self, request: Any) -> None:
        del self._here[request.sequence]  # which makes a tombstone of its row
        self.append(request)

    def sweep(self) -> None:
        self._rows = [row for row in self._rows if self._waits(row[1])]
        heapq.heapify(self._rows)
        self._here = {sequence: request for _, sequence, request in self._rows}

    def least_urgent(self) -> Any:
        row = None if self._by_rank is None else self._by_rank.first()
        return None if row is None else self._here[row[1]]

    def eldest(self) -> Any:
        row = self._by_age.first()
        return None if row is None else self._here[row[1]]


class RankedQueue(IntakeQueue):
    """A queue that is a ranked line; its configuration, or that of each key, says by which number."""

    in_order = False
    _queue: Any

    def __init__(self, config: Any, *rest: Any, **options: Any) -> None:
        self._rank: Callable[[Any, float], float] = getattr(config, "within", config).rank
        super().__init__(config, *rest, **options)

    def rank(self, request: Any) -> float:
        return self._rank(request, self.objective)

    def _init(self, maxsize: float) -> None:  # noqa: ARG002
        self._queue = self.new_line()

    def _put(self, request: Any) -> None:
        self._queue.append(request)

    def new_line(self) -> Any:
        return RankedLine(self.rank, evicts=self._when_full == "evict")

    def rerank(self, request: Any) -> None:
        self._queue.rerank(request)
        self._bury()

    def _take(self, limit: int) -> list[Any]:
        popleft = self._queue.popleft
        return [popleft() for _ in range(min(limit, len(self._queue)))]

    def _peek(self) -> Any:
        return self._queue.peek()

    def _sweep(self) -> None:
        self._queue.sweep()

    def _victim(self) -> Any:
        return self._queue.least_urgent()

    def eldest(self) -> Any:
        return self._queue.eldest()
