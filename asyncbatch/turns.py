"""Turns: which of several lines goes next, by deficit round robin over what they have been served."""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from .policies import INSTANT
from .ranked import LazyHeap

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

__all__ = ("Group", "Turns")

_DEADLINE = attrgetter("deadline")


class Group:
    """The requests of one key; to a rule for departures it looks like a queue."""

    __slots__ = ("admitted", "bound", "cost", "credit", "dead", "key", "line", "place", "queue", "rank")
    gone = 0  # so `admitted` is how many items wait

    def __init__(self, key: Hashable, queue: Any, bound: float) -> None:
        self.key = key
        self.bound = bound
        self.queue = queue
        self.line = queue.new_line()
        self.admitted = self.dead = 0
        self.cost = self.credit = 0.0
        self.place = self.rank = -1  # by which it is found among those that wait, and among the largest

    def qsize(self) -> int:
        return self.admitted

    def prune(self, enough: int) -> None:
        self.queue.select(self)
        self.queue.prune(enough)

    def eldest(self) -> Any:
        self.queue.select(self)
        return self.queue.eldest()

    def oldest(self) -> float:
        self.queue.select(self)
        return self.queue.oldest()  # type: ignore[no-any-return]

    def first_due(self) -> Any:
        """Return who has the nearest deadline and no others that share it; it is asked for only where somebody has one."""
        return min([each for each in self.line if each.place is not None and not each.shared], key=_DEADLINE, default=None)

    def nearest(self) -> float:
        """Return the nearest deadline; it is asked for only while there is less than a batch to look through."""
        return min([each.deadline for each in self.line if each.place is not None], default=math.inf)

    def worth(self, count: int) -> float:
        return count * self.cost / self.admitted


class Turns:
    """A ring of the groups that may leave, and those that still wait, with when each is due.

    Each visit in the ring is worth a `quantum`, the dearest batch lately, and a group is served while it has credit: so
    each visit serves at least one batch, and choosing is O(1). A group that has nothing left is forgotten, debts and all:
    it comes back behind all others.
    """

    def __init__(self) -> None:
        self.chosen: Group | None = None
        self._fresh: dict[Group, None] = {}  # those to be judged anew
        self._ring: OrderedDict[Group, None] = OrderedDict()
        self._late: dict[int, Group] = {}
        self._sequence = count()
        self._due = LazyHeap(self._late.__contains__)
        self._quantum = 0.0

    def touch(self, group: Group) -> None:
        """Note that more came in."""
        if group not in self._ring:
            self._late.pop(group.place, None)
            self._fresh[group] = None

    def reconsider(self) -> None:
        """Note that all that wait must be judged anew."""
        self._fresh.update(dict.fromkeys(self._late.values()))
        self._late.clear()

    def forget(self, group: Group) -> None:
        """Note that nothing of it is left."""
        self._fresh.pop(group, None)
        self._late.pop(group.place, None)
        self._ring.pop(group, None)
        if not self._ring:
            self._quantum = 0.0

    def unsettled(self, now: float) -> Iterator[Group]:
        """Take out those that came to be, grew, or whose time has come."""
        while True:
            if self._fresh:
                group = next(iter(self._fresh))
                del self._fresh[group]
            elif (row := self._due.first()) is not None and row[0] <= now + INSTANT:
                group = self._late.pop(row[1])
            else:
                return
            yield group

    def join(self, group: Group) -> None:
        """Let it have its turns."""
        self._fresh.pop(group, None)
        self._late.pop(group.place, None)
        self._ring[group] = None

    def wait(self, group: Group, due: float) -> None:
        """Let it wait until `due`; it has sent all that it could, so nothing is owed to it."""
        self._ring.pop(group, None)
        group.credit = 0.0
        if group not in self._fresh:  # it did not grow while it was judged
            group.place = next(self._sequence)
            self._late[group.place] = group
            self._due.push(due, group.place)

    def front(self) -> Group | None:
        return next(iter(self._ring), None)

    def soonest(self) -> tuple[float, Group | None]:
        """Return which of those that wait is due first, and when."""
        row = self._due.first()
        return (math.inf, None) if row is None else (row[0], self._late[row[1]])

    def serve(self, group: Group, cost: float) -> None:
        """Note that a batch of a group left, and what it cost."""
        self.chosen = None
        if group not in self._ring:
            return
        self._quantum = max(self._quantum, cost)
        if group.credit <= 0:
            group.credit += self._quantum
        group.credit -= cost
        if group.credit <= 0:
            self._ring.move_to_end(group)
