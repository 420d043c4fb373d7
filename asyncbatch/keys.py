"""Keys: the configuration of keyed queues, and of the order that each key has within."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, ClassVar

from . import parameters
from .intake import IntakeQueue
from .keyed import KeyedDepartures, KeyedQueue
from .queues import EarliestDeadline, Fifo, Priority
from .ranked import RankedQueue

__all__ = ("Keyed", "RankedKeyedQueue")


class RankedKeyedQueue(KeyedQueue, RankedQueue):
    """A ranked line for each key."""

    def new_line(self) -> Any:
        return RankedQueue.new_line(self)

    def _least_urgent(self) -> Any:
        return self._queue.least_urgent()

    def rerank(self, request: Any) -> None:
        selected = self._group
        self.select(self._groups[request.key])
        RankedQueue.rerank(self, request)
        self.select(selected)
        KeyedQueue.rerank(self, request)


def _keyed_queue(config: Any, *rest: Any, **options: Any) -> IntakeQueue:
    ranked = hasattr(config.within, "rank")
    return (RankedKeyedQueue if ranked else KeyedQueue)(config, *rest, **options)


@dataclass(frozen=True, slots=True)
class Keyed(Fifo):
    """A queue for each `key`; a batch holds items of one key only.

    The key is that of the call; without one, `key(item)`, if that was given, else None, which is a key like any other.
    Each key fills, waits and leaves by itself: `max_batch_size`, `max_wait`, deadlines and a `policy` see only its own
    items. Keys with a batch to send are served by deficit round robin over cost, or the number of items without
    one: of any two that always have some waiting, neither gets more than two of the dearest batches ahead.

    `within` says who of a key goes first: `Fifo()`, `Priority()` or `EarliestDeadline()`; "evict" then turns out the least
    urgent of a key. Between keys it counts for nothing.

    `maxsize` bounds all keys together. When full, callers that wait for room are let in key by key, in turns;
    `"evict"` turns out the oldest of the key that has the most waiting; so with either no key takes all the room. With
    `"reject"` the newcomer is turned away, whatever its key. `max_per_key` bounds each key by itself, so that whoever comes
    with another one finds room: of a key that is full, one more waits, is turned away, or turns out the oldest of it. A key
    that nobody waits with costs nothing.

    Raises `TypeError` or `ValueError` for a `key` that cannot be called, and a `within` or `max_per_key` that is none.
    A `key` that raises, or returns what is not hashable, fails the call.
    """

    key: Callable[[Any], Hashable] | None = None
    max_per_key: float = math.inf
    within: Fifo = Fifo()  # noqa: RUF009  # it is frozen

    detailed: ClassVar[bool] = True
    queue_class: ClassVar[Any] = staticmethod(_keyed_queue)
    rule_class: ClassVar[Any] = KeyedDepartures

    @property
    def uses_deadlines(self) -> bool:
        return self.within.uses_deadlines

    def __post_init__(self) -> None:
        Fifo.__post_init__(self)  # the class that slots=True makes is not the one that `super()` knows
        parameters.callables(key=self.key)
        if self.max_per_key != math.inf:
            parameters.count("max_per_key", self.max_per_key)
        if type(self.within) not in (Fifo, Priority, EarliestDeadline):
            raise TypeError("within must be Fifo(), Priority() or EarliestDeadline(); write for example within=Priority()")
        if (self.within.maxsize, self.within.when_full) != (Fifo().maxsize, Fifo().when_full):
            raise ValueError("maxsize and when_full are those of all keys; write them in Keyed(...), not in its within=")
