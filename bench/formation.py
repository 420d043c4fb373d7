"""How batches are formed: latency and goodput of the real batcher on the virtual clock, beside what is exactly optimal.

    python bench/formation.py                   some twenty minutes
    python bench/formation.py --only law cost   these only

Time is virtual, so that no machine is in the figures: the same on any, and again on the next run. `bench/live.py` checks
some of them in real time. A batch of b takes fixed + each * b; callers come by themselves (Poisson, or in bursts: three
times the rate for a quarter of the time) unless it says closed loop.

- law: the default rule, beside the exact law of a work-conserving server: mean, p99 and batch size, as ratios.
- closed: callers who come again some time after each answer, as a share of the rate if all of them shared each batch;
  and what that would be without lingering for them.
- goodput: under an objective, the share of callers answered within it; beside the default rule, a fixed wait of 5 ms with and
  without a timeout, and the exact best that one could do who knows all arrivals beforehand.
- learning: the same where batches do not take what they took before.
- cost: batches that CostObjective makes for 1,000 items, and who is answered in time.
- stable: the default rule and a wait of 10 ms at the rates at which queues whose timer closes batches while the slot is busy
  grow without end.

The exact references are in tests/references.py.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

BENCH = Path(__file__).parent
sys.path.append(str(BENCH.parent / "tests"))

import references
from asyncbatch import CostObjective, LatencyObjective
from asyncbatch.simulate import bursts, closed_loop, poisson, simulate

Json = dict[str, Any]

# fixed and each in ms, largest batch, share of the capacity that is asked for
POINTS = [
    *[(2, 0.05, 8, load) for load in (0.1, 0.5, 0.9)],
    *[(5, 0.1, 16, load) for load in (0.3, 0.7)],
    *[(10, 0.2, 32, load) for load in (0.1, 0.5, 0.8, 0.9)],
    *[(20, 0.5, 64, load) for load in (0.3, 0.7, 0.9)],
]
# fixed and each in ms, largest batch, objective in ms, the rate that load 1 is
SCENARIOS = {
    "A": (10, 0.2, 32, 50, 1951),
    "B": (10, 0.2, 32, 30, 1667),
    "C": (20, 0.5, 64, 60, 667),
    "D": (2, 0.5, 16, 20, 1600),
}
TRAFFIC = {"poisson": (poisson, (0.5, 0.9, 1.1, 1.5, 2.5)), "bursts": (bursts, (0.3, 0.6, 1.0, 1.5))}
THINKING: dict[str, Callable[[random.Random], float]] = {
    "0": lambda dice: 0.0,
    "20 us": lambda dice: 2e-5,
    "U(0.1, 0.6) ms": lambda dice: dice.uniform(1e-4, 6e-4),
    "Exp 2 ms": lambda dice: dice.expovariate(500),
    "Exp 20 ms": lambda dice: dice.expovariate(50),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--json", type=Path, default=BENCH / "results" / "formation.json", metavar="FILE")
    options = parser.parse_args()
    found = json.loads(options.json.read_text()) if options.json.exists() else {}
    found["versions"] = {"python": platform.python_version()}
    for part in options.only:
        rows = found[part] = [*PARTS[part]()]
        print(table(part, rows), end="\n\n", flush=True)
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def line(fixed: float, each: float, size: int) -> float:
    return (fixed + each * size) / 1000


def law() -> Iterator[Json]:
    for fixed, each, most, load in POINTS:
        seconds = partial(line, fixed, each)
        rate = load * most / seconds(most)
        count = 400_000 if load == 0.9 else 60_000  # a long queue forgets slowly
        seen = simulate(poisson(rate, count, seed=1), seconds, max_batch_size=most)
        exact = references.work_conserving(rate, seconds, most, (0.99,))
        yield {
            "fixed_ms": fixed, "each_ms": each, "max_batch_size": most, "load": load, "rate": round(rate, 1), "items": count,
            "mean_ms": ms(seen.mean), "p99_ms": ms(seen.quantile(0.99)), "batch_size": digits(seen.mean_batch_size),
            "mean_to_exact": digits(seen.mean / exact.mean), "p99_to_exact": digits(seen.quantile(0.99) / exact.quantiles[0.99]),
            "batch_size_to_exact": digits(seen.mean_batch_size / exact.mean_batch_size),
        }  # fmt: skip


def closed() -> Iterator[Json]:
    seconds = partial(line, 10, 0.2)
    for callers in (2, 8, 32):
        for name, thinking in THINKING.items():
            pause = sum(map(thinking, map(random.Random, range(2000)))) / 2000
            ideal = callers / (seconds(callers) + pause)
            rate, without = (
                closed_loop(callers, thinking, seconds, duration=30, max_batch_size=32, policy=policy).rate
                for policy in (None, lambda outlook: 0.0)
            )
            row = {"callers": callers, "thinking": name, "rate": round(rate), "to_ideal": digits(rate / ideal)}
            yield {**row, "never_lingering_to_ideal": digits(without / ideal)}


def goodput() -> Iterator[Json]:
    rules: dict[str, Callable[[float], Json]] = {
        "objective": lambda objective: {"policy": LatencyObjective(objective)},
        "default": lambda objective: {},
        "wait_5_ms": lambda objective: {"max_wait": 0.005},
        "wait_5_ms_and_timeout": lambda objective: {"max_wait": 0.005, "timeout": objective},
    }
    for scenario, (fixed, each, most, objective_ms, base) in SCENARIOS.items():
        seconds, objective = partial(line, fixed, each), objective_ms / 1000
        for traffic, (generate, loads) in TRAFFIC.items():
            for load in loads:
                traces = [[*generate(load * base, 12_000, seed)] for seed in (1, 2)]
                best = [references.clairvoyant(arrivals, seconds, most, objective) for arrivals in traces]
                row = {"scenario": scenario, "traffic": traffic, "load": load, "clairvoyant": percent(sum(best) / 2)}
                for rule, settings in rules.items():
                    seen = [simulate(each, seconds, max_batch_size=most, **settings(objective)) for each in traces]
                    row[rule] = percent(sum(each.goodput(objective) for each in seen) / 2)
                yield {**row, "to_clairvoyant": digits(row["objective"] / row["clairvoyant"])}


def learning() -> Iterator[Json]:
    loads = (0.5, 0.8, 0.95, 1.2, 2.0)
    for name, service in SERVICES.items():
        row: Json = {"batches": name}
        for load in loads if name != "half as fast again from the middle on" else (0.3, 0.5, 0.6, 0.8, 1.2):
            seen = [
                simulate(
                    poisson(load * 1951, 20_000, seed), service(random.Random(seed)), max_batch_size=32, policy=LatencyObjective(0.05)
                ).goodput(0.05)
                for seed in (1, 2, 3)
            ]  # fmt: skip
            row[str(load)] = percent(sum(seen) / len(seen))
        yield row


def _steady(dice: random.Random) -> Callable[[int], float]:
    return partial(line, 10, 0.2)


def _scattered(spread: float, dice: random.Random) -> Callable[[int], float]:
    width = math.sqrt(math.log(1 + spread**2))
    return lambda size: line(10, 0.2, size) * dice.lognormvariate(-(width**2) / 2, width)


def _straggling(dice: random.Random) -> Callable[[int], float]:
    return lambda size: line(10, 0.2, size) * dice.gauss(1, 0.05) * (4 if dice.random() < 0.01 else 1)


def _warming_up(dice: random.Random) -> Callable[[int], float]:
    first = iter([50] * 5)
    return lambda size: line(10, 0.2, size) * next(first, 1)


def _in_steps(dice: random.Random) -> Callable[[int], float]:
    return lambda size: line(10, 0.2, 1 << (size - 1).bit_length())


def _slower_later(dice: random.Random) -> Callable[[int], float]:
    served = 0

    def seconds(size: int) -> float:
        nonlocal served
        served += size
        return line(10, 0.2, size) * (1.5 if served > 10_000 else 1)

    return seconds


SERVICES: dict[str, Callable[[random.Random], Callable[[int], float]]] = {
    "always the same": _steady,
    "scattered by 10 %": partial(_scattered, 0.1),
    "scattered by 30 %": partial(_scattered, 0.3),
    "by 5 %, and 1 % take four times as long": _straggling,
    "half as fast again from the middle on": _slower_later,
    "the first five take fifty times as long": _warming_up,
    "sizes padded to powers of two": _in_steps,
}


def cost() -> Iterator[Json]:
    for fixed, each, most, objective, rates in (
        (10, 0.2, 32, 0.05, (39, 98, 195, 390, 976)),
        (10, 0.2, 32, 0.1, (98,)),
        (20, 0.5, 64, 0.2, (62,)),
    ):
        for rate in rates:
            row: Json = {
                "fixed_ms": fixed,
                "each_ms": each,
                "max_batch_size": most,
                "objective_ms": objective * 1000,
                "rate": rate,
            }
            for name, policy in (("default", None), ("cost_objective", CostObjective(objective))):
                seen = simulate(
                    poisson(rate, 12_000, seed=1), partial(line, fixed, each), max_batch_size=most, policy=policy
                )
                row[name] = {
                    "batches_per_1000": round(len(seen.sizes) / 12), "busy_s_per_1000": digits(seen.busy / 12),
                    "in_time": percent(seen.goodput(objective)), "mean_ms": ms(seen.mean), "p99_ms": ms(seen.quantile(0.99)),
                }  # fmt: skip
            yield row


def stable() -> Iterator[Json]:
    seconds = partial(line, 20, 0.5)
    for rate in (119, 492, 985):
        exact = references.work_conserving(rate, seconds, 64)
        row: Json = {"rate": rate, "exact_mean_ms": ms(exact.mean)}
        for wait in (0, 0.01):
            seen = simulate(poisson(rate, 100_000, seed=1), seconds, max_batch_size=64, max_wait=wait)
            row[f"mean_ms_wait_{wait * 1000:.0f}_ms"] = ms(seen.mean)
        yield row


def ms(seconds: float) -> float:
    return digits(seconds * 1000)


def digits(value: float) -> float:
    return float(f"{value:.4g}")


def percent(share: float) -> float:
    return round(100 * share, 2)


def table(part: str, rows: list[Json]) -> str:
    flat = [
        {
            **row,
            **{
                f"{name} {key}": inner
                for name, value in row.items()
                if isinstance(value, dict)
                for key, inner in value.items()
            },
        }
        for row in rows
    ]
    heads = list(dict.fromkeys(key for row in flat for key, value in row.items() if not isinstance(value, dict)))
    cells = [heads, *[[str(row.get(head, "")) for head in heads] for row in flat]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join([part, *["  ".join(map(str.rjust, row, widths)) for row in cells]])


PARTS: dict[str, Callable[[], Iterator[Json]]] = {
    "law": law, "closed": closed, "goodput": goodput, "learning": learning, "cost": cost, "stable": stable
}  # fmt: skip

if __name__ == "__main__":
    main()
