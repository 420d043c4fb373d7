"""The lobby: requests that wait for room in a full queue. They hold no place in it, and are admitted in their order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from .compiling import mypyc_attr
from .request import Bulk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .metrics.statistics import Tally

__all__ = ("SWEEP_AT", "Lobby")

# Tombstones are swept out when there are more of them than of live requests, and at least this many.
SWEEP_AT = 32


@mypyc_attr(allow_interpreted_subclasses=True)
class Lobby:
    """Those who wait for room, in their order. They are not in the queue, and count as submitted once they are."""

    def __init__(self, tally: Tally) -> None:
        self.line: deque[Any] = deque()  # tombstones included, so that it may look longer than it is, never shorter
        self.tally = tally
        self._dead = 0

    def __len__(self) -> int:
        return len(self.line) - self._dead

    def __iter__(self) -> Iterator[Any]:
        return iter(self.line)

    def items(self) -> int:
        """Return how many items wait for room."""
        live = (request for request in self if request.place is not None)
        return sum(request.waiting if isinstance(request, Bulk) else 1 for request in live)

    def append(self, request: Any) -> None:
        request.place = self
        self.line.append(request)

    def first(self) -> Any:
        while self.line:
            request = self.line[0]
            if request.place is not None and request.future.done():
                request.leave("cancelled")
            elif request.place is not None:
                return request
            else:
                self.popleft()
                self._dead -= 1
        return None

    def popleft(self) -> Any:
        return self.line.popleft()

    def discard(self, request: Any, outcome: str) -> None:
        self.tally.turn_away(outcome, request.waiting if isinstance(request, Bulk) else 1)
        self._dead += 1
        if self._dead > max(SWEEP_AT, len(self.line) // 2):
            self.line = deque(request for request in self.line if request.place is not None)
            self._dead = 0
