"""Measure the trips of batches by the named carriers, in this process, and print one line of JSON.

`executors.py` runs this, with all carriers for some minutes, and says what is measured and why.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any

import numpy as np

from harness import batches
from one import factory

Carry = Callable[[list[Any]], Awaitable[Any]]

TURNS = 6
RANDOM = np.random.default_rng(1)
CASES: dict[str, tuple[str, list[Any]]] = {
    "integers": ("same", list(range(64))),
    "rows": ("double", [RANDOM.random(384, np.float32) for _ in range(64)]),
    "images": ("double", [RANDOM.random((3, 224, 224), np.float32) for _ in range(64)]),
}
BATCHES = 100  # of pure computation; the kernel needs a while to give each worker a core of its own
ENOUGH = 5  # trips a turn, though they take longer than was asked for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("carriers", nargs="+", help="names of files in bench/carriers")
    parser.add_argument("--last", nargs="*", default=[], help="those that are to wait until all others were measured")
    parser.add_argument("--seconds", type=float, default=1.0, help="about how long to measure each carrier and case")
    parser.add_argument("--quick", action="store_true", help="neither the images nor what two workers do")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=factory(options.loop)) as runner:
        print(json.dumps(runner.run(measure((options.carriers, options.last), options.seconds, quick=options.quick))))


async def measure(groups: Iterable[list[str]], seconds: float, *, quick: bool) -> dict[str, Any]:
    trips: dict[str, Any] = {case: {} for case in CASES if not (quick and case == "images")}
    speedup: dict[str, Any] = {}
    for names in filter(None, groups):
        modules = {name: importlib.import_module(f"carriers.{name}") for name in names}
        for case, values in trips.items():
            values.update(await beside(modules, *CASES[case], seconds))
        if not quick:
            speedup |= {name: await scaling(module) for name, module in modules.items() if hasattr(module, "SCALES")}
    return {"trips": trips, "speedup": speedup}


async def beside(modules: dict[str, Any], function: str, items: list[Any], seconds: float) -> dict[str, dict[str, float]]:
    async with AsyncExitStack() as stack:
        carries: dict[str, Carry] = {}
        for name, module in modules.items():
            carries[name] = await stack.enter_async_context(module.open(function, 1))
            await check(carries[name], function, items)
        times: dict[str, list[float]] = {name: [] for name in carries}
        busy = dict.fromkeys(carries, 0.0)
        for turn in range(TURNS):
            for name in [*carries][turn % len(carries) :] + [*carries][: turn % len(carries)]:
                start = time.process_time()
                times[name] += await repeat(carries[name], items, seconds / TURNS)
                busy[name] += time.process_time() - start
    return {name: summary(each, busy[name]) for name, each in times.items()}


def summary(times: list[float], busy: float) -> dict[str, float]:
    return {"least": min(times) * 1e6, "median": statistics.median(times) * 1e6, "cpu": busy / len(times) * 1e6}


async def repeat(carry: Carry, items: list[Any], seconds: float) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < ENOUGH:
        start = time.perf_counter()
        results = await carry(items)
        times.append(time.perf_counter() - start)
        del results
    return times


async def check(carry: Carry, function: str, items: list[Any]) -> None:
    """Raise if the results are wrong; the first trips also warm up."""
    expected = getattr(batches, function)(items)
    for _ in range(3):
        for ours, theirs in zip(await carry(items), expected, strict=True):
            if not np.array_equal(ours, theirs):
                raise ValueError("results came back otherwise than they should")


async def scaling(module: Any) -> dict[str, float]:
    """Let one worker and two take turns with the same batches; return the rates, and the best of their ratios."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    async with module.open("compute", 1) as one, module.open("compute", 2) as two:
        for carry in (one, two):
            await asyncio.gather(*(carry([1000]) for _ in range(8)))  # all workers are up
        for _ in range(TURNS):
            for workers, carry in ((1, one), (2, two)):
                start = time.perf_counter()
                await asyncio.gather(*(carry([200_000]) for _ in range(BATCHES)))
                rates[workers].append(BATCHES / (time.perf_counter() - start))
    return {"one": max(rates[1]), "two": max(rates[2]), "ratio": max(rates[2]) / max(rates[1])}


if __name__ == "__main__":
    main()
