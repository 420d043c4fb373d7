"""Which cases are measured, and how often."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

FLOOR = "floor"  # the peer that all are compared to
LOOPS = ("asyncio",) if sys.platform == "win32" else ("uvloop", "asyncio")
FAST = LOOPS[0]
STEADY_ROUNDS = 3  # are enough for what hardly differs from one run to the next


@dataclass(frozen=True)
class Case:
    kind: str
    loop: str
    size: int
    rounds: int


@dataclass(frozen=True)
class Plan:
    """`rounds` times over all cases, and in each case over all peers: so what disturbs one disturbs those it is compared to.

    `callers` are measured on the `loops`, `tasks` on the fast one; each peer for about `seconds` in each case and round.
    """

    seconds: float
    rounds: int
    loops: tuple[str, ...]
    idle_loops: tuple[str, ...]
    callers: tuple[int, ...] = (1, 64, 1024, 4096)
    tasks: tuple[int, ...] = (64, 1000, 10_000, 20_000, 100_000)

    def cases(self) -> Iterator[Case]:
        for loop in self.loops:
            for size in self.callers:
                yield Case("closed", loop, size, self.rounds)
        for size in self.tasks:
            yield Case("burst", FAST, size, self.rounds)
        steady = min(self.rounds, STEADY_ROUNDS)
        yield Case("bulk", FAST, 100_000, steady)
        for loop in self.idle_loops:
            yield Case("idle", loop, 64, steady)
        yield Case("memory", "asyncio", 20_000, 1)


FULL = Plan(seconds=0.5, rounds=7, loops=LOOPS, idle_loops=LOOPS)
QUICK = Plan(seconds=0.1, rounds=2, loops=LOOPS[:1], idle_loops=("asyncio",), tasks=(64, 20_000))
