"""What travels: a `Request` is one item and its caller's future, a `Bulk` is all the items of one `map`.

A request knows the place that holds it now (lobby, queue or flight). Leaving is told to that place, in whatever state
the request is: this is the one way out for callers that are cancelled, late, evicted or closed upon.
"""

from __future__ import annotations

import asyncio
import math
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

__all__ = (
    "GONE",
    "Bulk",
    "DetailedRequest",
    "LoneRequest",
    "Passenger",
    "PatientRequest",
    "Place",
    "Portion",
    "Request",
)


class Place(Protocol):
    """Where a request can be; `discard` is told once that it left early, and with which outcome."""

    def discard(self, request: Any, outcome: str) -> None: ...


class _Gone:
    """Stands where a future was: a request lets go of its own with the outcome, as the two may know each other."""

    def done(self) -> bool:
        return True

    def set_result(self, result: Any) -> None:  # noqa: ARG002
        raise asyncio.InvalidStateError

    def cancel(self, msg: Any = None) -> bool:  # noqa: ARG002
        return False


GONE: Any = _Gone()


class Request:
    """One item on its way. Subclasses carry what most requests do not need, so that a plain one stays small.

    Whoever makes one sets its four attributes: an `__init__` would be an eighth of what a request costs.
    """

    __slots__ = ("arrived", "future", "item", "place")
    arrived: float
    future: Any
    item: Any
    place: Place | None
    size: ClassVar[int] = 1
    shared: ClassVar[bool] = False
    deadline: float = math.inf
    scoped: bool = False  # whether the deadline is that of a scope around the caller, which then cancels it by itself
    priority: float = 0
    key: Hashable = None
    cost: float = 1.0
    patient: ClassVar[bool] = False  # whether it is work without a hurry, which no objective applies to
    context: Context | None = None  # of its caller, where observers want requests

    @property
    def items(self) -> Sequence[Any]:
        return (self.item,)

    def queued_cost(self) -> float:
        """Return what its items in the queue cost together."""
        return self.cost

    def fitting(self, most: int, budget: float, *, alone: bool) -> tuple[int, float]:  # noqa: ARG002  # it has one
        """Return how many of its next `most` items `budget` allows, and their cost; one at least if `alone`."""
        return (1, self.cost) if alone or self.cost <= budget else (0, 0.0)

    def leave(self, outcome: str) -> None:
        """Give up the place, if there still is one; item and future are let go at once."""
        place, self.place = self.place, None
        if place is not None:
            self.let_go()
            place.discard(self, outcome)

    def cancel(self, msg: Any = None) -> bool:
        """Stand in for the future's own `cancel`, so that the request leaves at once; see `Batcher.submit`."""
        cancelled: bool = type(self.future).cancel(self.future, msg)
        if cancelled:
            self.leave("cancelled")
        return cancelled

    def fail(self, error: BaseException, outcome: str) -> None:
        """Give the caller `error`, unless it has its outcome or has left, and leave."""
        if self.future.done():
            self.leave("cancelled")
        else:
            self.future.set_exception(error)
            self.leave(outcome)

    def let_go(self) -> None:
        """Let go of item and future, which nobody needs any more; the future may know its request, see `Batcher.submit`."""
        self.item, self.future = None, GONE


class LoneRequest(Request):
    """A request that came alone, see `asyncbatch.alone`. Once it has a future, its caller finds that in `answer`."""

    __slots__ = ("answer",)
    answer: Any

    def give(self, future: Any) -> None:
        self.future = self.answer = future


class DetailedRequest(Request):
    """A request with any of a deadline, a priority, a key or a cost, or one that observers are `told` of."""

    __slots__ = ("context", "cost", "deadline", "key", "priority", "scoped")

    def __init__(
        self,
        item: Any,
        future: Any,
        arrived: float,
        place: Place | None,
        cost: float,
        told: bool,
        deadline: float,
        scoped: bool,
        priority: float,
        key: Hashable,
    ) -> None:
        self.item, self.future, self.arrived, self.place = item, future, arrived, place
        self.deadline, self.scoped, self.priority, self.key, self.cost = deadline, scoped, priority, key, cost
        self.context = copy_context() if told else None

    def let_go(self) -> None:
        super().let_go()
        self.context = None


