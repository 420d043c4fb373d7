"""What batches save in the four workloads of `examples/workloads`, with a chart of what an item costs in batches of each size.

    python bench/workloads.py              about eight minutes, where what the examples need and matplotlib are installed

Each example runs as a user would run it, several times in turn with the others. Given are the median of all rounds for each
figure, the extremes and the rounds; of the curves, that of the round which disturbed it least. Other programs slow down both
ways alike, but not in the same seconds: the figures are those of a quiet machine only if `load` is far below `cpus`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness import report

EXAMPLES = Path(__file__).parent.parent / "examples" / "workloads"
NAMES = ("recommender", "digits", "speech", "payments")
PACKAGES = ("asyncbatch", "numpy", "scikit-learn", "sentence-transformers", "torch")
FIGURES = ("seconds", "busy_seconds", "cpu_seconds", "cost", "mean_batch_size", "p50", "p99")


def main() -> None:
    options = arguments()
    load = os.getloadavg()[0]
    rounds = [{name: run(name) for name in NAMES} for _ in range(options.rounds)]
    found = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": {**report.machine(), "load": load},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "rounds": options.rounds,
        "workloads": {name: summary([each[name] for each in rounds]) for name in NAMES},
    }
    options.json.write_text(json.dumps(found, indent=1) + "\n")
    draw(found["workloads"], options.json.with_suffix(".png"))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    file = Path(__file__).parent / "results" / "workloads.json"
    parser.add_argument("--json", type=Path, default=file, metavar="FILE")
    return parser.parse_args()


def run(name: str) -> dict[str, Any]:
    """Run an example, which prints its table, and return its figures."""
    print(f"\n{name}", flush=True)
    with TemporaryDirectory() as folder:
        file = Path(folder, "figures.json")
        subprocess.run([sys.executable, EXAMPLES / f"{name}.py", "--json", file], check=True)
        return json.loads(file.read_text())


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum up what an example said of itself in all rounds."""
    rates = {rate: rows([each["rates"][rate] for each in rounds]) for rate in rounds[0].get("rates", ())}
    return {
        **rounds[0],
        "rows": rows([each["rows"] for each in rounds]),
        "curves": {
            of: min((each["curves"][of] for each in rounds), key=lambda curve: sum(curve["seconds"].values()))
            for of in rounds[0]["curves"]
        },
        **({"rates": rates} if rates else {}),
    }


def rows(rounds: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [
        {**same[0], **{of: report.spread(row[of] for row in same) for of in FIGURES}} for same in zip(*rounds, strict=True)
    ]


def draw(workloads: dict[str, dict[str, Any]], file: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator

    figure, panels = plt.subplots(1, len(workloads), figsize=(16, 4))
    for panel, (name, found) in zip(panels, workloads.items(), strict=True):
        for of, curve in found["curves"].items():
            sizes = [*map(int, curve["seconds"])]
            item = [1e3 * seconds / size for size, seconds in zip(sizes, curve["seconds"].values(), strict=True)]
            fitted = [1e3 * (curve["fixed"] / size + curve["each"]) for size in sizes]
            (line,) = panel.plot(sizes, item, "o", markersize=4, label=of)
            panel.plot(sizes, fitted, "-", color=line.get_color(), alpha=0.6)
        panel.set(title=f"{found['workload']} ({name})", xscale="log", yscale="log", xlabel="items in a batch")
        panel.set_xticks([1, 2, 4, 8, 16, 32, 64], ["1", "2", "4", "8", "16", "32", "64"])
        panel.tick_params(axis="x", which="minor", bottom=False)
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter("")
        panel.grid(alpha=0.3)
        panel.legend(fontsize="small", frameon=False)
    panels[0].set_ylabel("ms an item; the line is fixed / n + each")
    figure.tight_layout()
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    main()
