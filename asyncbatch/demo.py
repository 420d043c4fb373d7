"""python -m asyncbatch demo: the main job on real text. Concurrent callers search the standard library's docstrings.

The same function answers the same queries three ways: one by one, in static batches that leave only when they are full, and
in dynamic batches. It has one thread each time, as numpy spreads a matrix product over the cores by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import sys
import sysconfig
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias

from .batcher import Batcher
from .corpus import Index, library, questions, sources
from .terminal import Bar, aligned

__all__ = ("Row", "Run", "batched", "closing", "compare", "main", "one_by_one", "percentile", "table")

_Search: TypeAlias = Callable[[list[str]], Sequence[int]]
Row: TypeAlias = dict[str, Any]  # the figures of one method, as they are written to JSON: seconds, dollars, shares of 1

_COUNTS = range(1, 1_000_001)  # a mistyped one shall not fill the memory


class Run(NamedTuple):
    """What came of one method, in the order of the queries. Times are seconds."""

    answers: list[int]
    latencies: list[float]
    seconds: float
    busy_seconds: float  #: how long the function ran; in batches with the way to its thread and back
    mean_batch_size: float = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the methods as `arguments` say, print what came out, and return the exit status."""
    options = _options(arguments)
    index, queries = _prepare(options.queries)
    out = sys.stderr if options.json == "-" else sys.stdout
    searched = f"{index.shape[0]:,} docstrings of Python {platform.python_version()}'s standard library"
    asked = f"{options.queries:,} of their sentences; an hour of searching costs ${options.price_per_hour:g}"
    print(f"{options.callers:,} callers search {searched} for {asked}.\n", file=out, flush=True)
    rows = compare(index.search, queries, options)
    print(table(rows), closing(rows[0], rows[-1]), sep="\n\n", file=out, flush=True)
    if options.json == "-":
        print(_figures(options, index, rows))  # noqa: T201
    elif options.json is not None:
        Path(options.json).write_text(_figures(options, index, rows) + "\n", encoding="utf-8")
    return 0


def _prepare(count: int) -> tuple[Index, list[str]]:
    root = Path(sysconfig.get_path("stdlib"))
    files = sources(root)
    with Bar("Reading", len(files)) as bar:
        entries = library(files, root, bar.advance)
    if not (queries := questions(entries, count)):
        sys.exit(f"this Python came without the sources of its standard library, sought in {root}")
    with Bar("Indexing"):
        return Index([entry.text for entry in entries]), queries


# The three ways.


def compare(search: _Search, queries: Sequence[str], options: argparse.Namespace) -> list[Row]:
    """Answer all queries in each way, and return the figures; the first row is one by one."""
    size, callers = options.max_batch_size, options.callers
    static = Batcher(search, max_batch_size=min(size, callers), max_wait=math.inf)  # more than callers cannot be waiting
    dynamic = Batcher(search, max_batch_size=size, max_wait=options.max_wait)
    methods = {
        "One by one": partial(one_by_one, search),
        "Static batches": partial(batched, static),
        "Dynamic batches": partial(batched, dynamic),
    }
    for warm_up in (queries[:1], queries[:size]):
        search(list(warm_up))  # the first products start threads and touch memory, which is no method's doing
    runs = []
    for method, answer_all in methods.items():
        with Bar(method, len(queries)) as bar, asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runs.append(runner.run(answer_all(queries, callers, bar.advance)))
    return [_row(method, run, runs[0].answers, options.price_per_hour) for method, run in zip(methods, runs, strict=True)]


async def one_by_one(search: _Search, queries: Sequence[str], callers: int, on_answer: Callable[[], None]) -> Run:
    """Do what a service does that does not batch: call the function in its thread for each query by itself."""
    loop, times = asyncio.get_running_loop(), []

    def call(query: str) -> int:
        began = perf_counter()
        (answer,) = search([query])
        times.append(perf_counter() - began)
        return answer

    with ThreadPoolExecutor(1) as pool:  # a second thread would contend with the first for the cores
        served = await _serve(lambda query: loop.run_in_executor(pool, call, query), queries, callers, on_answer)
    return Run(*served, sum(times))


async def batched(batcher: Batcher[str, int], queries: Sequence[str], callers: int, on_answer: Callable[[], None]) -> Run:
    """Let the batcher, which nobody has entered yet, answer all queries."""
    async with batcher:
        served = await _serve(batcher, queries, callers, on_answer, batcher.flush)
    statistics = batcher.statistics()
    return Run(*served, statistics.busy_seconds, statistics.mean_batch_size)


async def _serve(
    answer: Callable[[str], Awaitable[int]],
    queries: Sequence[str],
    callers: int,
    on_answer: Callable[[], None],
    on_last: Callable[[], None] = lambda: None,
) -> tuple[list[int], list[float], float]:
    answers, latencies = [-1] * len(queries), [0.0] * len(queries)
    unasked = iter(enumerate(queries))

    async def caller() -> None:
        for place, query in unasked:
            asked = perf_counter()
            answers[place] = await answer(query)
            latencies[place] = perf_counter() - asked
            on_answer()
        on_last()  # nobody comes any more: static batches that wait for more would wait for ever

    began = perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    return answers, latencies, perf_counter() - began


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  # not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


