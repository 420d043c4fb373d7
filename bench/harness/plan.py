"""Which cases are measured, and how often."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

FLOOR = "floor"  # the peer that all are compared to
LOOPS = ("asyncio",) if sys.platform == "win32" else ("uvloop", "asyncio")
FAST = LOOPS[0]


@dataclass(frozen=True)
class Case:
    kind: str
    loop: str
    size: int
    rounds: int


@dataclass(frozen=True)
class Plan:
    """So many `rounds` over all cases, and in each case over all peers: what disturbs one disturbs those it is compared to.

    Each peer is measured for about `seconds` in each case and round; `callers` on the `loops`, `tasks` on the fast one.
    """

    seconds: float
    rounds: int
    loops: tuple[str, ...]
    idle_loops: tuple[str, ...]
    callers: tuple[int, ...] = (1, 64, 1024, 4096)
    tasks: tuple[int, ...] = (64, 1000, 10_000, 20_000, 100_000)
    items: int = 100_000
    waiting: int = 20_000

    def cases(self) -> Iterator[Case]:
        for loop in self.loops:
            for size in self.callers:
                yield Case("closed", loop, size, self.rounds)
        for size in self.tasks:
            yield Case("burst", FAST, size, self.rounds)
        steady = (self.rounds + 1) // 2  # what follows differs less from one run to the next, or takes long
        yield Case("bulk", FAST, self.items, steady)
        for loop in self.idle_loops:
            yield Case("idle", loop, 64, steady)
        yield Case("memory", "asyncio", self.waiting, steady)


FULL = Plan(seconds=0.4, rounds=5, loops=LOOPS, idle_loops=LOOPS)
QUICK = Plan(
    seconds=0.08,
    rounds=2,
    loops=LOOPS[:1],
    idle_loops=("asyncio",),
    callers=(1, 64, 1024),
    tasks=(20_000,),
    items=20_000,
    waiting=5000,
)
