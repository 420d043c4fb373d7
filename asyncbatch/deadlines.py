"""Deadlines: the requests of one place that must be answered by a certain time, and one timer for the nearest."""

from __future__ import annotations

import heapq
import math
from itertools import count
from typing import TYPE_CHECKING, Any

from .errors import DeadlineExceeded

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from .request import Passenger
    from .shared import Wish

__all__ = ("Deadlines",)

# Rows of requests that have moved on stay in the heap until they surface; it is rebuilt when they could be the most.
_SLACK = 64

# A scope has this long to cancel its caller: the timers of uvloop are whole milliseconds, and fire up to two late.
_GRACE = 0.005


class Deadlines:
    """Fails each watched request that is still in `place` when its deadline comes.

    `moved_on` tells that a request is no longer this place's business. The timer is armed only while one is watched.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str, moved_on: Callable[[Any], bool]) -> None:
        self._loop = loop
        self._name = name
        self._moved_on = moved_on
        self._heap: list[tuple[float, int, Passenger | Wish]] = []
        self._order = count()
        self._due = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._rebuild_at = _SLACK

    def watch(self, request: Passenger | Wish) -> None:
        heapq.heappush(self._heap, (request.deadline, next(self._order), request))
        if len(self._heap) >= self._rebuild_at:
            self._rebuild()
        if request.deadline < self._due:
            self._arm(request.deadline)

    def watch_all(self, requests: Sequence[Passenger]) -> None:
        """Watch these, the first that there are."""
        self._heap = [(request.deadline, next(self._order), request) for request in requests]
        heapq.heapify(self._heap)
        self._arm(self._heap[0][0])

    def nearest(self) -> float:
        """Return the nearest deadline of what is still here, `inf` if there is none."""
        while self._heap and self._moved_on(self._heap[0][2]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def first(self) -> Any:
        """Return what has the nearest deadline, None if nothing has one."""
        return self._heap[0][2] if self.nearest() < math.inf else None

    def clear(self) -> None:
        """Forget all, and disarm."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = None, math.inf
        self._heap.clear()

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_at(due, self._fire) if due < math.inf else None

    def expire(self, now: float) -> None:
        """Fail those whose deadline is not after `now`; without waiting for the timer, if the loop was held up."""
        while self._heap and self._heap[0][0] <= now:
            request = heapq.heappop(self._heap)[2]
            if not self._moved_on(request):
                self.dismiss(request, self._error(now - request.arrived))

    def dismiss(self, request: Any, error: DeadlineExceeded) -> None:
        """Take a request out that is not answered in time."""
        if not request.scoped:
            request.fail(error, "expired")
            return
        # The scope is about to cancel its caller, who expects that and no error.
        future = request.future
        timer = self._loop.call_at(max(self._loop.time(), request.deadline) + _GRACE, _fail_late, future, error)
        future.add_done_callback(lambda _: timer.cancel())
        request.leave("expired")

    def _fire(self) -> None:
        # A loop may fire a little early (uvloop rounds to milliseconds): what this timer was set for is due now.
        self.expire(max(self._loop.time(), self._due))
        self._arm(self.nearest())

    def _error(self, waited: float) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"batcher {self._name!r} had no result for this request after {waited:.3f} s, when its time was up; "
            "give it more with timeout=, or the batcher more capacity"
        )

    def _rebuild(self) -> None:
        self._heap = [row for row in self._heap if not self._moved_on(row[2])]
        heapq.heapify(self._heap)
        self._rebuild_at = 2 * len(self._heap) + _SLACK


def _fail_late(future: asyncio.Future[Any], error: DeadlineExceeded) -> None:
    if not future.done():  # the scope was given more time
        future.set_exception(error)
