"""ByLength: items that are alike in length share a batch, as one that is padded costs its longest item for each of them."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any, ClassVar

from . import parameters
from .intake import IntakeQueue
from .parts import rearranged
from .queues import Fifo
from .request import Bulk, Portion

__all__ = ("ByLength", "LengthQueue")


class LengthQueue(IntakeQueue):
    """First in, first out, but that who shares a batch with the first is picked from those who wait behind."""

    def __init__(self, config: Any, *rest: Any, **options: Any) -> None:
        self._batches: int = config.window
        super().__init__(config, *rest, **options)

    def put_bulk(self, bulk: Bulk) -> None:
        """Take its items in from the shortest to the longest, so that those that go together are alike."""
        costs = bulk.costs or ()
        self._check_room(bulk)
        self._line_up(rearranged(bulk, sorted(range(len(costs)), key=costs.__getitem__)))

    def _board_measured(self, flight: Any, limit: int, budget: float) -> None:
        flight.mixed = True
        window: list[Any] = []
        while len(window) < self._batches * limit and self.head() is not None:
            window.append(self._get())
        stay = []
        for request, size in zip(window, _picked(window, limit, budget), strict=True):
            if size < request.size:
                stay.append(request)
            if size:
                self._seat(request, size, flight)
        flight.cost = len(flight.items) * max([_longest(each) for each in flight.passengers], default=0.0)
        self._queue.extendleft(reversed(stay))
        self.gone += len(flight.items)
        if self.empty():
            self.cost = 0.0  # no drift of sums survives an empty queue

    def worth(self, count: int) -> float:
        """Return about what a batch of `count` of those who wait costs: they are picked to be like the first."""
        return count * max(self.cost / self.qsize(), _length(self.head(), 0))

    def _seat(self, request: Any, size: int, flight: Any) -> None:
        passenger = request
        if isinstance(request, Bulk):
            passenger = request.portion(size)
            self._bulks -= not request.size
        passenger.place = flight
        flight.passengers.append(passenger)
        flight.items += passenger.items
        flight.arrived += passenger.arrived * size
        self.cost -= passenger.cost


def _picked(window: list[Any], limit: int, budget: float) -> list[int]:
    """Return how many items of each request go: those nearest in length to the first, which goes in any case."""
    sizes = [0] * len(window)
    wanted = _length(window[0], 0) if window else 0.0
    # Of those that are equally near the first goes first, so that it is the head that everything begins with.
    near = [(abs(_length(each, 0) - wanted), index) for index, each in enumerate(window)]
    heapify(near)
    count, longest = 0, 0.0
    while near and count < limit and (not count or (count + 1) * longest <= budget):
        _, index = heappop(near)
        request, taken = window[index], sizes[index]
        length = max(longest, _length(request, taken))
        if request.place is None or (count and (count + 1) * length > budget):
            continue  # of a map what follows is longer still
        count, longest = count + 1, length
        sizes[index] = taken = taken + 1
        if taken < request.size:
            heappush(near, (abs(_length(request, taken) - wanted), index))
    return sizes


def _length(request: Any, ahead: int) -> float:
    """Return the length of the item that goes next of `request` once those `ahead` of it have gone."""
    return request.costs[request.taken + ahead] if isinstance(request, Bulk) else request.cost  # type: ignore[index]


def _longest(passenger: Any) -> float:
    if not isinstance(passenger, Portion):
        return passenger.cost  # type: ignore[no-any-return]
    return max(passenger.bulk.costs[passenger.start : passenger.stop])  # type: ignore[index]


@dataclass(frozen=True, slots=True)
class ByLength(Fifo):
    """First in, first out, but a batch is made of items alike in length: for functions that pad all items to the longest.

    `cost` tells the length of an item, and a batch costs its number of items times the longest: `max_batch_cost` bounds
    that, the padding included. The first in the queue always goes with the next batch, so nobody starves; its company are
    those of the next `window * max_batch_size` requests that are nearest to it in length and fit the budget. The items of
    one `map` go from the shortest to the longest. A `window` of 1 leaves hardly a choice, a larger one less padding.

    A batch that waits for company leaves when the lengths of all that wait add up to `max_batch_cost`: those alike will
    then about fill it. `when_full="evict"` turns out the one that waited longest.

    Raises `TypeError` or `ValueError` for a `window` that is no whole number of at least 1. A batcher needs `cost=` too.
    """

    window: int = 4

    costed: ClassVar[bool] = True
    queue_class: ClassVar[type[IntakeQueue]] = LengthQueue

    def __post_init__(self) -> None:
        Fifo.__post_init__(self)  # the class that slots=True makes is not the one that `super()` knows
        parameters.count("window", self.window)
