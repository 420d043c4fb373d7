"""The order: requests that wait, and which of them goes next. What a queue discipline overrides.

A request that leaves early stays behind as a tombstone, without its `place` and item: leaving is O(1) wherever it stood.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar

from .doorbell import Doorbell
from .lobby import SWEEP_AT

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("Order",)


class Order(Doorbell):
    """Requests in the order of their arrival."""

    cost = 0.0  # of what waits, kept only when requests have costs
    _dead = 0  # how many tombstones there are
    in_order: ClassVar[bool] = True  # whether they go in the order of their arrival
    objective = math.inf  # within how many seconds those without a deadline are to be answered

    def _init(self, maxsize: float) -> None:  # noqa: ARG002
        self._queue: deque[Any] = deque()
        # Straight to C, as they are on every request's way; so the deque may be refilled, but never replaced.
        self._put = self.put_last = self._queue.append  # type: ignore[method-assign, assignment]
        self._get = self._queue.popleft  # type: ignore[method-assign]

    def _take(self, limit: int) -> list[Any]:
        """Return those who go next, at most `limit`, tombstones included."""
        if len(self._queue) > limit:
            return [self._get() for _ in range(limit)]
        taken = list(self._queue)
        self._queue.clear()
        return taken

    def _peek(self) -> Any:
        return self._queue[0] if self._queue else None

    def _entries(self) -> Iterable[Any]:
        """All entries, tombstones included, in no matter which order."""
        return self._queue

    def _sweep(self) -> None:
        """Take the tombstones out."""
        live = [request for request in self._queue if request.place is not None]
        self._queue.clear()
        self._queue.extend(live)

    def _victim(self) -> Any:
        """Return the least urgent request; among equals, the one that waited longest and is the likeliest to be late."""
        return self.head()

    def rerank(self, request: Any) -> None:
        """Note that `request`, which waits here, became more urgent."""

    def worth(self, count: int) -> float:
        """Return about what a batch of `count` of those who wait costs."""
        return count * self.cost / self.qsize()

    def eldest(self) -> Any:
        """Return the request that has waited longest, None if none waits."""
        return self.head()

    def oldest(self) -> float:
        """Return the arrival time of the request that has waited longest, `inf` if none waits."""
        return math.inf if (request := self.eldest()) is None else request.arrived

    def head(self) -> Any:
        """Return the request that goes next, None if nobody waits."""
        while (request := self._peek()) is not None:
            if request.place is None:
                self._get()
                self._dead -= 1
            elif request.future.done():  # cancelled in this very pass of the loop: its caller was not resumed yet
                request.leave("cancelled")
            else:
                return request
        return None

    def prune(self, enough: int) -> None:
        """Let those go who were cancelled in this very pass and not resumed yet, unless `enough` others are found first."""
        cancelled = []
        for request in self._entries():
            if request.place is None or request.future.done():
                cancelled.append(request)
                continue
            enough -= request.size
            if enough <= 0:
                break
        for request in cancelled:
            request.leave("cancelled")

    def _bury(self) -> None:
        self._dead += 1
        if self._dead > max(SWEEP_AT, len(self._queue) // 2):
            self._sweep()
            self._dead = 0
