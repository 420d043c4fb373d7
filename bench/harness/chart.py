"""The chart of the closed loop: what a request costs, against how many callers there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def draw(report: dict[str, Any], file: Path) -> bool:
    """Draw it, or return False if matplotlib is not installed."""
    try:
        import matplotlib as mpl
    except ImportError:
        return False
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    cases = [case for case in report["cases"] if case["kind"] == "closed"]
    loops = list(dict.fromkeys(case["loop"] for case in cases))
    figure, panels = plt.subplots(1, len(loops), figsize=(6 * len(loops), 4.5), sharey=True, squeeze=False)
    for panel, loop in zip(panels[0], loops, strict=True):
        _panel(panel, [case for case in cases if case["loop"] == loop])
        panel.set_title(f"{loop}, CPython {report['versions']['python']}")
    panels[0][0].set_ylabel("CPU us a request")
    panels[0][-1].legend(fontsize="small", frameon=False)
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    return True


def _panel(panel: Any, cases: list[dict[str, Any]]) -> None:
    for number, peer in enumerate(dict.fromkeys(peer for case in cases for peer in case["peers"])):
        points = [
            (case["n"], case["peers"][peer]["cpu_us"]["median"])
            for case in cases
            if "cpu_us" in case["peers"].get(peer, {})
        ]
        if not points:
            continue
        style = "--" if peer.endswith("floor") else "-"
        panel.plot(*zip(*points, strict=True), style, marker="o", markersize=3, color=f"C{number}", label=peer)
    panel.set(xscale="log", yscale="log", xlabel="callers, each awaiting one item after another")
    panel.set_xticks([case["n"] for case in cases], [f"{case['n']:,}" for case in cases])
    panel.minorticks_off()
    panel.grid(alpha=0.3)
