"""Whether a request costs the same however many others there are: with a hundred of anything, and with a hundred thousand.

    python bench/growth.py              about six minutes, in an environment that has asyncbatch
    python bench/growth.py --quick      ten seconds: a hundred and ten thousand only

What is measured is the CPU time of a request of the real `Batcher`, on the fast loop, with a function that does nothing, as
one number grows by powers of ten and all else stays as it is: callers, items a batch, keys, priorities, and how many wait in
each discipline's queue. A list that is searched, or a heap that is sorted anew, shows as a line that rises.

Beside each figure stands the floor: as many bare futures, with nothing that could grow. It rises too. A hundred requests
lie in the caches next to the core and a hundred thousand in main memory, where each of their objects takes a hundred times as
long to reach; and Python's garbage collector looks through all that is alive. That is the machine's share. So `grows` has
the cost at the largest number over the cost at a hundred, of asyncbatch and of the floor, and flat is what does not grow by
more than `FLAT` times as much as the floor, or than `FLAT` times where the floor does not grow.

And how long a request takes from call to answer, `p50_us` and `p99_us`, in one more run after those of the cost. It rises with
how many there are at once, as they are answered one batch after another.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import platform
import random
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from asyncbatch import Batcher, ByLength, EarliestDeadline, Fifo, Keyed, Priority
from harness import cases, report
from harness.plan import FAST
from one import factory
from peers import asyncbatch, floor

FILE = Path(__file__).parent / "results" / "growth.json"
BATCH = 64
TIMED = 10_000  # whose latency is measured, or all there are if they are more
EACH = 4  # requests a key at least, so that full batches of so many can be formed of any number of keys
FLAT = 1.5
POWERS = (1, 10, 100, 1000, 10_000, 100_000)
QUICK = (100, 10_000)

Ask: TypeAlias = Callable[[int], asyncio.Future[Any]]
Values: TypeAlias = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path, default=FILE, metavar="FILE")
    options = parser.parse_args()
    options.json = report.place(options.json, quick=options.quick)
    powers, seconds, rounds = (QUICK, 0.03, 1) if options.quick else (POWERS, 0.3, 2)
    many = powers[-1]
    measured: dict[str, dict[str, Values]] = {}
    for axis, measure in axes(many).items():
        measured[axis] = {}
        for number in powers:
            all_rounds = [run(partial(measure, number, seconds)) for _ in range(rounds)]
            measured[axis][str(number)] = least = min(all_rounds, key=lambda each: each["cpu_us"])
            print(line(axis, number, least), flush=True)
    found = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "settings": {"max_batch_size": BATCH, "waiting": many, "loop": FAST, "rounds": rounds, "seconds": seconds},
        "machine": report.machine(),
        "versions": {"python": platform.python_version()},
        "axes": measured,
        "grows": {axis: grows(values) for axis, values in measured.items()},
    }
    options.json.write_text(json.dumps(found, indent=1) + "\n")
    for axis, each in found["grows"].items():
        print(f"{axis:32} x{each['asyncbatch']}, the floor x{each['floor']}: {'flat' if each['flat'] else 'it grows'}")


def run(measure: Callable[[], Any]) -> Values:
    with asyncio.Runner(loop_factory=factory(FAST)) as runner:
        return {name: float(f"{value:.4g}") for name, value in runner.run(measure()).items()}


def line(axis: str, number: int, values: Values) -> str:
    return f"{axis:32} {number:7,}  " + "  ".join(f"{name} {value:<8g}" for name, value in values.items())


def grows(values: dict[str, Values]) -> dict[str, Any]:
    """Return how many times the cost at a hundred a request costs with the most, the machine's share too."""
    first, last = values["100"], list(values.values())[-1]
    ours, bare = (round(last[name] / first[name], 2) for name in ("cpu_us", "floor_us"))
    return {"asyncbatch": ours, "floor": bare, "flat": ours <= FLAT * max(1.0, bare)}


# What grows.


