"""What one request costs: the overhead of asyncbatch and its peers, with a function that does nothing.

    python bench/overhead.py                                        half an hour
    python bench/overhead.py --quick                                one minute: few cases, nothing new installed or compiled
    python bench/overhead.py --peers asyncbatch,aiodataloader       these only, beside the floor

A batch pays off when the function gains more by it than each caller loses on the way into it and back. What the function
gains is its own affair; this measures the way: the CPU time of a request with 1 to 100,000 callers and in bursts of as many,
the cost of a list, the memory of a request that waits, and what is done while nobody calls; and the first of these for the
nearest of the peers on each Python that is supported and found.

Each figure comes from a process of its own (`one.py`), in an environment of the peer's own, with the newest release of the
peer. In each round all peers take their turns in each case. What is compared are ratios to the floor, which is measured
beside each of them, since on a shared machine microseconds differ from one second to the next; how far the floor's ratio to
itself is from 1 tells how far to trust the others. With ten thousand callers and more it is a floor no longer: it keeps all
of them in memory that is far from the core at once, where a library that answers 64 at a time meets them one by one.

A peer that fails in a case is reported as failed there, with the reason. To add one, copy a file in `peers/`.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from harness import chart, environments, report
from harness.environments import BENCH, ROOT, Environment, Failed
from harness.plan import ELSEWHERE, FLOOR, FULL, QUICK, Case, Plan, turns

MAX_BATCH_SIZE = 64
LIMIT = 120.0  # seconds for one measurement, which should take two

Rounds: TypeAlias = list[dict[str, dict[str, Any]]]  # for each round, the values of each peer


def main() -> None:
    options = arguments()
    plan = replace(QUICK if options.quick else FULL, **({"rounds": options.rounds} if options.rounds else {}))
    peers = options.peers or [name for name in environments.peers() if name not in plan.left_out]
    names = list(dict.fromkeys([FLOOR, *peers]))
    started = datetime.now(UTC)
    present, missing = install(names, newest=not options.quick)
    measured = measure(plan, plan.cases(), present)
    found = {
        "date": f"{started:%Y-%m-%d}",
        "settings": {"quick": options.quick, "max_batch_size": MAX_BATCH_SIZE, **asdict(plan)},
        "machine": report.machine(),
        "versions": {"python": platform.python_version(), **{name: each.versions for name, each in present.items()}},
        "peers": names,
        "missing": missing,
        "cases": measured,
        "pythons": [on(python, plan, names) for python in other_pythons()] if plan.few else [],
        "minutes": round((datetime.now(UTC) - started).total_seconds() / 60, 1),
    }
    report.write(found, options.json, chart.draw)
    print(report.tables(found))


def arguments() -> argparse.Namespace:
    known = list(environments.peers())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few cases, one short round")
    parser.add_argument("--rounds", type=int, help=f"{FULL.rounds} by default, {QUICK.rounds} with --quick")
    parser.add_argument("--peers", type=lambda names: names.split(","), default=[], help=f"of {','.join(known)}")
    parser.add_argument("--json", type=Path, default=BENCH / "results" / "overhead.json", metavar="FILE")
    options = parser.parse_args()
    options.json = report.place(options.json, quick=options.quick)
    if unknown := set(options.peers) - set(known):
        parser.error(f"no such file in bench/peers: {', '.join(sorted(unknown))}.py")
    return options


def other_pythons() -> list[str]:
    """Return where the supported versions of Python are, those that are found, but for the one that this is."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    versions = [each.rpartition(" ")[2] for each in classifiers if each.startswith("Programming Language :: Python :: 3.")]
    return list(environments.pythons(version for version in versions if version != own).values())


def on(python: str, plan: Plan, names: list[str]) -> dict[str, Any]:
    present, missing = install([name for name in names if name in ELSEWHERE], python)
    return {
        "python": environments.version(python),
        "versions": {name: each.versions for name, each in present.items()},
        "missing": missing,
        "cases": measure(plan, plan.cases_elsewhere(), present),
    }


def install(
    names: list[str], base: str = sys.executable, *, newest: bool = True
) -> tuple[dict[str, Environment], dict[str, str]]:
    peers = environments.peers()
    return environments.install({name: peers[name] for name in names}, base, newest=newest)


def measure(plan: Plan, cases: Iterable[Case], present: dict[str, Environment]) -> list[dict[str, Any]]:
    measured: dict[Case, Rounds] = {case: [] for case in cases}
    for number in range(plan.rounds):
        for case, rounds in measured.items():
            if number < case.rounds:
                report.say(f"round {number + 1} of {case.rounds}: {case.kind}, {case.loop}, N={case.size:,}")
                able = {name: each for name, each in present.items() if takes(name, case.kind)}
                rounds.append({name: one(name, each, case, plan) for name, each in turns(able, number)})
    return [report.summary(case, rounds) for case, rounds in measured.items()]


def takes(name: str, kind: str) -> bool:
    kinds = environments.kinds(name)
    return kind in kinds if kinds else kind != "replica"


def one(name: str, environment: Environment, case: Case, plan: Plan) -> dict[str, Any]:
    options = ("--loop", case.loop, "--size", case.size, "--seconds", plan.seconds, "--max-batch-size", MAX_BATCH_SIZE)
    try:
        values: dict[str, Any] = environment.json("one.py", name, case.kind, *options, timeout=LIMIT)
    except Failed as error:
        return {"failed": str(error)}
    return values


if __name__ == "__main__":
    main()
