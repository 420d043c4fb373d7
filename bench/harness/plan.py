"""Which cases are measured, and how often."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

FLOOR = "floor"  # the peer that all are compared to
LOOPS = ("asyncio",) if sys.platform == "win32" else ("uvloop", "asyncio")
FAST = LOOPS[0]
ELSEWHERE = (FLOOR, "asyncbatch", "asyncbatch_compiled", "aiodataloader")


Who = TypeVar("Who")
What = TypeVar("What")


def turns(present: Mapping[Who, What], number: int) -> Iterator[tuple[Who, What]]:
    """Yield them all, another one first in each round, as the first may find the machine otherwise than the last."""
    entries = list(present.items())
    first = number % len(entries) if entries else 0
    yield from entries[first:] + entries[:first]


@dataclass(frozen=True)
class Case:
    kind: str
    loop: str
    size: int
    rounds: int


@dataclass(frozen=True)
class Plan:
    """So many `rounds` over all cases, and in each case over all peers: what disturbs one disturbs those it is compared to.

    Each peer is measured for about `seconds` in each case and round; `callers` on the `loops`, `tasks` and `many` of either
    on the fast one, and `few` callers on each other Python that is found, with the peers in `ELSEWHERE`. Who is
    `left_out` is measured if it is asked for by name.
    """

    seconds: float
    rounds: int
    loops: tuple[str, ...]
    idle_loops: tuple[str, ...]
    callers: tuple[int, ...] = (1, 64, 1024, 4096)
    tasks: tuple[int, ...] = (1000, 20_000)
    many: tuple[int, ...] = (100_000,)
    items: int = 100_000
    waiting: int = 20_000
    replica: tuple[int, ...] = (1024,)
    few: tuple[int, ...] = (64, 1024)
    left_out: tuple[str, ...] = ()

    def cases(self) -> Iterator[Case]:
        steady = (self.rounds + 1) // 2  # for what differs less from one run to the next, or takes long
        for loop in self.loops:
            yield from (Case("closed", loop, size, self.rounds) for size in self.callers)
        yield from (Case("closed", FAST, size, steady) for size in self.many)
        yield from (Case("burst", FAST, size, self.rounds) for size in self.tasks)
        yield from (Case("burst", FAST, size, steady) for size in self.many)
        yield Case("bulk", FAST, self.items, steady)
        yield from (Case("idle", loop, 64, steady) for loop in self.idle_loops)
        yield Case("memory", "asyncio", self.waiting, steady)
        yield from (Case("replica", "asyncio", size, steady) for size in self.replica)

    def cases_elsewhere(self) -> Iterator[Case]:
        for loop in self.loops:
            yield from (Case("closed", loop, size, self.rounds) for size in self.few)


FULL = Plan(seconds=0.25, rounds=3, loops=LOOPS, idle_loops=LOOPS)
QUICK = Plan(
    seconds=0.06,
    rounds=1,
    loops=LOOPS[:1],
    idle_loops=(),
    callers=(64, 1024),
    tasks=(5000,),
    many=(),
    items=5000,
    waiting=5000,
    replica=(),
    few=(),
    left_out=("asyncbatch_compiled",),  # as it is compiled anew each time, for a minute
)
