"""How much of a padded batch is of use: `ByLength` beside `Fifo`, for items whose lengths follow some law.

    python bench/padding.py                                 half a minute

A function that pads its items to the longest of the batch does `count * longest` of work, of which the sum of the lengths is
of use. Measured is that share, over all batches that leave while at least `window * max_batch_size` wait behind them. The
queue holds them all from the beginning, and the clock is virtual: it is the same on every machine. Beside it stand what
batches in the order of arrival come to by their closed form, where there is one, and how many batches later than in that
order anyone left.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

from asyncbatch import Batcher, ByLength, Fifo
from asyncbatch.testing import RecordingFunction, VirtualClockLoop

LAWS: dict[str, tuple[Callable[[random.Random], float], Callable[[int], float | None]]] = {
    "uniform": (lambda dice: dice.random(), lambda size: (size + 1) / (2 * size)),
    "exponential": (lambda dice: dice.expovariate(1.0), lambda size: 1 / sum(1 / n for n in range(1, size + 1))),
    "lognormal 0.6": (lambda dice: dice.lognormvariate(0.0, 0.6), lambda size: None),
    "lognormal 1.0": (lambda dice: dice.lognormvariate(0.0, 1.0), lambda size: None),
}
SIZES = (8, 32, 64)
WINDOWS = (2, 4, 8)
SEED = 7


def main() -> None:
    options = arguments()
    cases = [case(law, size, options.batches) for law in LAWS for size in SIZES]
    found = {
        "settings": {"batches": options.batches, "seed": SEED, "windows": WINDOWS},
        "versions": {"python": platform.python_version()},
        "cases": cases,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(table(cases))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=500, help="how many of each kind")
    file = Path(__file__).parent / "results" / "padding.json"
    parser.add_argument("--json", type=Path, default=file, metavar="FILE")
    return parser.parse_args()


def case(law: str, size: int, batches: int) -> dict[str, Any]:
    draw, closed_form = LAWS[law]
    dice = random.Random(SEED)
    lengths = [draw(dice) for _ in range(size * batches)]
    fifo, _ = measured(lengths, size, Fifo(len(lengths)), 0)
    expected = closed_form(size)
    windows = {}
    for window in WINDOWS:
        share, later = measured(lengths, size, ByLength(len(lengths), window=window), window)
        windows[window] = {"share": round(share, 4), "times_fifo": round(share / fifo, 3), "batches_later": later}
    return {
        "law": law,
        "max_batch_size": size,
        "fifo": {"share": round(fifo, 4), "closed_form": expected and round(expected, 4)},
        "by_length": windows,
    }


def measured(lengths: list[float], size: int, queue: Fifo, window: int) -> tuple[float, int]:
    """Return which share of the batches is of use, and how many batches later than in the order of arrival anyone left."""
    batches = run(lengths, size, queue)[: -window or None]
    share = sum(lengths[item] for item in chain(*batches)) / sum(
        len(batch) * max(lengths[item] for item in batch) for batch in batches
    )
    return share, max(number - item // size for number, batch in enumerate(batches) for item in batch)


def run(lengths: list[float], size: int, queue: Fifo) -> list[list[int]]:
    function = RecordingFunction(seconds=1.0)

    async def serve() -> None:
        async with Batcher(function, max_batch_size=size, cost=lengths.__getitem__, queue=queue) as batcher:
            await asyncio.gather(*[batcher.submit(item) for item in range(len(lengths))])

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(serve())
    return function.batches


def table(cases: list[dict[str, Any]]) -> str:
    head = f"{'law':14}{'size':>6}{'closed form':>13}{'fifo':>7}" + "".join(f"{f'window {each}':>17}" for each in WINDOWS)
    lines = [head]
    for each in cases:
        closed_form = each["fifo"]["closed_form"]
        cells = [f"{found['share']:.3f} ({found['times_fifo']:.2f} x)" for found in each["by_length"].values()]
        lines.append(
            f"{each['law']:14}{each['max_batch_size']:6}{closed_form or float('nan'):13.3f}{each['fifo']['share']:7.3f}"
            + "".join(f"{cell:>17}" for cell in cells)
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
