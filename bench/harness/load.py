"""One run of wrk against a service: what came back, how soon, and what it cost the server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .environments import Failed
from .processes import Served

SCRIPT = Path(__file__).with_name("load.lua")
TIMEOUT = 5  # seconds; what is answered later counts as an error
ENOUGH = 0.9  # of the rate that is asked for
CONNECTIONS = 512  # at a rate: as many requests as can be under way


@dataclass(frozen=True)
class Case:
    """So many connections in a closed loop, or so many requests a second whatever the server does."""

    kind: str  # "closed" or "open"
    size: int


def find() -> None:
    if shutil.which("wrk") is None:
        raise SystemExit("the load comes from wrk, which was not found: it is a package of Debian, `apt-get install wrk`")


def version() -> str:
    said = subprocess.run(("wrk", "-v"), capture_output=True, encoding="utf-8").stdout
    return (re.findall(r"\d[\d.]*\d", said) or ["unknown"])[0]


def pins() -> dict[str, set[int]]:
    """Return the cores of wrk, and those of the server: apart from each other, if there are two."""
    first, *others = sorted(os.sched_getaffinity(0))
    return {"wrk": {first}, "server": set(others or [first])}


def rising(cases: Iterable[Case], measure: Callable[[Case], dict[str, float]]) -> Iterator[tuple[Case, dict[str, float]]]:
    """Measure the cases, but none at a higher rate than the first that was too much for the server."""
    for case in cases:
        values = measure(case)
        yield case, values
        if case.kind == "open" and values["answered"] < ENOUGH * case.size:
            return


def load(served: Served, case: Case, bodies: Path, seconds: int, cpus: set[int], seed: int) -> dict[str, float]:
    connections, rate = (case.size, 0) if case.kind == "closed" else (CONNECTIONS, case.size)
    command = ("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", f"{TIMEOUT}s", "-s", SCRIPT, served.url)
    pinned = ("taskset", "-c", ",".join(map(str, sorted(cpus))))
    before = served.cpu()
    words = [str(word) for word in (*pinned, *command, "--", bodies, rate, seed)]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=seconds + 60)
    cpu = served.cpu() - before
    if done.returncode:
        raise Failed(f"wrk: {(done.stderr.splitlines() or ['no word'])[-1]}")
    of = json.loads(done.stdout.splitlines()[-1])
    if not of["requests"]:
        raise Failed(f"answered nothing in the {case.kind} loop, N={case.size:,}")
    return _values(of, cpu, case)


def _values(of: dict[str, float], cpu: float, case: Case) -> dict[str, float]:
    wrong = of["status"] + of["timeout"] + of["socket"]
    ended = of["requests"] + of["timeout"] + of["socket"]
    values = {
        "answered": (of["requests"] - of["status"]) / of["seconds"],
        "p50_ms": of["p50"],
        "p99_ms": of["p99"],
        "errors": wrong / ended,
        "cpu_us": cpu / of["requests"] * 1e6,
    }
    if case.kind == "open":
        values["missed"] = of["missed"] / (of["missed"] + ended)
    return values