def _row(method: str, run: Run, reference: Sequence[int], price_per_hour: float) -> Row:
    count = len(run.answers)
    return {
        "method": method,
        "requests": count,
        "seconds": run.seconds,
        "throughput": count / run.seconds,
        "p50": percentile(run.latencies, 0.50),
        "p99": percentile(run.latencies, 0.99),
        "busy_seconds": run.busy_seconds,
        "cost": run.busy_seconds * price_per_hour / 3600,
        "quality": sum(map(int.__eq__, run.answers, reference)) / count,
        "mean_batch_size": run.mean_batch_size,
    }


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest of the values that at least `share` of them do not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


# What is shown.


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table that is aligned as it stands, too."""
    header = ["Method", "Requests", "Processing time", "Throughput", "p50 / p99 latency", "Cost", "Quality"]
    cheapest = min((row["cost"] for row in rows if row["cost"]), default=1.0)
    digits = max(2, 2 - math.floor(math.log10(cheapest)))  # three that count
    return aligned(header, [_cells(row, digits) for row in rows])


def _cells(row: Row, digits: int) -> list[str]:
    return [
        row["method"],
        f"{row['requests']:,}",
        f"{row['seconds']:.3f} s",
        f"{row['throughput']:,.0f}/s",
        f"{row['p50'] * 1000:.1f} / {row['p99'] * 1000:.1f} ms",
        f"${row['cost']:.{digits}f}",
        f"{math.floor(row['quality'] * 10_000) / 100:.2f} %",  # not rounded: 100 means all
    ]


def closing(single: Row, dynamic: Row) -> str:
    """Return in a sentence what the second saved of the first, or that it did not."""
    less = {of: _change(dynamic[of], single[of]) for of in ("seconds", "cost")}
    saved = all(change.endswith("less") for change in less.values())
    return (
        f"{'' if saved else 'Batching did not pay here. '}Dynamic batches, of {dynamic['mean_batch_size']:.1f} queries on "
        f"average, took {less['seconds']} time than one by one and cost {less['cost']},\n"
        f"at {dynamic['throughput'] / single['throughput']:.2f} times the throughput."
    )


def _change(now: float, before: float) -> str:
    share = now / before if before else 1.0
    return f"{abs(1 - share):.1%} {'less' if share < 1 else 'more'}".replace("%", " %")


def _figures(options: argparse.Namespace, index: Index, rows: Sequence[Row]) -> str:
    figures = {
        "versions": {"python": platform.python_version(), "asyncbatch": version("asyncbatch"), "numpy": version("numpy")},
        "machine": {"platform": platform.platform(), "machine": platform.machine(), "cpu_count": os.cpu_count()},
        "event_loop": getattr(_loop_factory(), "__module__", "asyncio"),
        "index": dict(zip(("entries", "dimensions"), index.shape, strict=True)),
        "settings": {name: value for name, value in vars(options).items() if name != "json"},
        "rows": rows,
    }
    return json.dumps(figures, indent=2)


# What can be set.


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m asyncbatch demo",
        usage="%(prog)s [options]",
        description="Search the standard library's docstrings one query at a time and in batches, and compare.",
        epilog="A caller asks again as soon as it is answered. So where there are many more callers than --max-batch-size, "
        "batches are always full, and static and dynamic ones do alike.",
    )
    add = parser.add_argument
    add("--queries", type=_count, default=2000, metavar="N", help="how many are asked (default: %(default)s)")
    add("--callers", type=_count, default=256, metavar="N", help="how many ask at once (default: %(default)s)")
    add("--max-batch-size", type=_count, default=64, metavar="N", help="queries in a batch (default: %(default)s)")
    add(
        "--max-wait", type=_number, default=0.0, metavar="S", help="seconds a dynamic batch may fill (default: %(default)s)"
    )
    add("--price-per-hour", type=_number, default=1.0, metavar="$", help="of the search running (default: %(default)s)")
    add("--json", nargs="?", const="-", metavar="FILE", help="write the figures there, else to the standard output")
    options = parser.parse_args(arguments)
    if options.json not in (None, "-") and not Path(options.json).parent.is_dir():
        parser.error(f"argument --json: there is no folder {str(Path(options.json).parent)!r}")
    if not options.price_per_hour:
        parser.error("argument --price-per-hour: must be above 0")
    options.callers = min(options.callers, options.queries)
    return options


def _count(text: str) -> int:
    if text.isdecimal() and int(text) in _COUNTS:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {_COUNTS[-1]}, not {text!r}")


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if 0 <= number < math.inf:
        return number
    raise argparse.ArgumentTypeError(f"must be a number, at least 0, not {text!r}")
