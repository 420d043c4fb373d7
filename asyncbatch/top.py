"""python -m asyncbatch top: what the batchers of a running program do, live in the terminal.

It reads what `asyncbatch.metrics.prometheus` exports, by HTTP or through a Unix socket, and shows how that changes.
"""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import sys
import time
import urllib.request
from collections import defaultdict, deque
from http.client import HTTPConnection, HTTPException
from math import inf
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ("Scrape", "Values", "frame", "main", "parse", "quantile")

# Of one batcher: the value of each metric, by its name and by the label that it has besides `batcher`.
Values: TypeAlias = dict[str, dict[str, float]]

_LINE = re.compile(r"^asyncbatch_(\w+)\{(.*)\} (\S+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_BARS = "▁▂▃▄▅▆▇█"
_PATIENCE = 10.0


class Scrape(NamedTuple):
    """What was read, and when."""

    time: float
    batchers: dict[str, Values]


def main(arguments: Sequence[str] | None = None) -> int:
    """Show what `arguments` name until Ctrl-C, and return the exit status."""
    options = _options(arguments)
    before = _scrape(options.url)
    history: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=40))
    lines = 0
    while True:
        time.sleep(options.every)
        try:
            now = _scrape(options.url)
        except OSError as error:  # it may come back
            shown = [str(error)]
        else:
            shown = [f"{options.url}, {time.strftime('%X')}", *frame(before, now, history)]
            before = now
        if sys.stdout.isatty():
            if lines:
                print(f"\x1b[{lines}F\x1b[J", end="")  # noqa: T201  # in the place of the last frame
            shown = [line[: shutil.get_terminal_size().columns] for line in shown]  # as long as it says
            lines = len(shown)
        print("\n".join(shown), flush=True)  # noqa: T201
        if options.once:
            return 0


# Reading.


def _scrape(url: str) -> Scrape:
    try:
        text = _through_socket(url) if url.startswith("unix:") else _by_http(url)
    except (OSError, HTTPException) as error:
        raise OSError(f"no answer from {url}: {getattr(error, 'reason', None) or error}") from error
    return Scrape(time.monotonic(), parse(text))


def _by_http(url: str) -> str:
    with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:  # noqa: S310  # whatever the user names
        text: bytes = answer.read()
    return text.decode(errors="replace")


def _through_socket(url: str) -> str:
    connection = HTTPConnection("localhost", timeout=_PATIENCE)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(_PATIENCE)
    try:
        connection.sock.connect(url.removeprefix("unix:"))
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        if answer.status != 200:  # noqa: PLR2004
            raise OSError(f"HTTP Error {answer.status}: {answer.reason}")
        return answer.read().decode(errors="replace")
    finally:
        connection.close()


def parse(text: str) -> dict[str, Values]:
    """Return what `text`, in Prometheus' format, says of each batcher."""
    batchers: dict[str, Values] = {}
    for metric, said, value in _LINE.findall(text):
        labels = {name: _ESCAPED.sub(_unescaped, quoted) for name, quoted in _LABEL.findall(said)}
        values = batchers.setdefault(labels.pop("batcher", ""), {})
        values.setdefault(metric, {})["".join(labels.values())] = float(value)
    return batchers


def _unescaped(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]


# Showing.


def frame(before: Scrape, now: Scrape, history: defaultdict[str, deque[float]]) -> Iterator[str]:
    """Yield the lines that show what happened between two scrapes; `history` is what was shown before, and is added to."""
    if not now.batchers:
        yield "no batcher is observed there; write `observers=[PrometheusObserver()]`"
    seconds = now.time - before.time
    for name, values in sorted(now.batchers.items()):
        yield from _block(name, values, _gained(values, before.batchers.get(name, {})), seconds, history)


