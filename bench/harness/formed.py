"""What `in_time.py` measured: summed up for the JSON file, and as tables to read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

POINT = ("scenario", "traffic", "load", "rate", "fixed", "each", "max_batch_size", "objective")
FIGURES = ("mean", "p50", "p99", "longest", "answered", "goodput", "batches")
# What of asyncbatch is compared: as it comes where there is no objective, else told of it; and in which figures.
COMPARED = {"latency": ("asyncbatch", ("mean", "p99")), "goodput": ("asyncbatch objective", ("goodput", "p99"))}


def summary(cells: list[Json], rows: list[Json], exact: dict[str, Json], live: list[Json]) -> Json:
    """Sum up what each row says of a peer in a cell; cells that differ in the seed of their arrivals only are one point."""
    by_cell = {name: [*some] for name, some in groupby(sorted(rows, key=_cell), _cell)}
    points = [(part, [*some]) for (part, _), some in groupby(cells, lambda cell: (cell["part"], where(cell)))]
    found: Json = {}
    for part, same in points:
        found.setdefault(part, []).append(point(same, by_cell, exact))
    found["live"] = [beside(cell, by_cell[cell["name"]], live) for cell in cells if cell["part"] == "live" and live]
    found["behind"] = [word for part, same in points if part in COMPARED for word in behind(part, same, by_cell)]
    return found


def where(cell: Json) -> Json:
    return {of: cell[of] for of in POINT if of in cell}


def point(cells: list[Json], by_cell: dict[str, list[Json]], exact: dict[str, Json]) -> Json:
    known = [exact[cell["name"]] for cell in cells]
    rows = [by_cell[cell["name"]] for cell in cells]
    return {
        **where(cells[0]),
        "arrivals": sum(cell["count"] for cell in cells),
        "exact": {of: mean([each[of] for each in known]) for of in known[0]},
        "peers": {row["peer"]: _over_traces([_of(row["peer"], each) for each in rows]) for row in rows[0]},
    }


def _over_traces(rows: list[Json]) -> Json:
    failed = next((row["failed"] for row in rows if "failed" in row), None)
    return {"failed": failed} if failed is not None else {of: mean([row[of] for row in rows]) for of in FIGURES}


def beside(cell: Json, rows: list[Json], live: list[Json]) -> Json:
    """Set what a peer did in real time beside what it did on the virtual clock."""
    both = {row["peer"]: (_of(row["peer"], rows), row) for row in live if row["cell"] == cell["name"]}
    figures = ("mean", "p99", "longest", "goodput", "batches")
    peers = {peer: {of: [mean([row.get(of)]) for row in two] for of in figures} for peer, two in both.items()}
    return {**where(cell), "peers": peers}


def behind(part: str, cells: list[Json], by_cell: dict[str, list[Json]]) -> Iterator[Json]:
    """Yield where a peer does better than asyncbatch does in each of the traces of a point, by more than chance.

    That is taken to be a thousandth of the callers, or a hundredth of a latency: whoever forms one batch otherwise forms
    all that follow otherwise, and so much apart are the means of two traces.
    """
    own, figures = COMPARED[part]
    traces = [by_cell[cell["name"]] for cell in cells]
    for peer in (row["peer"] for row in traces[0] if not row["peer"].startswith("asyncbatch")):
        for of in figures:
            pairs = [(_of(peer, rows).get(of), _of(own, rows).get(of)) for rows in traces]
            if all(_ahead(of, *pair, cells[0].get("objective", math.inf)) for pair in pairs):
                theirs, ours = zip(*pairs, strict=True)
                yield {"part": part, **where(cells[0]), "figure": of, "peer": peer, "theirs": theirs, "ours": ours}


def _ahead(of: str, theirs: float | None, ours: float | None, objective: float) -> bool:
    if theirs is None or of == "goodput":
        return theirs is not None and ours is not None and theirs > ours + 0.001
    # Who is late is as badly off as who has no answer.
    return theirs <= objective and (ours is None or theirs < 0.99 * ours)


def _of(peer: str, rows: list[Json]) -> Json:
    return next((row for row in rows if row["peer"] == peer), {"failed": "it did not run"})


def _cell(row: Json) -> str:
    return row["cell"]


def mean(values: list[float | None]) -> float | None:
    """Return the mean; None, which stands for never, if one of them is."""
    known = [value for value in values if value is not None]
    return float(f"{sum(known) / len(known):.5g}") if len(known) == len(values) else None


# Tables: a peer is a row.

Cell: TypeAlias = Callable[[Json, Json], str]


def tables(found: Json) -> str:
    titles = (
        ("fill", "batches, and the longest latency in s", _fill),
        ("latency", "mean and p99 in ms, and as ratios to the exact law", _latency),
        ("live", "on the virtual clock > in real time", _live),
    )
    blocks = [_grid(f"{part}: {title}", found[part], _point, cell) for part, title, cell in titles if found.get(part)]
    for (scenario, traffic), some in groupby(found.get("goodput", []), lambda point: (point["scenario"], point["traffic"])):
        points = [*some]
        objective = f"{1000 * points[0]['objective']:g} ms"
        title = f"goodput, {scenario}, {traffic}: % answered within {objective}, and the p99 in ms if less than 1 % had no answer"
        blocks.append(_grid(title, points, _load, _goodput))
    return "\n\n".join([*blocks, "\n".join(_behind(found["behind"]))])


def _grid(title: str, points: list[Json], head: Callable[[Json], str], cell: Cell) -> str:
    peers = dict.fromkeys(peer for point in points for peer in point["peers"])
    rows = [["", *map(head, points)]]
    for peer in sorted(peers, key=lambda peer: (not peer.startswith("asyncbatch"), peer)):
        rows.append([peer, *(_told(point["peers"].get(peer), point, cell) for point in points)])
    if all("clairvoyant" in point.get("exact", {}) for point in points):
        rows.append(["clairvoyant", *(f"{100 * point['exact']['clairvoyant']:.2f}" for point in points)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("   ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows)
    return "\n".join([title, *lines])


def _told(values: Json | None, point: Json, cell: Cell) -> str:
    if values is None:
        return ""
    return "failed" if "failed" in values else cell(values, point)


def _point(point: Json) -> str:
    function = f"{1000 * point['fixed']:g} + {1000 * point['each']:g} b, b <= {point['max_batch_size']}"
    return f"{function}, {_load(point)}" if "load" in point else function


def _load(point: Json) -> str:
    return f"load {point['load']}"


def _fill(values: Json, point: Json) -> str:
    return f"{values['batches']:.0f} {values['longest']:.3f}"


def _latency(values: Json, point: Json) -> str:
    exact = point["exact"]
    ratios = f"x{values['mean'] / exact['mean']:.3f} x{values['p99'] / exact['p99']:.3f}"
    return f"{_ms(values['mean'])} {_ms(values['p99'])} {ratios}"


def _goodput(values: Json, point: Json) -> str:
    return f"{100 * values['goodput']:.2f} {_ms(values['p99'])}"


def _live(values: Json, point: Json) -> str:
    if "objective" in point:
        return f"{_both(values['goodput'], 100)} %, {_both(values['mean'], 1000)} ms"
    return f"{_both(values['batches'])} batches, {_both(values['longest'])} s"


def _both(values: list[float | None], unit: float = 1) -> str:
    return " > ".join("-" if value is None else f"{unit * value:.4g}" for value in values)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{1000 * value:.4g}"


def _behind(words: list[Json]) -> Iterator[str]:
    yield "asyncbatch is behind in each of the traces of these:" if words else "asyncbatch is behind nowhere"
    for word in words:
        point = f"{word.get('scenario', '')} {word.get('traffic', '')} {_point(word)}".strip()
        yield f"{point}: {word['figure']} of {word['peer']} {word['theirs']}, ours {word['ours']}"
