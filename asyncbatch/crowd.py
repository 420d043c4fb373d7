"""The crowd: plain requests that came one after the other, side by side in one list instead of an object each.

That is what most requests are, and an object for each would be a third of what they cost. A caller knows its crowd and its
ticket, which is the number of those who had come by then; where it stands follows from that and from the ticket of the last
of the crowd, as nobody else comes in between. Wherever one of them matters by itself, requests are made of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .request import GONE, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .request import Place

__all__ = ("Crowd", "person_of", "persons")


class Crowd:
    """In its `row` the item, the future and the arrival of one, then those of the next. Its length is how many wait.

    What stands before `at` was taken; `dead` of the others left early, and have `GONE` as their future. `last` is the
    ticket of the last of them, once somebody else came behind it and nobody comes to it any more.
    """

    __slots__ = ("at", "dead", "is_done", "last", "row")
    last: int

    def __init__(self, is_done: Callable[[Any], bool]) -> None:
        self.row: list[Any] = []
        self.is_done = is_done
        self.at = self.dead = 0

    def __len__(self) -> int:
        return (len(self.row) - self.at) // 3

    def __bool__(self) -> bool:  # to mypyc what has a length only is always true
        return bool(self.row)

    def oldest(self) -> float | None:
        """Return when the first of them came, None if that one left."""
        arrived: float = self.row[self.at + 2]
        return None if self.row[self.at + 1].done() else arrived

    def is_thinned(self, count: int) -> bool:
        """Tell whether anybody left of the next `count`, be it in this very pass."""
        return self.dead > 0 or any(map(self.is_done, self.row[self.at + 1 : self.at + 3 * count : 3]))

    def take(self, count: int) -> tuple[list[Any], list[Any], list[float]]:
        """Take out the items, the futures and the arrivals of the next `count`, or of all."""
        row, at = self.row, self.at
        end = at + 3 * count
        taken = row[at:end:3], row[at + 1 : end : 3], row[at + 2 : end : 3]
        if end >= len(row):
            row.clear()
            self.at = self.dead = 0
            return taken
        if end > len(row) // 2:  # so each is moved once at most, on average
            del row[:end]
            self.at = 0
        else:
            row[at:end] = [None] * (end - at)
            self.at = end
        if self.dead:
            self.dead -= sum(future is GONE for future in taken[1])
        return taken

    def lose(self, behind: int) -> bool:
        """Let go of the one that has `behind` others behind it; tell whether it was still here."""
        row = self.row
        index = len(row) - 3 * (behind + 1)
        if index < self.at:
            return False
        row[index], row[index + 1] = None, GONE
        self.dead += 1
        return True


def persons(items: Iterable[Any], futures: Iterable[Any], arrivals: Iterable[float], place: Place) -> list[Request]:
    """Return a request for each of those who did not leave; from now on its future knows it, see `person_of`."""
    requests = []
    for item, future, arrived in zip(items, futures, arrivals, strict=True):
        if future is not GONE:
            request = future.request = Request()
            request.item, request.future, request.arrived, request.place = item, future, arrived, place
            requests.append(request)
    return requests


def person_of(future: Any) -> Request | None:
    """Return the request that was made of one of a crowd, if there was one."""
    return getattr(future, "request", None)
