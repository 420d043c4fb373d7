"""What the four workloads share: concurrent callers, the two ways to answer them, the cost of a batch, and the table.

A model is a function of a list that returns a list, and the same one is measured both ways. The seconds that it is busy are
CPU seconds of the thread it runs in, and the models here use one: so neither queues nor other programs of the machine count.
The processing time holds everything.
"""

import argparse
import asyncio
import json
import math
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter, process_time, thread_time

import numpy as np

Function = Callable[[list], list]
Answer = Callable[[object], Awaitable[object]]
Figures = dict[str, object]

SIZES = (1, 2, 4, 8, 16, 32, 64)


class Timed:
    """Notes how long the function was busy in each run, in CPU seconds of its thread."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.runs: list[float] = []

    def __call__(self, items: list) -> list:
        began = thread_time()
        results = self.function(items)
        self.runs.append(thread_time() - began)
        return results


# Ways to answer; a Batcher is another.


@asynccontextmanager
async def one_by_one(function: Function):
    """Do what a service does that does not batch: run the model in its thread for each item by itself."""
    with ThreadPoolExecutor(1) as pool:

        async def answer(item: object) -> object:
            (result,) = await asyncio.get_running_loop().run_in_executor(pool, function, [item])
            return result

        yield answer


@asynccontextmanager
async def at_once(function: Function):
    """The same without the thread, for a model that takes less than the way to a thread and back."""

    async def answer(item: object) -> object:
        (result,) = function([item])
        return result

    yield answer


# Loads. Both return the answers, and what each caller waited for its own in seconds.


async def closed_loop(answer: Answer, items: list, callers: int) -> tuple[list, list[float]]:
    """Let so many callers ask at once, and each ask again when it is answered."""
    answers, waits = [None] * len(items), [0.0] * len(items)
    unasked = iter(enumerate(items))

    async def caller() -> None:
        for place, item in unasked:
            asked = perf_counter()
            answers[place] = await answer(item)
            waits[place] = perf_counter() - asked

    async with asyncio.TaskGroup() as tg:
        for _ in range(callers):
            tg.create_task(caller())
    return answers, waits


async def open_loop(answer: Answer, items: list, rate: float) -> tuple[list, list[float]]:
    """Let so many come a second, at random, however many wait already; waits count from when each was due."""
    answers, waits = [None] * len(items), [0.0] * len(items)
    dice, due = random.Random(0), perf_counter()

    async def caller(place: int, item: object, due: float) -> None:
        answers[place] = await answer(item)
        waits[place] = perf_counter() - due

    async with asyncio.TaskGroup() as tg:
        for place, item in enumerate(items):
            due += dice.expovariate(rate)
            while (early := due - perf_counter()) > 0:
                await asyncio.sleep(early)
            tg.create_task(caller(place, item, due))
    return answers, waits


# Figures.


def measured(method: str, way, function: Function, items: list, load, price_per_hour: float, quality) -> Figures:
    """Answer all items in that way, and return what it took; `quality` makes shares of 1 of the answers."""
    timed = Timed(function)

    async def serve() -> tuple[list, list[float], float, float]:
        async with way(timed) as answer:
            began, cpu = perf_counter(), process_time()
            return *await load(answer, items), perf_counter() - began, process_time() - cpu

    answers, waits, seconds, cpu = asyncio.run(serve())
    busy = sum(timed.runs)
    return {
        "method": method,
        "requests": len(items),
        "seconds": seconds,
        "busy_seconds": busy,
        "cpu_seconds": cpu,
        "cost": busy * price_per_hour / 3600,
        "mean_batch_size": len(items) / len(timed.runs),
        "p50": float(np.quantile(waits, 0.50)),
        "p99": float(np.quantile(waits, 0.99)),
        "quality": quality(answers),
    }


def curve(function: Function, item: object, sizes: tuple[int, ...] = SIZES, rounds: int = 5) -> Figures:
    """Return what a batch of equal items takes by its size, and the line nearest to that: `fixed + each * size`.

    The best of the rounds counts, as other programs only ever add to it.
    """
    best = {}
    for size in sizes:
        timed = Timed(function)
        for _ in range(rounds):
            timed([item] * size)
        best[size] = min(timed.runs)
    seconds = np.array([*best.values()])
    each, fixed = np.polyfit(sizes, seconds, 1, w=1 / seconds)  # each point counts by its relative error
    return {"seconds": best, "fixed": fixed, "each": each, "r": each / fixed}


def in_words(of: str, found: Figures) -> str:
    """Say what a batch costs, and so what batches can gain at best."""
    fixed, each, r = found["fixed"], found["each"], found["r"]
    if r < 0 or r > 2:
        return f"A batch of n {of} takes n times the {each * 1e3:.3g} ms of one, or nearly: batching does not pay there."
    return (
        f"A batch of n {of} takes {fixed * 1e3:.3g} ms + n * {each * 1e3:.3g} ms: each / fixed is {r:.2g}, "
        f"so batches can save about {100 / (1 + r):.0f} % of the model's time."
    )


def table(rows: list[Figures]) -> str:
    header = ["Method", "Requests", "Processing time", "Cost", "Quality"]
    digits = 2 - math.floor(math.log10(min(row["cost"] for row in rows)))  # three that count
    lines = [header, *(_cells(row, digits) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def _cells(row: Figures, digits: int) -> list[str]:
    quality = ", ".join(f"{name} {share * 100:.2f} %" for name, share in row["quality"].items())
    return [row["method"], f"{row['requests']:,}", f"{row['seconds']:.2f} s", f"${row['cost']:.{digits}f}", quality]


def closing(single: Figures, batched: Figures) -> str:
    less = {of: 1 - batched[of] / single[of] for of in ("busy_seconds", "cpu_seconds")}
    model, process = (f"{abs(share) * 100:.0f} % {'less' if share > 0 else 'more'}" for share in less.values())
    return (
        f"{batched['method']}, {batched['mean_batch_size']:.1f} at a time on average: the model was busy for {model}, and the "
        f"whole process used {process} CPU.\nAll took {batched['seconds'] / single['seconds']:.2f} of the time of one by one, "
        f"and one caller of 100 waited more than {batched['p99'] * 1e3:,.1f} ms, not {single['p99'] * 1e3:,.1f} ms."
    )


# What can be set, and where the figures go.


def arguments(text: str, **defaults: float) -> argparse.ArgumentParser:
    """Return the parser of an example: each default is a number that can be set, by its own name."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {**defaults, "price_per_hour": 1.0}.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default, help="%(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser


def write(options: argparse.Namespace, **figures: object) -> None:
    if options.json:
        settings = {name: value for name, value in vars(options).items() if name != "json"}
        options.json.write_text(json.dumps({"settings": settings, **figures}, indent=1) + "\n")
