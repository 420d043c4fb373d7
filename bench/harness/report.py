"""What was measured: summed up for the JSON file, and as tables to read."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from .plan import FLOOR, Case

Json: TypeAlias = dict[str, Any]

RATIO = "and its ratio to\nthe floor beside it, median of all rounds; below, the extremes of the ratio"
TITLES = {
    "closed": f"N callers in a closed loop, each awaiting one item after another: CPU us a request, {RATIO}",
    "burst": f"N tasks at once, each awaiting one item, so that N wait: CPU us a request and its task, {RATIO}",
    "replica": f"N callers in a closed loop inside a replica of the service: CPU us a request, {RATIO}",
    "bulk": "one list of N items, by the peer's own way for lists or else asyncio.gather: CPU us an item",
    "memory": "N callers waiting: bytes a request, its future included, its item and its caller's task not",
    "idle": "a second without calls, after N callers: CPU ms, passes of the loop, timers",
}


def place(file: Path, *, quick: bool) -> Path:
    """Return where the figures go, with their chart: those of a quick run never replace those that README quotes."""
    folder = file.parent / "quick" if quick and file.parent.name == "results" else file.parent
    folder.mkdir(parents=True, exist_ok=True)
    return folder / file.name


def write(found: Json, file: Path, draw: Callable[[Json, Path], None] | None) -> None:
    """Write the figures, and draw their chart beside them, with matplotlib where that is installed."""
    file.write_text(json.dumps(found, indent=1) + "\n")
    say(f"wrote {file.name}")
    if draw is None:
        return
    try:
        import matplotlib as mpl
    except ImportError:
        say("no chart: matplotlib is not installed")
        return
    mpl.use("Agg")
    picture = file.with_suffix(".png")
    draw(found, picture)
    say(f"drew {picture.name}")


def say(word: str) -> None:
    print(word, file=sys.stderr, flush=True)


def machine() -> Json:
    return {"platform": f"{platform.system()} {platform.machine()}", "processor": _processor(), "cpus": os.cpu_count()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def summary(case: Case, rounds: list[dict[str, Json]]) -> Json:
    """Sum up the values that all peers had in each round of one case."""
    peers = dict.fromkeys(peer for values in rounds for peer in values)
    return {"kind": case.kind, "loop": case.loop, "n": case.size, "peers": {peer: _of_peer(peer, rounds) for peer in peers}}


def _of_peer(peer: str, rounds: list[dict[str, Json]]) -> Json:
    values = [each[peer] for each in rounds if peer in each]
    failed = next((each["failed"] for each in values if "failed" in each), None)
    if failed is not None:
        return {"failed": failed}
    return {name: spread(each[name] for each in values) for name in values[0]}


def spread(values: Iterable[float | None]) -> Json | None:
    """Return the median of all rounds, the extremes, and the rounds; None if there is nothing to tell."""
    rounds = [float(f"{value:.4g}") for value in values if value is not None]
    if not rounds:
        return None
    return {"median": median(rounds), "min": min(rounds), "max": max(rounds), "rounds": rounds}


# Tables: a peer is a row, or two; a case is a column.

Cell: TypeAlias = Callable[[Json], tuple[str, ...]]


def tables(report: Json) -> str:
    blocks = _tables(report["cases"], "")
    for other in report["pythons"]:
        blocks += _tables(other["cases"], f"CPython {other['python']}: ")
    return "\n\n".join([*blocks, *_troubles(report)])


def _tables(cases: list[Json], before: str) -> list[str]:
    blocks = []
    for kind in dict.fromkeys(case["kind"] for case in cases):
        cell = {"bulk": _item, "memory": _memory, "idle": _idle}.get(kind, _cost)
        blocks.append(_grid(before + TITLES[kind], [case for case in cases if case["kind"] == kind], cell))
    alone = [case for case in cases if case["kind"] == "closed" and case["n"] == 1]
    if alone:
        blocks.insert(1, _grid(f"{before}one caller alone: wall us a request", alone, _wall))
    return blocks


def _grid(title: str, cases: list[Json], cell: Cell) -> str:
    peers = sorted({peer for case in cases for peer in case["peers"]}, key=lambda peer: (not peer.endswith(FLOOR), peer))
    rows = [["", *(case["loop"] for case in cases)], ["", *(f"N={case['n']:,}" for case in cases)]]
    for peer in peers:
        cells = [("failed",) if "failed" in (values := case["peers"][peer]) else cell(values) for case in cases]
        height = max(map(len, cells))
        heads = [peer, *[""] * (height - 1)]
        rows += [[heads[i], *(lines[i] if i < len(lines) else "" for lines in cells)] for i in range(height)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("   ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows)
    return "\n".join([title, *lines])


def _cost(values: Json) -> tuple[str, ...]:
    cost, ratio = f"{values['cpu_us']['median']:.3g}", values["ratio"]
    extremes = (f"{ratio['min']:.3g}-{ratio['max']:.3g}",) if len(ratio["rounds"]) > 1 else ()
    return f"{cost} x{ratio['median']:.3g}", *extremes


def _wall(values: Json) -> tuple[str, ...]:
    return (f"{values['wall_us']['median']:.3g}",)


def _item(values: Json) -> tuple[str, ...]:
    return (f"{values['cpu_us']['median']:.3g}",)  # no ratio: nothing is nearly as cheap as a loop over slices


def _memory(values: Json) -> tuple[str, ...]:
    return ("-" if values["bytes"] is None else f"{values['bytes']['median']:.0f}",)


def _idle(values: Json) -> tuple[str, ...]:
    cpu = f"{values['cpu_ms']['median']:.2f} ms"
    if values["wakeups"] is None:
        return (cpu,)
    return cpu, f"{values['wakeups']['median']:.0f} passes", f"{values['timers']['median']:.0f} timers"


def _troubles(report: Json) -> list[str]:
    lines = []
    for part in [report, *report["pythons"]]:
        where = f" on CPython {part['python']}" if "python" in part else ""
        lines += [f"{peer} is missing{where}: {reason}" for peer, reason in part["missing"].items()]
        for case in part["cases"]:
            for peer, values in case["peers"].items():
                if "failed" in values:
                    lines.append(
                        f"{peer} failed{where} in {case['kind']} {case['loop']} N={case['n']:,}: {values['failed']}"
                    )
    return ["\n".join(lines)] if lines else []
