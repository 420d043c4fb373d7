"""Keyed queues: a line for each key, and a batch of items of one key only. Keys fill by themselves, and take turns.

What a queue does it does for one group at a time, the one that was last selected: so all that is inherited works on the
line of that group, as if it were the whole queue.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable
from functools import partial
from itertools import count
from typing import Any, cast

from .departures import Departures
from .intake import IntakeQueue
from .lobbies import KeyedLobby
from .parts import parted
from .ranked import LazyHeap
from .request import Bulk
from .turns import Group, Turns

__all__ = ("KeyedDepartures", "KeyedQueue")


class KeyedQueue(IntakeQueue):
    """A line for each key that somebody waits with. `turns` knows which may leave, and which of those is next."""

    def __init__(self, config: Any, tally: Any, *rest: Any, **options: Any) -> None:
        self._key_of: Callable[[Any], Hashable] | None = config.key
        self._max_per_key: float = config.max_per_key
        super().__init__(config, tally, *rest, **options)
        self.lobby = self._lobbies = KeyedLobby(tally, self._is_full)

    def _init(self, maxsize: float) -> None:
        self.turns = Turns()
        self._groups: dict[Hashable, Group] = {}
        self._group = Group(None, self, maxsize)
        self._queue = self._group.line
        self._by_size: dict[int, Group] = {}
        self._sizes = LazyHeap(self._by_size.__contains__)
        self._sequence = count()

    def select(self, group: Group) -> None:
        """Let all that is inherited work on the line of `group`."""
        if group is not self._group:
            self._group.dead, self._dead = self._dead, group.dead
            self._group = group
            self._queue = group.line

    def new_line(self) -> Any:
        """Return the line of a new group."""
        return deque()

    # Coming in.

    def put_nowait(self, request: Any, waits: bool = False) -> None:
        request.key = self._key(request.key, request.item)
        if self._max_per_key < math.inf and self._is_full(request.key):
            self._check()
            self._overfill(request, waits, partial(self._victim_of, request.key))
        else:
            super().put_nowait(request, waits)

    def _victim_of(self, key: Hashable) -> Any:
        self.select(self._groups[key])
        return self._least_urgent()

    def _is_full(self, key: Hashable) -> bool:
        group = self._groups.get(key)
        return group is not None and group.admitted >= self._max_per_key

    def put_bulk(self, bulk: Bulk) -> None:
        if bulk.key is not None or self._key_of is None:
            super().put_bulk(bulk)
            return
        parts = parted(bulk, [self._key(None, item) for item in bulk.item])
        self._check_room(bulk)
        for part in parts:
            self._line_up(part)

    def _check_room(self, bulk: Bulk) -> None:
        super()._check_room(bulk)
        if self._when_full == "reject" and any(self._is_full(part.key) for part in bulk.portions or (bulk,)):
            self.lobby.tally.turn_away("rejected", bulk.waiting)
            raise self._overflow()

    def _room(self, bulk: Bulk) -> float:
        group = self._groups.get(bulk.key)
        return min(super()._room(bulk), self._max_per_key - (group.admitted if group else 0))

    def _key(self, key: Hashable, item: Any) -> Hashable:
        """Return the key of `item`. What is wrong with it shows here, where nothing was counted yet."""
        if key is None and self._key_of is not None:
            key = self._key_of(item)
        self._groups.get(key)
        return key

    def _put(self, request: Any) -> None:
        group = self._groups.get(request.key)
        if group is None:
            group = self._groups[request.key] = Group(request.key, self, min(self.bound, self._max_per_key))
        group.line.append(request)
        if not isinstance(request, Bulk):
            self._grow(group, 1, request.cost)

    def _extend(self, bulk: Bulk) -> None:
        before = bulk.admitted
        super()._extend(bulk)
        self._lobbies.rotate(bulk.key)  # what is left of it waits for its next turn
        self._grow(self._groups[bulk.key], bulk.admitted - before, bulk.cost_of(before, bulk.admitted))

    def rerank(self, request: Any) -> None:
        self.turns.touch(self._groups[request.key])

    def _grow(self, group: Group, size: int, cost: float) -> None:
        group.admitted += size
        group.cost += cost
        self.turns.touch(group)
        if self._when_full == "evict":
            self._weigh(group)

    # Going out.

    def _board_singles(self, flight: Any, limit: int) -> None:
        group = self._begin()
        super()._board_singles(flight, limit)
        self._shrink(group, len(flight.passengers), len(flight.passengers))
        self.turns.serve(group, len(flight.passengers))

    def _board_measured(self, flight: Any, limit: int, budget: float) -> None:
        group = self._begin()
        super()._board_measured(flight, limit, budget)
        cost = sum([each.cost for each in flight.passengers])
        self._shrink(group, len(flight.items), cost)
        self.turns.serve(group, cost)

    def _begin(self) -> Group:
        group = self.turns.chosen or self.turns.front() or self._group
        self.select(group)
        return group

    def _flies(self, request: Any, flight: Any) -> bool:
        waited = request.place is not None
        if super()._flies(request, flight):
            return True
        if waited:
            self._shrink(self._group, 1, request.cost)
        return False

    def discard(self, request: Any, outcome: str) -> None:
        selected = self._group
        if request.size:
            self.select(self._groups[request.key])
            self._shrink(self._group, request.size, request.queued_cost())
        super().discard(request, outcome)
        self.select(selected)  # it may have been at work on that one

    def _shrink(self, group: Group, size: int, cost: float) -> None:
        group.admitted -= size
        group.cost -= cost
        self._lobbies.rejoin(group.key)
        if size and not group.admitted:
            del self._groups[group.key]
            self.turns.forget(group)
            self._by_size.pop(group.rank, None)

    def clear(self, error: Callable[[], Exception], outcome: str) -> None:
        for group in [self._group, *self._groups.values()]:
            self.select(group)
            super().clear(error, outcome)

    # The largest, where one has to go.

    def _weigh(self, group: Group) -> None:
        self._by_size.pop(group.rank, None)
        group.rank = next(self._sequence)
        self._by_size[group.rank] = group
        self._sizes.push(-group.admitted, group.rank)

    def _victim(self) -> Any:
        while (row := self._sizes.first()) is not None:
            group = self._by_size[row[1]]
            if -row[0] > group.admitted:
                self._weigh(group)  # it has shrunk since
                continue
            self.select(group)
            if (request := self._least_urgent()) is not None:
                return request
        return None

    def _least_urgent(self) -> Any:
        return self.head()


class KeyedDepartures(Departures):
    """The same rule, asked of each key for itself."""

    lingers = False  # who was answered, and who comes, is not known by key

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._turns = cast("KeyedQueue", self._queue).turns
        self._terms: tuple[Any, ...] = ()  # by which those that wait were judged

    def decide(self, now: float) -> tuple[float, str]:
        self._note_terms()
        turns = self._turns
        for group in turns.unsettled(now):
            self._judge(group, now)
        while (first := turns.front()) is not None:
            if reason := self._judge(first, now):
                turns.chosen = first
                return 0.0, reason
        due, soonest = turns.soonest()
        if soonest is not None and self._queue.full():  # nobody can come in and fill any
            turns.join(soonest)
            turns.chosen = soonest
            return 0.0, "full"
        return due - now, ""

    def spare(self, now: float) -> float:
        self._line = cast("Group", self._turns.chosen)
        spare = super().spare(now)
        self._line = self._queue
        return spare

    def _judge(self, group: Any, now: float) -> str:
        """Return why a batch of `group` may leave, or let it wait."""
        self._line = group
        wait, reason = super().decide(now)
        self._line = self._queue
        if not group.admitted:  # all of it has left
            return ""
        if reason:
            self._turns.join(group)
        else:
            self._turns.wait(group, now + wait)
        return reason

    def _note_terms(self) -> None:
        limits, untimed = self._limits, self._deadlines.nearest() == math.inf
        run_time = 0.0 if untimed and self._policy is None and self._aim is None else self._tally.run_time
        limited = limits.max_batch_size, limits.max_batch_cost, limits.max_wait
        terms = (*limited, run_time, self.closing, self.flushing, self._flushed_at)
        if terms != self._terms:
            self._terms = terms
            self._turns.reconsider()

    def enough(self) -> int:
        return 1  # of whichever key

    def _nearest(self) -> float:
        return math.inf if self._deadlines.nearest() == math.inf else cast("Group", self._line).nearest()

    def _first_due(self) -> Any:
        return None if self._deadlines.nearest() == math.inf else cast("Group", self._line).first_due()
