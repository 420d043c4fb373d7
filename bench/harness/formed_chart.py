"""The chart of goodput against load: each peer at its best, asyncbatch as it comes as well, and the clairvoyant bound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

OURS = "asyncbatch"


def draw(found: Json, file: Path) -> None:
    from matplotlib import pyplot as plt

    points = found["goodput"]
    rows = list(dict.fromkeys(point["scenario"] for point in points))
    columns = list(dict.fromkeys(point["traffic"] for point in points))
    size = (4.4 * len(columns), 3.2 * len(rows))
    figure, panels = plt.subplots(len(rows), len(columns), figsize=size, sharey=True, squeeze=False)
    for row, scenario in enumerate(rows):
        for column, traffic in enumerate(columns):
            _panel(panels[row][column], [p for p in points if (p["scenario"], p["traffic"]) == (scenario, traffic)])
        panels[row][0].set_ylabel("% answered in time")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.tight_layout(rect=(0, 0, 0.82, 1))
    figure.legend(handles, labels, loc="center right", fontsize="small", frameon=False)
    figure.savefig(file, dpi=100)


def _panel(panel: Any, points: list[Json]) -> None:
    first = points[0]
    loads = [point["load"] for point in points]
    best = [100 * point["exact"]["clairvoyant"] for point in points]
    panel.plot(loads, best, "k:", linewidth=3, label="who knows all to come")
    for label, style, ways in _lines([*first["peers"]]):
        panel.plot(loads, [_best(point, ways) for point in points], style, markersize=3, label=label)
    title = f"{first['traffic']}: {1000 * first['fixed']:g} + {1000 * first['each']:g} b ms, in {1000 * first['objective']:g} ms"
    panel.set(title=title, xlabel="load", ylim=(-3, 103))
    panel.title.set_size("medium")
    panel.grid(alpha=0.3)


def _lines(ways: list[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the label and style of each line, and the ways of a peer that it is the best of."""
    own = [(f"{OURS}, LatencyObjective", "C3-o", f"{OURS} objective"), (f"{OURS}, as it comes", "C3--", OURS)]
    yield from ((label, style, [way]) for label, style, way in own if way in ways)
    others = dict.fromkeys(way.split()[0] for way in ways if not way.startswith(OURS))
    for number, peer in enumerate(others):
        yield peer, f"C{(number + 4) % 10}-o", [way for way in ways if way.split()[0] == peer]


def _best(point: Json, ways: list[str]) -> float:
    return max(100 * point["peers"][way].get("goodput", 0) for way in ways)
