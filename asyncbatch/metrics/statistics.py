"""Statistics: the running `Tally` of one batcher, and the frozen `Statistics` that users see of it."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Statistics", "Tally")

# The slowest of this many batches is what the next one is expected to take.
_RECENT = 16


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a batcher has done since it was entered. Requests are counted in items, times are in seconds.

    `submitted = succeeded + failed + cancelled + expired + rejected + closed + queued + in_flight`, at every moment.
    """

    submitted: int  #: items handed in; one that waits for room counts once it is let in, or is turned away
    succeeded: int  #: answered with a result
    failed: int  #: answered with an exception of the function
    cancelled: int  #: their callers left
    expired: int  #: their `timeout` ran out, or they could not meet an objective any more
    rejected: int  #: turned away, or evicted, because the queue was full; or too large for a batch
    closed: int  #: not served any more when the batcher closed
    queued: int  #: waiting in the queue now
    in_flight: int  #: in a batch that runs now
    waiting_for_room: int  #: callers that a full queue keeps waiting now
    capacity: int  #: how many batches can run at once
    workers_ready: int  #: how many of them could now: what they need is built, and not lost
    workers_lost: int  #: workers that ended by themselves, were killed, or were stopped when their time was up
    batches: int  #: batches that came back
    mean_batch_size: float  #: items a batch
    reasons: Mapping[str, int]  #: how many batches left for which reason
    mean_wait: float  #: time in the queue, a request
    longest_wait: float
    mean_run_time: float  #: time on the executor, a batch
    longest_run_time: float
    busy_seconds: float  #: time on the executor, all batches together
    elements: int  #: what the function worked on, as far as it was counted: elements of arrays, else items
    padding: int  #: how many of these `Padded` or `AllowedSizes` put there to fill up; `padding / elements` was for nothing


class Tally:
    """The counters behind `Statistics`; `dropped` is told of those who leave without a result, if there is such a thing."""

    def __init__(self, dropped: Callable[[str, int], None] | None) -> None:
        self.succeeded = self.failed = self.cancelled = self.expired = self.rejected = self.closed = 0
        self.outside = 0  # items that had their outcome without ever being in the queue
        self.batches = self.items = self.back = 0  # batches and items that came back, and items that left
        self.reasons: defaultdict[str, int] = defaultdict(int)
        self.waits = self.longest_wait = 0.0
        self.busy = self.longest_run = 0.0
        self.workers_lost = 0
        self.elements = self.padding = 0
        self.counting = Lock()  # for these two: functions count them where they run
        self.recent: deque[float] = deque(maxlen=_RECENT)
        self._dropped = dropped

    def count(self, outcome: str, size: int) -> None:
        """Count `size` items that were in the queue or in flight, and leave without a result."""
        setattr(self, outcome, getattr(self, outcome) + size)
        if self._dropped is not None:
            self._dropped(outcome, size)

    def turn_away(self, outcome: str, size: int) -> None:
        """Count `size` items that never got into the queue."""
        self.outside += size
        self.count(outcome, size)

    def ended(self, seconds: float, items: int) -> None:
        self.batches += 1
        self.back += items
        self.busy += seconds
        self.recent.append(seconds)
        if seconds > self.longest_run:
            self.longest_run = seconds

    @property
    def run_time(self) -> float:
        """The slowest of the last batches, 0.0 before any came back: what the next one may take."""
        return max(self.recent, default=0.0)

    @property
    def seconds_per_item(self) -> float:
        """What an item has cost on the executor, 0.0 before any was measured."""
        return self.busy / self.back if self.back else 0.0

    def snapshot(
        self, admitted: int, queued: int, in_flight: int, waiting_for_room: int, capacity: int, ready: int
    ) -> Statistics:
        reasons = dict(self.reasons)  # in one step: observers may ask in another thread
        left = sum(reasons.values())
        with self.counting:
            elements, padding = self.elements, self.padding
        return Statistics(
            submitted=admitted + self.outside,
            succeeded=self.succeeded,
            failed=self.failed,
            cancelled=self.cancelled,
            expired=self.expired,
            rejected=self.rejected,
            closed=self.closed,
            queued=queued,
            in_flight=in_flight,
            waiting_for_room=waiting_for_room,
            capacity=capacity,
            workers_ready=ready,
            workers_lost=self.workers_lost,
            batches=self.batches,
            mean_batch_size=self.items / left if left else 0.0,
            reasons=MappingProxyType(reasons),
            mean_wait=self.waits / self.items if self.items else 0.0,
            longest_wait=self.longest_wait,
            mean_run_time=self.busy / self.batches if self.batches else 0.0,
            longest_run_time=self.longest_run,
            busy_seconds=self.busy,
            elements=elements,
            padding=padding,
        )
