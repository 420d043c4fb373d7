"""The chart: latency, goodput and work against load, drawn by matplotlib, which the extra `tune` installs."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

from .plan import Plan, Play
from .words import leaves

__all__ = ("MISSING", "draw", "drawn", "has_matplotlib")

MISSING = "no chart, as matplotlib is not installed: pip install 'asyncbatch[tune]'"

_INK = "#0a0b0c"  # no colour that anything else has: in the page it becomes that of the text
_COLOURS = {  # told apart by those who do not see all colours, and on black as on white
    "one by one": "#8c8c8c",
    "fixed wait": "#cc79a7",
    "at once": "#e69f00",
    "latency objective": "#0072b2",
    "cost objective": "#009e73",
}


def has_matplotlib() -> bool:
    try:
        importlib.import_module("matplotlib")
    except ImportError:
        return False
    return True


def draw(plan: Plan, file: Path) -> None:
    """Draw it into a PNG."""
    _figure(plan).savefig(file, format="png", dpi=150, facecolor="white")


def drawn(plan: Plan) -> str:
    """Return it as an SVG without a background, whose ink is that of the page."""
    written = io.StringIO()
    _figure(plan).savefig(written, format="svg", transparent=True, metadata={"Date": None})
    svg = written.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")


def _figure(plan: Plan) -> Any:
    mpl = importlib.import_module("matplotlib")
    figures = importlib.import_module("matplotlib.figure")
    ink = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    style = {"font.size": 9, "svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False}
    with mpl.rc_context(style | dict.fromkeys(ink, _INK)):
        figure = figures.Figure(figsize=(11, 3.6), layout="constrained")
        latency, goodput, work = figure.subplots(1, 3)
        _latency(latency, plan)
        _goodput(goodput, plan)
        _work(work, plan)
        for panel in (latency, goodput, work):
            panel.axvline(plan.rate, color=_INK, linewidth=0.8, linestyle=":")
            panel.set_xlabel("requests a second")
            panel.set_xlim(left=0)
            panel.grid(color=_INK, alpha=0.12)
        lines, labels = goodput.get_legend_handles_labels()
        figure.legend(lines, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return figure


def _latency(panel: Any, plan: Plan) -> None:
    objective = plan.traffic.objective * 1000
    for settings, plays in plan.ladder.items():
        steady = [play for play in plays if not play.grows]
        _line(panel, settings.rule, steady, [play.mean * 1000 for play in steady])
        _line(panel, settings.rule, steady, [play.p99 * 1000 for play in steady], linestyle="--", marker="")
    panel.axhline(objective, color=_INK, linewidth=0.8)
    at_the_right = panel.get_yaxis_transform()
    panel.text(plan.rate, 1.3 * objective, "asked for ", rotation=90, ha="right", va="center", fontsize=8)
    panel.text(1, objective, "objective", transform=at_the_right, ha="right", va="bottom", fontsize=8)
    panel.set_ylim(0, 1.6 * objective)
    panel.set_title("latency in ms: mean, and p99 dashed")


def _goodput(panel: Any, plan: Plan) -> None:
    for settings, plays in plan.ladder.items():
        label = f"{leaves(settings)} ({settings.max_batch_size})"
        _line(panel, settings.rule, plays, [play.goodput * 100 for play in plays], label=label)
    panel.set_ylim(0, 104)
    panel.set_title("answered in time, %")


def _work(panel: Any, plan: Plan) -> None:
    for settings, plays in plan.ladder.items():
        _line(panel, settings.rule, plays, [play.busy for play in plays])
    panel.set_yscale("log")
    panel.minorticks_off()
    panel.yaxis.set_major_locator(importlib.import_module("matplotlib.ticker").LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter("{x:g}")
    panel.set_title("seconds of work for 1,000 answers")


def _line(panel: Any, rule: str, plays: list[Play], values: list[float], **style: Any) -> None:
    look = {"color": _COLOURS[rule], "linewidth": 1.6, "marker": "o", "markersize": 3} | style
    panel.plot([play.rate for play in plays], values, **look)
