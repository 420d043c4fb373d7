"""How batches are formed in real time: what bench/formation.py finds on the virtual clock, checked on this machine.

    python bench/live.py            about five minutes; nothing else should run meanwhile

The function sleeps for fixed + each * size on the event loop. Callers come by a generator that never lets the loop sleep, as
its timers would then be a millisecond late, and batches are timed: a line through those times is what the exact law is
computed of. So what is compared is how batches are formed, not how well a machine sleeps.

- law: the default rule, as ratios to the exact law.
- closed: callers who come back at once, or within 0.1 to 0.6 ms; as a share of the rate if all of them shared each batch.
- goodput: callers answered within 50 ms under `LatencyObjective(0.05)`, at 1.2 and 2 times what can be served.
- cost: batches for 1,000 items under `CostObjective(0.05)`, and who is answered within 50 ms, and 51.
- policy: CPU seconds that an objective adds to those of the default rule; a batch, and an item.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from formation import BENCH, POINTS, digits, line, ms, percent, table
from harness import report

import references
from asyncbatch import Batcher, CostObjective, LatencyObjective
from asyncbatch.simulate import poisson

Json = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--seconds", type=float, default=8, help="how long each point runs")
    parser.add_argument("--json", type=Path, default=BENCH / "results" / "live.json", metavar="FILE")
    options = parser.parse_args()
    found = json.loads(options.json.read_text()) if options.json.exists() else {}
    found |= {"machine": report.machine(), "versions": {"python": platform.python_version()}}
    for part in options.only:
        rows = found[part] = [*PARTS[part](options.seconds)]
        print(table(part, rows), end="\n\n", flush=True)
        options.json.write_text(json.dumps(found, indent=1) + "\n")


class Service:
    """A batcher in front of a function that sleeps, and what its callers and its batches saw."""

    def __init__(self, seconds: Callable[[int], float], **settings: Any) -> None:
        self.latencies: list[float] = []
        self.refused = 0
        self.batches: list[tuple[int, float]] = []
        self._seconds = seconds
        self._settings = settings

    async def _function(self, items: list[Any]) -> list[Any]:
        began = time.perf_counter()
        await asyncio.sleep(self._seconds(len(items)))
        self.batches.append((len(items), time.perf_counter() - began))
        return items

    async def serve(self, arrivals: list[float]) -> None:
        async with Batcher(self._function, **self._settings) as batcher:
            began, futures = time.perf_counter(), []
            for at in arrivals:
                while (now := time.perf_counter()) < began + at:
                    await asyncio.sleep(0)
                future = batcher.submit(None)
                future.add_done_callback(partial(self._answered, now))
                futures.append(future)
            while not all(future.done() for future in futures):
                await asyncio.sleep(0)

    def _answered(self, since: float, future: asyncio.Future[Any]) -> None:
        if future.exception() is None:
            self.latencies.append(time.perf_counter() - since)
        else:
            self.refused += 1

    def goodput(self, within: float) -> float:
        return sum(latency <= within for latency in self.latencies) / (len(self.latencies) + self.refused)


def serve(arrivals: list[float], seconds: Callable[[int], float], **settings: Any) -> Service:
    service = Service(seconds, **settings)
    asyncio.run(service.serve(arrivals))
    return service


def law(duration: float) -> Iterator[Json]:
    for fixed, each, most, load in POINTS:
        seconds = partial(line, fixed, each)
        rate = load * most / seconds(most)
        count = max(int(rate * duration), 50_000 if load == 0.9 else 0)  # such a queue forgets slowly
        service = serve([*poisson(rate, count, seed=1)], seconds, max_batch_size=most)
        sizes, took = np.array(service.batches).T
        slope, offset = (
            np.polyfit(sizes, took, 1) if sizes.std() > 0.3 else (each / 1000, (took - each / 1000 * sizes).mean())
        )
        exact = references.work_conserving(rate, lambda size: offset + slope * size, most, (0.99,))
        mean, p99 = np.mean(service.latencies), np.quantile(service.latencies, 0.99)
        yield {
            "fixed_ms": fixed, "each_ms": each, "max_batch_size": most, "load": load, "mean_ms": ms(mean), "p99_ms": ms(p99),
            "batch_size": digits(sizes.mean()), "mean_to_exact": digits(mean / exact.mean),
            "p99_to_exact": digits(p99 / exact.quantiles[0.99]), "batch_size_to_exact": digits(sizes.mean() / exact.mean_batch_size),
        }  # fmt: skip


def closed(duration: float) -> Iterator[Json]:
    for callers in (8, 32):
        for name, low, high in (("0", 0.0, 0.0), ("U(0.1, 0.6) ms", 1e-4, 6e-4)):
            rate = asyncio.run(_loops(callers, low, high, duration))
            ideal = callers / (line(10, 0.2, callers) + (low + high) / 2)
            yield {"callers": callers, "thinking": name, "rate": round(rate), "to_ideal": digits(rate / ideal)}


async def _loops(callers: int, low: float, high: float, duration: float) -> float:
    done, dice, clock = 0, random.Random(1), time.perf_counter

    async def function(items: list[Any]) -> list[Any]:
        await asyncio.sleep(line(10, 0.2, len(items)))
        return items

    async def call_again(ends: float) -> None:
        nonlocal done
        while clock() < ends:
            await batcher(None)
            done += 1
            until = clock() + dice.uniform(low, high)
            while clock() < until:
                await asyncio.sleep(0)

    async def keep_awake(ends: float) -> None:
        while clock() < ends:
            await asyncio.sleep(0)

    async with Batcher(function) as batcher:
        ends = clock() + duration
        await asyncio.gather(keep_awake(ends), *[call_again(ends) for _ in range(callers)])
    return done / duration


def goodput(duration: float) -> Iterator[Json]:
    seconds = partial(line, 10, 0.2)
    for load in (0.9, 1.2, 2.0):
        arrivals = [*poisson(load * 1951, int(load * 1951 * duration), seed=1)]
        service = serve(arrivals, seconds, policy=LatencyObjective(0.05))
        best = references.clairvoyant(arrivals, seconds, 32, 0.05)
        row = {"load": load, "clairvoyant": percent(best), "within_50_ms": percent(service.goodput(0.05))}
        yield {**row, "within_51_ms": percent(service.goodput(0.051))}


def cost(duration: float) -> Iterator[Json]:
    for rate in (39, 195, 390):
        service = serve([*poisson(rate, int(rate * duration), seed=1)], partial(line, 10, 0.2), policy=CostObjective(0.05))
        row = {"rate": rate, "batches_per_1000": round(1000 * len(service.batches) / len(service.latencies))}
        yield {**row, "within_50_ms": percent(service.goodput(0.05)), "within_51_ms": percent(service.goodput(0.051))}


def policy(duration: float) -> Iterator[Json]:
    rules = {"default": None, "latency_objective": LatencyObjective(30.0), "cost_objective": CostObjective(30.0)}
    for callers in (1, 64):
        row: Json = {"callers": callers}
        for name, rule in rules.items():
            row[name] = min(asyncio.run(_cpu(callers, rule)) for _ in range(5))
        row |= {f"{name}_adds_us_a_batch": digits((row[name] - row["default"])) for name in rules if rule is not None}
        yield {key: digits(value) for key, value in row.items()}


async def _cpu(callers: int, rule: Any, batches: int = 4000) -> float:
    async def function(items: list[Any]) -> list[Any]:
        return items

    async def call_again(times: int) -> None:
        for _ in range(times):
            await batcher(None)

    async with Batcher(function, max_batch_size=callers, policy=rule) as batcher:
        await asyncio.gather(*[call_again(200) for _ in range(callers)])
        began = time.process_time()
        await asyncio.gather(*[call_again(batches) for _ in range(callers)])
        return 1e6 * (time.process_time() - began) / batches


PARTS: dict[str, Callable[[float], Iterator[Json]]] = {
    "law": law, "closed": closed, "goodput": goodput, "cost": cost, "policy": policy
}  # fmt: skip

if __name__ == "__main__":
    main()
