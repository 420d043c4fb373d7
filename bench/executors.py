"""What the trip of one batch costs: to where the function runs and back, by asyncbatch and by others.

    nox -s bench -- executors                               about five minutes, once what is compared is installed
    nox -s bench -- executors --quick                       half a minute: neither the images nor two workers
    python bench/executors.py --carriers asyncbatch,loky    the same without nox: these only, beside the work in this process

A batch that runs elsewhere must not cost much more than the work itself. Three batches are measured: 64 small integers
that come back as they are, 64 rows of 384 float32 and 64 images of 3 x 224 x 224 float32 (38.5 MB), both stacked and then
doubled in place. What is compared is the time on the wall from having a list of items to having a list of results, one
batch after the other.

All carriers are open at once in one process, with one worker each, and take turns; what disturbs one disturbs those it is
compared to. Given are the least and the median of all turns, ratios of the leasts, and the CPU time of this process, in
all its threads, mean of all turns. `asyncbatch` is one call of `Batcher.map`; `asyncbatch_slot` is the executor alone, as
all others are. Then, what two workers do where one does 1, with a function that only computes. Those of Ray come after all
others, as its own processes disturb them. To add a carrier, copy a file in `carriers/`. The figures are those of a quiet
machine only if the `load` among them, the number of processes that ran as it began, is far below its `cpus`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import environments, report
from harness.environments import BENCH, Environment

LIMIT = 900.0  # seconds
TITLES = {"integers": "64 integers", "rows": "64 x 384 float32", "images": "64 x 3 x 224 x 224 float32"}
HERE = "here"  # the work in this process: what the images are compared to
POOL = "process_pool"  # what all are compared to
RAY = {"asyncbatch_ray", "ray_actor"}


def main() -> None:
    options = arguments()
    files = {file.stem for file in BENCH.glob("carriers/[!_]*.py")}
    if unknown := set(options.carriers or ()) - files:
        raise SystemExit(f"no such file in bench/carriers: {', '.join(sorted(unknown))}.py")
    names = files & {HERE, *options.carriers} if options.carriers else files
    environment = environments.prepare(
        (".", "numpy", "loky", "joblib", *(("ray",) if names & RAY else ())), newest=not options.quick
    )
    if not isinstance(environment, Environment):
        raise SystemExit(f"could not install what is compared: {environment}")
    seconds = 0.4 if options.quick else 6.0
    quick = ("--quick",) if options.quick else ()
    load = os.getloadavg()[0]
    carriers = (*sorted(names - RAY), "--last", *sorted(names & RAY))
    found = environment.json("trips.py", *carriers, "--seconds", seconds, *quick, "--loop", options.loop, timeout=LIMIT)
    found = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "settings": {"quick": options.quick, "seconds": seconds, "loop": options.loop},
        "machine": {**report.machine(), "load": load},
        "versions": {"python": platform.python_version(), **environment.versions},
        **found,
    }
    options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter turns, and neither the images nor two workers")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    parser.add_argument("--carriers", type=lambda names: names.split(","), help="names of files in bench/carriers")
    parser.add_argument("--json", type=Path, default=BENCH / "results" / "executors.json", metavar="FILE")
    options = parser.parse_args()
    options.json = report.place(options.json, quick=options.quick)
    return options


def table(found: dict[str, Any]) -> str:
    blocks = [_case(title, found["trips"][case]) for case, title in TITLES.items() if case in found["trips"]]
    speedups = [f"{name:18} x{values['ratio']:.2f}" for name, values in found["speedup"].items()]
    return "\n\n".join(
        [*blocks, "\n".join(["two workers, a function that only computes: batches done where one does 1", *speedups])]
    )


def _case(title: str, trips: dict[str, dict[str, float]]) -> str:
    lines = [
        f"{title}: us a batch, least, median and CPU here, and the least as a multiple of that of {POOL} and of the work {HERE}"
    ]
    for name, values in sorted(trips.items(), key=lambda pair: pair[1]["least"]):
        ratios = [values["least"] / trips[each]["least"] if each in trips else float("nan") for each in (POOL, HERE)]
        lines.append(
            f"{name:18}{values['least']:12,.0f}{values['median']:12,.0f}{values['cpu']:12,.0f}{ratios[0]:9.3f}{ratios[1]:9.2f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