class PatientRequest(DetailedRequest):
    """An item of an `imap`."""

    __slots__ = ()
    patient: ClassVar[bool] = True


class Bulk(PatientRequest):
    """All the items of one `map`: a single future, a cursor, and the results so far.

    Of `items`, the first `taken` are in flight or done, those up to `admitted` are in the queue, the rest waits for room.
    """

    __slots__ = ("admitted", "costs", "pending", "portions", "results", "return_exceptions", "taken")

    def __init__(self, *base: Any) -> None:
        super().__init__(*base)
        self.costs: Sequence[float] | None = None  # of each, where they have costs
        self.return_exceptions = False
        self.admitted = self.taken = 0
        self.pending = len(self.item)
        self.results: list[Any] = [None] * self.pending
        self.portions: dict[Any, None] = {}  # those that fly, or else the parts it came in, see `asyncbatch.parts`

    @property
    def size(self) -> int:  # type: ignore[override]  # a class constant for single requests, which must stay small
        """How many of its items are in the queue."""
        return self.admitted - self.taken

    @property
    def waiting(self) -> int:
        """How many of its items wait for room."""
        return len(self.results) - self.admitted

    def cost_of(self, start: int, stop: int) -> float:
        return float(stop - start) if self.costs is None else sum(self.costs[start:stop])

    def queued_cost(self) -> float:
        return self.cost_of(self.taken, self.admitted)

    def fitting(self, most: int, budget: float, *, alone: bool) -> tuple[int, float]:
        most = min(most, self.size)
        if self.costs is None:
            return most, float(most)
        spent = 0.0
        for size, cost in enumerate(self.costs[self.taken : self.taken + most]):
            if spent + cost > budget and (size or not alone):
                return size, spent
            spent += cost
        return most, spent

    def portion(self, size: int) -> Portion:
        """Cut the next `size` items off the queued ones."""
        self.taken += size
        portion = Portion(self, self.taken - size, self.taken)
        self.portions[portion] = None
        return portion

    def leave(self, outcome: str) -> None:
        """Leave every place at once: the lobby, the queue and each flight."""
        for portion in self.portions:
            portion.leave(outcome)
        self.portions = {}
        super().leave(outcome)
        self.results = [None] * self.admitted  # `waiting` is none from now on; the results so far are let go

    def deliver(self, portion: Portion, outputs: Sequence[Any]) -> None:
        """Store the outputs of one portion; the last one answers the caller."""
        self.results[portion.start : portion.stop] = outputs
        self.settle(portion, portion.size)

    def settle(self, portion: Any, size: int) -> None:
        """Note that `size` more results are there."""
        self.pending -= size
        self.portions.pop(portion, None)
        if not self.pending:
            future, self.place = self.future, None
            self.let_go()
            future.set_result(self.results)


class Portion:
    """The part of a bulk that flies in one batch."""

    __slots__ = ("bulk", "place", "start", "stop")

    def __init__(self, bulk: Bulk, start: int, stop: int) -> None:
        self.bulk = bulk
        self.start = start
        self.stop = stop
        self.place: Place | None = None

    @property
    def size(self) -> int:
        return self.stop - self.start

    @property
    def items(self) -> Sequence[Any]:
        items: Sequence[Any] = self.bulk.item[self.start : self.stop]
        return items

    @property
    def deadline(self) -> float:
        return self.bulk.deadline

    @property
    def scoped(self) -> bool:
        return self.bulk.scoped

    @property
    def arrived(self) -> float:
        return self.bulk.arrived

    @property
    def cost(self) -> float:
        return self.bulk.cost_of(self.start, self.stop)

    @property
    def context(self) -> Context | None:
        return self.bulk.context

    @property
    def future(self) -> Any:
        return self.bulk.future

    def leave(self, outcome: str) -> None:
        place, self.place = self.place, None
        if place is not None:
            place.discard(self, outcome)

    def fail(self, error: BaseException, outcome: str) -> None:
        self.bulk.fail(error, outcome)


Passenger: TypeAlias = Request | Portion
