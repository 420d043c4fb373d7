"""The crowd: plain requests that came one after the other, and share one future instead of having an object each.

That is what most requests are, and an object and a future for each would be much of what they cost. A caller knows its
crowd and its seat in it: the crowd flies as a whole, and what its future gives then is what everybody aboard picks an own
result from. Wherever one of them matters by itself the crowd is parted: each gets a request, and a future of its own to
wait on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from .request import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("LARGEST", "SMALLEST", "Crowd", "Parted", "person")

LARGEST = 128
"""So many share a future at most, as all of them are woken when one of them leaves."""

SMALLEST = 16
"""Where so few came between two who are no part of it, a crowd costs more than it saves."""


class Parted(Exception):
    """Tells one of a crowd that it was parted: from now on each has a request and a future of its own."""


class Crowd:
    """In its `row` the item and the arrival of one, then those of the next; the index of an item is the caller's seat.

    Its `place` holds it, the queue or a flight, until it is answered or parted; then its `persons` are the requests.
    """

    __slots__ = ("_futures", "future", "persons", "place", "row")
    # Of the persons: a request lets go of its own with the outcome, which may be before its caller wakes.
    _futures: list[Any]
    # What a passenger, and the eldest of a line, are asked for.
    deadline: ClassVar[float] = math.inf
    patient: ClassVar[bool] = False

    def __init__(self, future: Any, place: Any) -> None:
        self.row: list[Any] = []
        self.future: Any = future
        self.place: Any = place
        self.persons: Any = None  # a list of requests, once it is parted
        future.cancel = self.cancel

    @property
    def size(self) -> int:
        return len(self.row) // 2

    @property
    def arrivals(self) -> list[float]:
        return self.row[1::2]

    @property
    def arrived(self) -> float:
        """When the first of them came."""
        arrived: float = self.row[1]
        return arrived

    def answer(self, outputs: Sequence[Any]) -> None:
        """Wake all of them, each to take its own of `outputs`."""
        row, future = self.row, self.future
        self.future = self.place = None
        row[::2] = outputs
        future.set_result(row)

    def __getitem__(self, seat: int) -> Any:
        """Stand in for the results, where it was parted. Raises `Parted`."""
        raise Parted

    def own(self, seat: int, news: BaseException | None = None) -> tuple[Request, Any]:
        """Return the request of the one who has this `seat`, and its future; for them it is parted, if it still can be.

        `news` is what awaiting the future that all share raised. Raises it again if that is not a reason to part.
        """
        if isinstance(news, RuntimeError) and not (self.place is not None and self.future._asyncio_future_blocking):  # noqa: SLF001
            raise news
        # Else somebody of them is not in a task, as it awaits by hand, or is in one of another loop: what that leaves
        # behind on a future keeps all others from awaiting it.
        if self.place is not None:
            self.place.part(self)
        return self.persons[seat // 2], self._futures[seat // 2]

    def cancel(self, msg: Any = None) -> bool:  # noqa: ARG002
        """Stand in for the future's own `cancel`, as a task that is cancelled would cancel all the others with it.

        The task is woken like all of them, in the next pass as ever, and is told of its cancellation then.
        """
        if self.place is not None:
            self.place.part(self)
        return False

    def leave(self, seat: int) -> None:
        """Let the one who has this `seat` leave, wherever the crowd is by now."""
        if self.place is None and self.persons is None:
            return  # it was answered
        request, future = self.own(seat)
        request.leave("cancelled")
        if future.done():  # nobody will ask what it was, so it must not be reported as an error that nobody saw
            future.exception()

    def part(self, place: Any) -> list[Request]:
        """Make a request of each of them, which `place` holds instead, and wake them to wait by themselves."""
        row, future, loop = self.row, self.future, self.future.get_loop()
        self._futures = [loop.create_future() for _ in range(self.size)]
        self.persons = persons = [person(*each, place) for each in zip(row[::2], self._futures, row[1::2], strict=True)]
        self.future = self.place = None
        row.clear()  # callers hold it, and an item may be let go before all of them are
        if not loop.is_closed():  # else nobody can be woken any more
            future.set_result(self)
        return persons


def person(item: Any, future: Any, arrived: float, place: Any) -> Request:
    """Return the request of one, which `place` holds."""
    request = Request()
    request.item, request.future, request.arrived, request.place = item, future, arrived, place
    return request