def _block(
    name: str, now: Values, gained: Values, seconds: float, history: defaultdict[str, deque[float]]
) -> Iterator[str]:
    flying, capacity = _total(now, "in_flight_batches"), _total(now, "capacity_batches")
    busy = _total(gained, "run_seconds_sum") / (seconds * capacity) if capacity else 0.0
    yield ""
    yield f"{name}: {flying:.0f} of {capacity:.0f} batches in flight, {min(busy, 1.0):.0%} busy"
    batches = _total(gained, "batch_size_count")
    rows = {
        "items a second": (gained.get("requests_total", {}).get("succeeded", 0.0) / seconds, _number),
        "items a batch": (_total(gained, "batch_size_sum") / batches if batches else 0.0, _number),
        "in the queue": (_total(now, "queue_depth"), _number),
        "median wait": (quantile(0.5, gained.get("queue_wait_seconds_bucket", {})), _time),
        "99% wait": (quantile(0.99, gained.get("queue_wait_seconds_bucket", {})), _time),
        "median run": (quantile(0.5, gained.get("run_seconds_bucket", {})), _time),
    }
    if _total(now, "elements_total"):  # it pads
        elements = _total(gained, "elements_total")
        rows["padding"] = (_total(gained, "padding_elements_total") / elements if elements else 0.0, "{:.0%}".format)
    for title, (value, form) in rows.items():
        history[f"{name} {title}"].append(value)
        yield f"  {title:<15}{form(value):>8}  {_sparks(history[f'{name} {title}'])}".rstrip()
    yield f"  {'batches left':<15}{_shares(gained.get('batches_total', {}))}"
    yield f"  {'no result':<15}{_counts(now)}"


def _gained(now: Values, before: Values) -> Values:
    """Return how much each grew."""
    return {metric: _grown(counts, before.get(metric, {})) for metric, counts in now.items()}


def _grown(now: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    if any(count < before.get(label, 0.0) for label, count in now.items()):
        before = {}  # the program has begun again, and so have its counters
    return {label: count - before.get(label, 0.0) for label, count in now.items()}


def quantile(share: float, buckets: dict[str, float]) -> float:
    """Return what `share` of the values in a histogram do not exceed, as `histogram_quantile` of Prometheus does."""
    rows = sorted((float(bound), count) for bound, count in buckets.items())
    rank = share * rows[-1][1] if rows else 0.0
    lower = below = 0.0
    for bound, count in rows:
        if count >= rank > 0:
            return lower if bound == inf else lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return 0.0


def _total(values: Values, metric: str) -> float:
    return sum(values.get(metric, {}).values())


def _shares(counts: dict[str, float]) -> str:
    total = sum(counts.values())
    most_first = sorted(counts.items(), key=lambda row: -row[1])
    return ", ".join(f"{label} {count / total:.0%}" for label, count in most_first if count) or "none"


def _counts(now: Values) -> str:
    lost = {"workers lost": _total(now, "worker_restarts_total")}
    counts = {**now.get("requests_total", {}), **lost}
    return ", ".join(f"{label} {count:,.0f}" for label, count in counts.items() if count and label != "succeeded") or "none"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _sparks(values: Iterable[float]) -> str:
    highest = max(values, default=0.0) or 1.0
    return "".join(_BARS[round(value / highest * (len(_BARS) - 1))] for value in values)


# What can be set.


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m asyncbatch top",
        description="Show what the batchers of a running program do, live.",
        epilog="The program exports it with asyncbatch.metrics.prometheus.PrometheusObserver. Ctrl-C ends it.",
    )
    parser.add_argument("url", type=_url, help="such as http://127.0.0.1:8000/metrics, or unix:/run/service.sock")
    parser.add_argument("--every", type=_seconds, default=1.0, metavar="S", help="seconds between two looks (default: 1)")
    parser.add_argument("--once", action="store_true", help="look once, and end")
    return parser.parse_args(arguments)


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https", "unix") or not (parts.netloc or parts.scheme == "unix"):
        raise argparse.ArgumentTypeError(f"must be like http://127.0.0.1:8000/metrics or unix:/a/socket, not {text!r}")
    return text if parts.path.strip("/") else f"{text.rstrip('/')}/metrics"


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if 0 < seconds < inf:
        return seconds
    raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, not {text!r}")