async def callers(number: int, seconds: float) -> Values:
    """So many callers in a closed loop."""
    values = with_floor(await cases.closed(asyncbatch, number, seconds, BATCH))
    took: list[float] = []

    async def called(item: int) -> None:
        began = time.perf_counter()
        await call(item)
        took.append(time.perf_counter() - began)

    async with asyncbatch.open(cases.identity, BATCH) as call:
        await cases.race(called, number, max(2, TIMED // number))
    return {**values, **latency(took)}


async def items_a_batch(many: int, number: int, seconds: float) -> Values:
    return await waiting(many, seconds, Fifo(maxsize=math.inf), max_batch_size=number)


async def keys(many: int, number: int, seconds: float) -> Values:
    """So many keys, each with as many waiting, and as many as make a full batch at least."""
    return await waiting(
        max(many, EACH * number), seconds, Keyed(maxsize=math.inf), lambda item: {"key": item % number}, max_batch_size=EACH
    )


async def priorities(many: int, number: int, seconds: float) -> Values:
    return await waiting(many, seconds, Priority(maxsize=math.inf), lambda item: {"priority": item % number + 1})


async def leaving(number: int, seconds: float) -> Values:
    """So many wait, and all leave before they get into a batch, in any order."""
    order = random.Random(1).sample(range(number), number)
    loop = asyncio.get_running_loop()
    async with Batcher(cases.identity, queue=Fifo(maxsize=math.inf)) as batcher:
        run, run_floor = partial(leave, batcher.submit, order), partial(leave, lambda item: loop.create_future(), order)
        return with_floor(await cases.compare(run, run_floor, number, seconds))


async def waiting(
    number: int,
    seconds: float,
    queue: Any,
    options: Callable[[int], dict[str, Any]] | None = None,
    *,
    max_batch_size: int = BATCH,
    **settings: Any,
) -> Values:
    """So many requests are made at once, and all are answered, in batches as they come."""
    async with AsyncExitStack() as stack:
        batcher = await stack.enter_async_context(
            Batcher(cases.identity, max_batch_size=max_batch_size, queue=queue, **settings)
        )
        bare = await stack.enter_async_context(floor.open(cases.identity, max_batch_size))
        asked = [options(item) if options else {} for item in range(number)]
        run, run_floor = partial(drain, batcher.submit, asked), partial(drain, lambda item, **_: bare(item), asked)
        values = with_floor(await cases.compare(run, run_floor, number, seconds))
        gc.collect()  # once for all turns, as looking through all that is alive takes longer than many of them
        turns = range(max(1, TIMED // number))
        return {**values, **latency([took for _ in turns for took in await timed(batcher.submit, asked)])}


async def overtaking(number: int, seconds: float) -> Values:
    """The same by priority, and how long one request takes that is more urgent than all that wait."""
    queue, options = Priority(maxsize=math.inf), lambda item: {"priority": item % 7 + 1}
    values = await waiting(number, seconds, queue, options)
    async with Batcher(cases.identity, max_batch_size=BATCH, queue=queue) as batcher:
        took = [await overtake(batcher, number) for _ in range(3)]
    return {**values, "urgent_us": min(took) * 1e6}


def axes(many: int) -> dict[str, Callable[[int, float], Any]]:
    """Return what grows, with how it is measured; `many` wait where it is not their number."""
    return {
        "callers": callers,
        "items a batch": partial(items_a_batch, many),
        "keys": partial(keys, many),
        "priorities": partial(priorities, many),
        "waiting, Fifo": partial(waiting, queue=Fifo(maxsize=math.inf)),
        "waiting, Priority": overtaking,
        "waiting, EarliestDeadline": partial(
            waiting, queue=EarliestDeadline(maxsize=math.inf), options=lambda item: {"timeout": 3600 + item % 1009}
        ),
        "waiting, ByLength": partial(waiting, queue=ByLength(maxsize=math.inf), cost=lambda item: 1 + item % 509),
        "waiting, all leave": leaving,
    }


# What they are made of.


async def drain(ask: Callable[..., Any], asked: Iterable[dict[str, Any]], times: int) -> cases.Spent:
    clock = cases.Clock()
    for _ in range(times):
        for answer in [ask(item, **options) for item, options in enumerate(asked)]:
            await answer
    return clock.read()


async def timed(ask: Callable[..., Any], asked: Iterable[dict[str, Any]]) -> list[float]:
    """Drain once more, and return how long each waited for its answer."""
    took: list[float] = []
    answers = []
    for item, options in enumerate(asked):
        began = time.perf_counter()
        answers.append(ask(item, **options))
        answers[-1].add_done_callback(lambda _, began=began: took.append(time.perf_counter() - began))
    for answer in answers:
        await answer
    return took


async def leave(ask: Ask, order: list[int], times: int) -> cases.Spent:
    clock = cases.Clock()
    for _ in range(times):
        answers = [ask(item) for item in order]
        for item in order:
            answers[item].cancel()
        await asyncio.sleep(0)
    return clock.read()


async def overtake(batcher: Batcher[Any, Any], number: int) -> float:
    answers = [batcher.submit(item, priority=item % 7 + 1) for item in range(number)]
    start = time.process_time()  # which is as long on the wall, if nobody else takes the core
    await batcher.submit(0, priority=-1_000_000)
    took = time.process_time() - start
    await asyncio.wait(answers)
    return took


def latency(took: list[float]) -> Values:
    took.sort()
    return {f"p{share}_us": took[(len(took) - 1) * share // 100] * 1e6 for share in (50, 99)}


def with_floor(values: cases.Values) -> Values:
    return {**values, "floor_us": values["cpu_us"] / values["ratio"]}


if __name__ == "__main__":
    main()
