"""What the services gave: summed up, as tables, and as the chart of throughput against p99."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .load import Case
from .report import spread

Json = dict[str, Any]

TITLES = {
    "closed": "N connections, each asking again as soon as it is answered: requests a second, p50, p99 in ms, CPU us a request",
    "open": "N requests a second are asked for: how many are answered, p50, p99 in ms, CPU us a request",
}


def summary(case: Case, of_servers: dict[str, list[dict[str, float]]]) -> Json:
    servers = {
        server: {name: spread(values[name] for values in rounds) for name in rounds[0]}
        for server, rounds in of_servers.items()
    }
    return {"kind": case.kind, "n": case.size, "servers": servers}


def tables(found: Json) -> str:
    blocks = [_table(kind, title, found) for kind, title in TITLES.items()]
    if found["missing"]:
        blocks.append("\n".join(f"{server} failed: {reason}" for server, reason in found["missing"].items()))
    return "\n\n".join(blocks)


def _table(kind: str, title: str, found: Json) -> str:
    cases = [case for case in found["cases"] if case["kind"] == kind]
    rows = [["", *(f"N={case['n']:,}" for case in cases)]]
    for server in sorted(found["servers"], key=lambda server: _best(server, cases), reverse=True):
        rows.append([server, *(_cell(case["servers"].get(server)) for case in cases)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("   ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows)
    return "\n".join([title, *lines])


def _best(server: str, cases: list[Json]) -> float:
    return max((case["servers"][server]["answered"]["median"] for case in cases if server in case["servers"]), default=0.0)


def _cell(values: Json | None) -> str:
    if values is None:
        return "-"
    middle = {name: value["median"] for name, value in values.items()}
    troubles = "".join(f" {middle[name]:.1%} {name}" for name in ("errors", "missed") if middle.get(name, 0) >= 0.0005)
    return "{answered:,.0f} ({p50_ms:.3g}, {p99_ms:.3g}; {cpu_us:.0f})".format(**middle) + troubles


def draw(found: Json, file: Path) -> None:
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(13, 5), sharex=True, sharey=True, layout="constrained")
    for panel, kind in zip(panels, TITLES, strict=True):
        cases = [case for case in found["cases"] if case["kind"] == kind]
        for number, server in enumerate(found["servers"]):
            _line(panel, server, number, cases)
        panel.set(xscale="log", yscale="log", xlabel="requests answered a second")
        panel.grid(alpha=0.3)
        sizes = ", ".join(f"{case['n']:,}" for case in cases)
        panel.set_title(
            f"{sizes} connections, closed loop" if kind == "closed" else f"{sizes} requests a second, open loop",
            fontsize="medium",
        )
    panels[0].set_ylabel("p99, ms")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", fontsize="small", frameon=False)
    figure.savefig(file, dpi=120)


def _line(panel: Any, server: str, number: int, cases: list[Json]) -> None:
    of = [case["servers"][server] for case in cases if server in case["servers"]]
    if not of:
        return
    points = [(values["answered"]["median"], values["p99_ms"]["median"]) for values in of]
    style = "-" if server.startswith("asyncbatch") else "--" if server.startswith(("alone", "queue")) else ":"
    panel.plot(*zip(*points, strict=True), style, marker="o", markersize=4, color=f"C{number % 10}", label=server)
