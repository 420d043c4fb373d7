"""How far one service process goes: how many replicas it can keep busy, what runs out first, and what a thousand take.

    python bench/scale.py               two minutes, in an environment that has asyncbatch

The real `Batcher` runs on a virtual clock, with 1 to 1,000 replicas that take `SECONDS` for a batch of 64, a tenth more or
less, and with twice as many callers as fit into their batches, each awaiting one item after the other. The seconds of the
replicas pass at once; those that the event loop computes are real, and counted. What a trip to an actor of Ray costs this
process comes from `results/executors.json`, what an item costs on other event loops from `results/overhead.json`.

The rest is arithmetic. A process is full when it computes all the time, as if no two of its threads could: so it is, but for
the copying of large arrays. A network is full when its bits are, in one of its two directions. What the server around the batcher
does for a request is not in it. `SECONDS` and `NETWORK` are assumptions; put yours in their place.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import pickle
import platform
import random
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from asyncbatch import Batcher, Fifo, InlineExecutor
from asyncbatch.testing import VirtualClockLoop
from harness import report

RESULTS = Path(__file__).parent / "results"
REPLICAS = (1, 10, 30, 100, 300, 1000)
THOUSAND = REPLICAS[-1]
BATCH = 64
SECONDS = 0.1  # that a replica takes for a batch
NETWORK = 25e9 / 8  # bytes a second in each direction
ROUNDS = 3  # of which the least counts
ENOUGH = 100_000  # items
BATCHES = {
    "integers": list(range(BATCH)),
    "rows": np.zeros((BATCH, 384), np.float32),
    "images": np.zeros((BATCH, 3, 224, 224), np.float32),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=RESULTS / "scale.json", metavar="FILE")
    options = parser.parse_args()
    loop = {str(replicas): min(simulated(replicas) for _ in range(ROUNDS)) for replicas in REPLICAS}
    trips = json.loads((RESULTS / "executors.json").read_text())["trips"]
    found = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "settings": {"batch": BATCH, "seconds": SECONDS, "network_bytes_a_second": NETWORK, "rounds": ROUNDS},
        "machine": report.machine(),
        "versions": {"python": platform.python_version()},
        "loop_us_an_item": loop,
        "loop_us_an_item_elsewhere": elsewhere(),
        "limits": {
            case: limits(loop, trips[case]["asyncbatch_ray"]["cpu"], len(pickle.dumps(BATCHES[case], 5)))
            for case in BATCHES
        },
    }
    options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def simulated(replicas: int) -> float:
    """Return what an item costs the event loop, in microseconds."""
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(serve(replicas))


async def serve(replicas: int) -> float:
    chance = random.Random(1)

    async def function(items: list[int]) -> list[int]:
        await asyncio.sleep(SECONDS * chance.uniform(0.9, 1.1))
        return items

    async def call() -> None:
        while going:
            await batcher(1)

    going = True
    queue = Fifo(maxsize=math.inf)
    async with Batcher(function, executor=InlineExecutor(replicas), max_batch_size=BATCH, queue=queue) as batcher:
        calls = [asyncio.create_task(call()) for _ in range(2 * BATCH * replicas)]
        await asyncio.sleep(3 * SECONDS)
        before, start = batcher.statistics(), time.process_time()
        await asyncio.sleep(max(3, ENOUGH / BATCH / replicas) * SECONDS)
        busy, after = time.process_time() - start, batcher.statistics()
        going = False
        await asyncio.gather(*calls)
    assert after.mean_batch_size > 0.99 * BATCH
    return busy / (after.succeeded - before.succeeded) * 1e6


def elsewhere() -> dict[str, float]:
    """Return what an item costs with 4,096 callers, in microseconds, as it was measured on real event loops."""
    cases = json.loads((RESULTS / "overhead.json").read_text())["cases"]
    return {
        case["loop"]: case["peers"]["asyncbatch"]["cpu_us"]["median"]
        for case in cases
        if (case["kind"], case["n"]) == ("closed", 4096)
    }


def limits(loop: dict[str, float], trip: float, size: int) -> dict[str, float]:
    """Return how many replicas one process and one network keep busy, and what it takes for a thousand."""
    process = full(loop, trip)
    network = NETWORK / size * SECONDS
    return {
        "bytes_each_way": size,
        "trip_us": trip,
        "loop_us": BATCH * cost(loop, process),
        "replicas_a_process": process,
        "replicas_a_network": network,
        "processes_for_a_thousand": math.ceil(THOUSAND / process),
        "networks_for_a_thousand": math.ceil(THOUSAND / network),
        "bytes_in_flight_for_a_thousand": THOUSAND * 2 * size,
    }


def full(loop: dict[str, float], trip: float) -> float:
    """Return for how many replicas the process computes all the time."""
    few, many = 0.0, 100.0 * THOUSAND
    for _ in range(60):
        middle = (few + many) / 2
        busy = middle * (BATCH * cost(loop, middle) + trip) * 1e-6 / SECONDS
        few, many = (middle, many) if busy < 1 else (few, middle)
    return few


def cost(loop: dict[str, float], replicas: float) -> float:
    """Return what an item costs with so many replicas, between those that were measured."""
    return float(np.interp(replicas, [float(each) for each in loop], list(loop.values())))


if __name__ == "__main__":
    main()
