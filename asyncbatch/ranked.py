"""Ranked queues: what goes next is decided by a number that each request has from the moment it comes in.

Requests are never compared, and equals stay first in, first out.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from .intake import IntakeQueue
from .request import GONE

__all__ = ("LazyHeap", "RankedQueue")

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


class RankedQueue(IntakeQueue):
    """A heap of (rank, sequence, request). Two lazy ones beside it know who waits longest and who is the least urgent."""

    in_order = False

    def rank(self, request: Any) -> float:
        """Return the number of a request: the least goes first."""
        raise NotImplementedError

    def _init(self, maxsize: float) -> None:  # noqa: ARG002
        self._queue: list[Any] = []  # type: ignore[assignment]
        self._sequence = count()
        self._here: dict[int, Any] = {}  # all requests in the heap, by their sequence
        self._by_age = LazyHeap(self._waits)
        self._by_rank = LazyHeap(self._waits) if self._when_full == "evict" else None  # nobody else asks for it
        self.put_last = self._put

    def _waits(self, sequence: int) -> bool:
        request = self._here.get(sequence)
        return request is not None and request.place is not None

    def _put(self, request: Any) -> None:
        rank, sequence = self.rank(request), next(self._sequence)
        heapq.heappush(self._queue, (rank, sequence, request))
        self._here[sequence] = request
        self._by_age.push(request.arrived, sequence)
        if self._by_rank is not None:
            self._by_rank.push(-rank, sequence)
        if request.shared:
            request.sequence = sequence

    def rerank(self, request: Any) -> None:
        del self._here[request.sequence]  # which makes a tombstone of its row
        self._put(request)
        self._bury()

    def _get(self) -> Any:
        return self._here.pop(heapq.heappop(self._queue)[1], _STALE)

    def _take(self, limit: int) -> list[Any]:
        return [self._get() for _ in range(min(limit, len(self._queue)))]

    def _peek(self) -> Any:
        return self._here.get(self._queue[0][1], _STALE) if self._queue else None

    def _entries(self) -> Iterable[Any]:
        return self._here.values()

    def _sweep(self) -> None:
        self._queue[:] = [row for row in self._queue if self._waits(row[1])]
        heapq.heapify(self._queue)
        self._here = {sequence: request for _, sequence, request in self._queue}

    def _victim(self) -> Any:
        row = None if self._by_rank is None else self._by_rank.first()
        return None if row is None else self._here[row[1]]

    def oldest(self) -> float:
        row = self._by_age.first()
        return math.inf if row is None else row[0]
