"""How each peer forms batches: what callers wait, and how many are answered in time, under the same recorded arrivals.

    python bench/in_time.py --quick     about twenty seconds, once the peers are installed
    python bench/in_time.py             about five minutes

It is the peer's own code that runs, in an environment of its own and on a clock that jumps, so that no machine is in the
figures: what differs from one run to the next is the peers' releases. A batch of b takes fixed + each * b, one at a time.
What a peer computes takes no time here; `overhead.py` measures that.

- fill: 80 callers 5 ms apart, at most 16 a batch, 10 ms of waiting, 100 ms a batch: how many batches, and the longest wait.
- latency: Poisson arrivals at a share of what can be served, beside the exact law of a server that never waits.
- goodput: the share of callers answered within an objective, beside the best that one could do who knows all arrivals
  beforehand. Poisson, in bursts, and through a day pressed into seconds. Who gets no answer waits for ever.
- live: some of that in real time, to see that the clock that jumps does no peer wrong.

Latencies are of those who came after the first 500, with whom those who learn have learnt; all count in the goodput.
Each peer runs as it comes, which where it has to wait is with 2 ms; those that can be told are also told to wait 10 ms, and
of the objective. Dataloaders run any number of batches at once, so a lock keeps them apart. Left out are peers whose batches
are those of another here, and threads, which no clock of ours rules.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from formation import BENCH, SCENARIOS, line
from harness import environments, formed, formed_chart, report
from harness.environments import Environment, Failed
from overhead import install

import references
from asyncbatch.simulate import bursts, poisson

Json: TypeAlias = dict[str, Any]

SAME = {f"asyncbatch_{way}" for way in ("bounded", "compiled", "decorated", "submit")}  # batches as those of asyncbatch
LEFT_OUT = {"floor", "queue_floor", "batched_threads", *SAME}
LIMIT = 300.0  # seconds for one peer and one part
WAIT = 0.01  # seconds
LEARNT = 500  # callers
# fixed and each in ms, largest batch, share of what can be served
POINTS = [(2, 0.05, 8, 0.5), (5, 0.1, 16, 0.7), (10, 0.2, 32, 0.1), (10, 0.2, 32, 0.8), (20, 0.5, 64, 0.7)]
LOADS = {"Poisson": (0.5, 0.9, 1.2, 2.0), "bursts": (0.3, 0.6, 1.0, 1.5), "a day": (0.3, 0.5, 0.8, 1.2)}
PARTS = ("fill", "latency", "goodput", "live")
CPUS = os.cpu_count() or 1


def main() -> None:
    options = arguments()
    started = datetime.now(UTC)
    present, missing = install(options.peers, newest=not options.quick)
    known = {name: each for name, each in present.items() if not environments.kinds(name)}  # the others are for real time
    with TemporaryDirectory() as folder:
        plan = quick if options.quick else full
        cells = [cell for cell in plan(Path(folder)) if cell["part"] in options.only]
        rows = measure(cells, known)
        report.say("the exact references")
        exact = bounds(cells)
        live = measure([each for each in cells if each["part"] == "live"], present, live=True)
    found = {
        "date": f"{started:%Y-%m-%d}",
        "settings": {"quick": options.quick, "max_wait": WAIT, "arrivals": max(each["count"] for each in cells)},
        "machine": report.machine(),
        "versions": {"python": platform.python_version(), **{name: each.versions for name, each in present.items()}},
        "missing": missing,
        **formed.summary(cells, rows, exact, live),
    }
    report.write(found, options.json, formed_chart.draw if "goodput" in options.only else None)
    print(formed.tables(found))


def arguments() -> argparse.Namespace:
    known = [name for name in environments.peers() if name not in LEFT_OUT]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few cells, short, none in real time")
    parser.add_argument("--peers", type=lambda names: names.split(","), default=known, help=f"of {','.join(known)}")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--json", type=Path, default=BENCH / "results" / "in_time.json", metavar="FILE")
    options = parser.parse_args()
    options.json = report.place(options.json, quick=options.quick)
    if unknown := set(options.peers) - set(known):
        parser.error(f"not measured here: {', '.join(sorted(unknown))}")
    return options


# What is measured: a cell is one trace of arrivals for one function.


def full(folder: Path) -> Iterator[Json]:
    yield fill(folder, "fill")
    for point in POINTS:
        for seed in (1, 2):
            yield latency(folder, point, seed, 8000)
    for scenario, count in (("A", 6000), ("C", 3000), ("D", 4000)):  # seconds of each
        for traffic, loads in LOADS.items():
            for load in loads:
                for seed in (1, 2):
                    yield goodput(folder, scenario, traffic, load, seed, count)
    yield fill(folder, "live")
    for load in (0.9, 1.5):
        yield goodput(folder, "A", "Poisson", load, 3, 2000, part="live")


def quick(folder: Path) -> Iterator[Json]:
    yield fill(folder, "fill")
    yield latency(folder, POINTS[3], 1, 5000)
    for traffic, load in (("Poisson", 0.9), ("Poisson", 1.5), ("bursts", 0.6), ("a day", 0.8)):
        yield goodput(folder, "A", traffic, load, 1, 3000)


def fill(folder: Path, part: str) -> Json:
    function = {"fixed": 0.1, "each": 0.0, "max_batch_size": 16}
    return recorded(folder, {"part": part, "name": f"{part} fill", **function}, [0.005 * number for number in range(80)])


def latency(folder: Path, point: tuple[float, float, int, float], seed: int, count: int) -> Json:
    fixed, each, most, load = point
    rate = load * most / line(fixed, each, most)
    cell = {"part": "latency", "name": f"latency {fixed} {load} {seed}", "load": load, "rate": rate, "max_batch_size": most}
    return recorded(folder, cell | in_seconds(fixed, each) | {"learnt": LEARNT}, [*poisson(rate, count, seed)])


def goodput(folder: Path, scenario: str, traffic: str, load: float, seed: int, count: int, part: str = "goodput") -> Json:
    fixed, each, most, objective, base = SCENARIOS[scenario]
    cell = {"part": part, "name": f"{part} {scenario} {traffic} {load} {seed}", "scenario": scenario, "traffic": traffic}
    cell |= {"load": load, "max_batch_size": most, "objective": objective / 1000, "learnt": LEARNT}
    return recorded(folder, cell | in_seconds(fixed, each), [*TRAFFIC[traffic](load * base, count, seed)])


def in_seconds(fixed: float, each: float) -> Json:
    return {"fixed": fixed / 1000, "each": each / 1000}


def recorded(folder: Path, cell: Json, arrivals: list[float]) -> Json:
    file = folder / f"{cell['name']}.json"
    file.write_text(json.dumps(arrivals))
    return {**cell, "max_wait": WAIT, "arrivals": str(file), "count": len(arrivals)}


def a_day(rate: float, count: int, seed: int) -> Iterator[float]:
    """Yield `count` times of arrival, from midnight to midnight of a day at whose noon 1.8 times the mean rate comes."""
    dice, day = random.Random(seed), count / rate
    times = (dice.uniform(0, day) for _ in iter(int, 1))
    taken = (at for at in times if dice.uniform(0, 1.8) < 1 - 0.8 * math.cos(2 * math.pi * at / day))
    yield from sorted(next(taken) for _ in range(count))


TRAFFIC: dict[str, Callable[[float, int, int], Iterator[float]]] = {"Poisson": poisson, "bursts": bursts, "a day": a_day}


# Measuring.


def measure(cells: list[Json], present: dict[str, Environment], *, live: bool = False) -> list[Json]:
    """Return what each peer did in each cell: in time that jumps several may run at once without harm to any."""
    report.say(f"{len(cells)} traces of arrivals, in {'real' if live else 'virtual'} time")
    parts = [[*some] for _, some in groupby(cells, job)]
    jobs = [(*peer, part) for part in parts for peer in present.items()]
    with ThreadPoolExecutor(CPUS) as pool, TemporaryDirectory() as folder:
        files = [Path(folder, str(number)) for number in range(len(jobs))]
        done = pool.map(lambda job, file: drive(*job, file, live=live), jobs, files)
        return [row for rows in done for row in rows]


def job(cell: Json) -> tuple[str, str]:
    return cell["part"], cell.get("scenario", "")


def drive(peer: str, environment: Environment, cells: list[Json], file: Path, *, live: bool) -> list[Json]:
    file.write_text(json.dumps(cells))
    try:
        rows: list[Json] = environment.json("drive.py", peer, file, *(["--live"] if live else []), timeout=LIMIT)
    except Failed as error:
        return [{"cell": cell["name"], "peer": peer, "failed": str(error)} for cell in cells]
    return rows


def bounds(cells: list[Json]) -> dict[str, Json]:
    with ProcessPoolExecutor(CPUS) as pool:
        return dict(zip((cell["name"] for cell in cells), pool.map(bound, cells), strict=True))


def bound(cell: Json) -> Json:
    """Return what is exactly known of a cell."""
    seconds, most = partial(_seconds, cell["fixed"], cell["each"]), cell["max_batch_size"]
    if "objective" in cell:
        arrivals = json.loads(Path(cell["arrivals"]).read_text())
        return {"clairvoyant": references.clairvoyant(arrivals, seconds, most, cell["objective"])}
    if "rate" in cell:
        law = references.work_conserving(cell["rate"], seconds, most, (0.5, 0.99))
        return {"mean": law.mean, "p50": law.quantiles[0.5], "p99": law.quantiles[0.99]}
    return {}


def _seconds(fixed: float, each: float, size: int) -> float:
    return fixed + each * size


if __name__ == "__main__":
    main()
