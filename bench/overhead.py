"""What one request costs: the overhead of asyncbatch and its peers, with a function that does nothing.

    python bench/overhead.py --quick                                about a minute, once the peers are installed
    python bench/overhead.py --peers asyncbatch,aiodataloader       these only, beside the floor

A batch pays off when the function gains more by it than each caller loses on the way into it and back. What the function
gains is its own affair; this measures the way: the CPU time of a request with 1 to 4,096 callers and in bursts of up to
100,000, the cost of a list, the memory of a request that waits, and what is done while nobody calls.

Each figure comes from a process of its own (`one.py`), in an environment of the peer's own, with the newest release of the
peer. In each round all peers take their turns in each case. What is compared are ratios to the floor, which is measured
beside each of them, since on a shared machine microseconds differ from one second to the next; how far the floor's ratio to
itself is from 1 tells how far to trust the others. To add a peer, copy a file in `peers/`.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from harness import chart, environments, report
from harness.environments import BENCH, Environment, Failed
from harness.plan import FLOOR, FULL, QUICK, Case, Plan

MAX_BATCH_SIZE = 64
LIMIT = 120.0  # seconds for one measurement, which should take two

Rounds: TypeAlias = list[dict[str, dict[str, Any]]]  # for each round, the values of each peer


def main() -> None:
    options = arguments()
    plan = replace(QUICK if options.quick else FULL, **({"rounds": options.rounds} if options.rounds else {}))
    names = list(dict.fromkeys([FLOOR, *options.peers]))
    started = datetime.now(UTC)
    present, missing = install(names)
    measured = measure(plan, present)
    found = {
        "date": f"{started:%Y-%m-%d}",
        "settings": {"quick": options.quick, "max_batch_size": MAX_BATCH_SIZE, **asdict(plan)},
        "machine": report.machine(),
        "versions": {"python": platform.python_version(), **{name: each.versions for name, each in present.items()}},
        "peers": names,
        "missing": missing,
        "cases": [report.summary(case, rounds) for case, rounds in measured.items()],
    }
    write(found, options.json)
    print(report.tables(found))


def arguments() -> argparse.Namespace:
    known = list(environments.peers())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer cases, two short rounds")
    parser.add_argument("--rounds", type=int, help=f"{FULL.rounds} by default, {QUICK.rounds} with --quick")
    parser.add_argument("--peers", type=lambda names: names.split(","), default=known, help=f"of {','.join(known)}")
    parser.add_argument("--json", type=Path, default=BENCH / "results" / "overhead.json", metavar="FILE")
    options = parser.parse_args()
    if unknown := set(options.peers) - set(known):
        parser.error(f"no such file in bench/peers: {', '.join(sorted(unknown))}.py")
    return options


def install(names: list[str]) -> tuple[dict[str, Environment], dict[str, str]]:
    """Return the environments of the peers that could be installed, and why the others could not."""
    peers = environments.peers()
    say(f"installing {', '.join(names)}")
    needed = list(dict.fromkeys(peers[name] for name in names))
    with ThreadPoolExecutor() as pool:
        made = dict(zip(needed, pool.map(environments.prepare, needed), strict=True))
    all_of = {name: made[peers[name]] for name in names}
    present = {name: each for name, each in all_of.items() if isinstance(each, Environment)}
    return present, {name: str(each) for name, each in all_of.items() if isinstance(each, Failed)}


def measure(plan: Plan, present: dict[str, Environment]) -> dict[Case, Rounds]:
    measured: dict[Case, Rounds] = defaultdict(list)
    for number in range(plan.rounds):
        for case in plan.cases():
            if number < case.rounds:
                say(f"round {number + 1} of {case.rounds}: {case.kind}, {case.loop}, N={case.size:,}")
                measured[case].append({name: one(name, each, case, plan) for name, each in turns(present, number)})
    return measured


def turns(present: dict[str, Environment], number: int) -> Iterator[tuple[str, Environment]]:
    # Another peer first in each round, as the first may find the machine otherwise than the last.
    peers = list(present.items())
    first = number % len(peers) if peers else 0
    yield from peers[first:] + peers[:first]


def one(name: str, environment: Environment, case: Case, plan: Plan) -> dict[str, Any]:
    options = ("--loop", case.loop, "--size", case.size, "--seconds", plan.seconds, "--max-batch-size", MAX_BATCH_SIZE)
    try:
        values: dict[str, Any] = environment.json("one.py", name, case.kind, *options, timeout=LIMIT)
    except Failed as error:
        return {"failed": str(error)}
    return values


def write(found: dict[str, Any], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n")
    say(f"wrote {file.name}")
    picture = file.with_suffix(".png")
    say(f"drew {picture.name}" if chart.draw(found, picture) else "no chart: matplotlib is not installed")


def say(word: str) -> None:
    print(word, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
