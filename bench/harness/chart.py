"""The chart of the closed loop: what a request costs, against how many callers there are.

Each line is named at its right end. The other ways to set up asyncbatch are in the tables only, as their lines would lie upon
that of `asyncbatch`.
"""

from __future__ import annotations

from math import log10
from pathlib import Path
from typing import Any

OURS = "asyncbatch"
GAP = 0.09  # between two names, in powers of ten
STYLES = {
    OURS: {"color": "black", "linewidth": 2.5, "zorder": 3},
    "floor": {"color": "black", "linestyle": "--"},
    "queue_floor": {"color": "gray", "linestyle": "--"},
}


def draw(report: dict[str, Any], file: Path) -> None:
    from matplotlib import pyplot as plt

    cases = [case for case in report["cases"] if case["kind"] == "closed"]
    loops = list(dict.fromkeys(case["loop"] for case in cases))
    figure, panels = plt.subplots(1, len(loops), figsize=(7 * len(loops), 5.5), sharey=True, squeeze=False)
    for panel, loop in zip(panels[0], loops, strict=True):
        _panel(panel, [case for case in cases if case["loop"] == loop])
        panel.set_title(f"{loop}, CPython {report['versions']['python']}")
    panels[0][0].set_ylabel("CPU us a request")
    figure.tight_layout()
    figure.savefig(file, dpi=120)


def _panel(panel: Any, cases: list[dict[str, Any]]) -> None:
    ends = []
    for number, peer in enumerate(_shown(cases)):
        points = [
            (case["n"], case["peers"][peer]["cpu_us"]["median"])
            for case in cases
            if "cpu_us" in case["peers"].get(peer, {})
        ]
        if points:
            style = STYLES.get(peer, {"color": f"C{number % 10}"})
            panel.plot(*zip(*points, strict=True), marker="o", markersize=3, **style)
            ends.append((log10(points[-1][1]), points[-1], peer, style["color"]))
    panel.set(xscale="log", yscale="log", xlabel="callers, each awaiting one item after another")
    panel.set_xticks([case["n"] for case in cases], [f"{case['n']:,}" for case in cases])
    panel.minorticks_off()
    panel.grid(alpha=0.3)
    _name(panel, sorted(ends), max(case["n"] for case in cases))


def _shown(cases: list[dict[str, Any]]) -> list[str]:
    peers = dict.fromkeys(peer for case in cases for peer in case["peers"])
    return sorted((peer for peer in peers if not peer.startswith(f"{OURS}_")), key=lambda peer: (peer in STYLES, peer))


def _name(panel: Any, ends: list[tuple[float, tuple[float, float], str, str]], last: float) -> None:
    """Name the lines right of `last`, each as near to its end as those below let it, with a thin line from there."""
    x, lowest = last**1.04, -99.0
    for height, end, peer, color in ends:
        lowest = max(height, lowest + GAP)
        weight = "bold" if peer == OURS else "normal"
        arrow = {"arrowstyle": "-", "color": color, "linewidth": 0.5, "alpha": 0.6, "shrinkA": 0, "shrinkB": 2}
        panel.annotate(
            peer,
            end,
            (x, 10**lowest),
            color=color,
            weight=weight,
            size=9,
            va="center",
            arrowprops=arrow,
            annotation_clip=False,
        )
    panel.set_xlim(right=last**1.3)
