"""Whether callers who come over HTTP share their batches, where the function mostly waits: for a device, or another service.

    python bench/halves.py                   about four minutes

Callers who are answered together are back one after the other. A batch that begins with the first of them leaves the others to
the next one, and from then on two halves take turns. That costs what a batch costs however small it is, and gains that one half
is at work while the loop reads the requests of the other: which is better depends on the two.

So there are functions of three kinds, `FIXED + EACH * size`: one that is short for what the loop has to do, one about as long,
and one that is longer, each on the loop (an `async def` that awaits it), in a thread and in a process, beside a loop written by
hand, which begins with the first. The server is uvicorn on one core, and wrk on the other, with 16 and 64 connections, each
asking again as soon as it is answered. Given are medians of the rounds, in requests a second, and the 99th percentile.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from harness import environments, load, report, services
from harness.environments import BENCH, Environment
from harness.load import Case
from harness.plan import turns
from harness.processes import serve
from harness.services import Service

Key: TypeAlias = tuple[str, str, int]  # of which function, where it waits, and how many connections
Values: TypeAlias = dict[str, float]

FUNCTIONS = {"short": (0.0003, 0.00001), "middling": (0.001, 0.000015), "long": (0.004, 0.00001)}
PLACES = ("loop", "thread", "process", "hand")
CONNECTIONS = (16, 64)
START = ("-m", "uvicorn", "services._waiting:app", "--port", "{port}", "--no-access-log", "--no-proxy-headers")
BODY = "[0]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="a case; wrk takes whole ones")
    parser.add_argument("--json", type=Path, default=BENCH / "results" / "halves.json", metavar="FILE")
    options = parser.parse_args()
    load.find()
    made, missing = environments.install({"asyncbatch": services.known()["asyncbatch_asgi"].requirements})
    if missing:
        raise SystemExit(missing["asyncbatch"])
    rows = [row(*key, rounds) for key, rounds in rounds_of(made["asyncbatch"], options.rounds, options.seconds).items()]
    result = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "settings": {
            "rounds": options.rounds,
            "seconds": options.seconds,
            "max_batch_size": 64,
            "functions": FUNCTIONS,
        },
        "machine": report.machine(),
        "versions": {"python": platform.python_version(), "wrk": load.version()} | made["asyncbatch"].versions,
        "rows": rows,
    }
    report.write(result, options.json, None)
    print(table(rows))


def rounds_of(environment: Environment, rounds: int, seconds: int) -> dict[Key, list[Values]]:
    found: dict[Key, list[Values]] = defaultdict(list)
    for number in range(rounds):
        for name, function in FUNCTIONS.items():
            for place, _ in turns(dict.fromkeys(PLACES), number):
                report.say(f"round {number + 1} of {rounds}: {name}, {place}")
                for size, values in measure(environment, place, function, seconds):
                    found[name, place, size].append(values)
    return found


def measure(
    environment: Environment, place: str, function: tuple[float, float], seconds: int
) -> Iterator[tuple[int, Values]]:
    """Yield each number of connections, and what came of them."""
    fixed, each = map(str, function)
    service = Service("waiting", (), START, {"WHERE": place, "FIXED": fixed, "EACH": each}, "%s")
    pins = load.pins()
    with tempfile.TemporaryDirectory() as folder, serve(environment, service, pins["server"], BODY) as served:
        bodies = Path(folder, "bodies")
        bodies.write_text(f"{BODY}\n")
        run = partial(load.load, served, bodies=bodies, cpus=pins["wrk"], seed=0)
        for size in CONNECTIONS:
            run(Case("closed", size), seconds=1)
            yield size, run(Case("closed", size), seconds=seconds)


def row(name: str, place: str, size: int, rounds: list[Values]) -> dict[str, Any]:
    values = {of: report.spread(each[of] for each in rounds) for of in rounds[0]}
    return {"function": name, "place": place, "connections": size, **values}


def table(rows: list[dict[str, Any]]) -> str:
    cells = {(each["function"], each["connections"], each["place"]): each for each in rows}
    columns = [(name, size) for name in FUNCTIONS for size in CONNECTIONS]
    lines = ["| | " + " | ".join(f"{name}, {size}" for name, size in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for place in PLACES:
        values = [cells[name, size, place] for name, size in columns]
        shown = [f"{each['answered']['median']:,.0f} ({each['p99_ms']['median']:.1f})" for each in values]
        lines.append(f"| {place} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
