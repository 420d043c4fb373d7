"""Whether a batcher can run for ever: under mixed load in real time nothing grows, nobody is lost, and nothing is left over.

    python bench/soak.py                ten minutes, in an environment that has asyncbatch
    python bench/soak.py --seconds 10   a look; too short to tell of memory

Three batchers have a hundred callers who come at random, a thousand times a second together and with ten thousand items: one
with a queue for each key, one in threads and with deadlines, one in two worker processes, of which one is killed every 20
seconds. Callers await single items and lists, iterate, leave in the midst, run out of time, and get errors, of their own or
of the whole batch. All answers are checked. Whoever has none after half a minute is lost.

Every five seconds the callers are held for a moment. When all have their answers, what the process holds is counted: its own
memory and that of its workers, objects that Python's collector knows, threads, file descriptors, children, tasks. Under load
the objects would be those of the requests under way, and so tell how busy the machine is. Flat means that the median of each
of the first three grew by less than `SHARE` from the second quarter of the time to the last. After all are closed, threads,
descriptors, children and tasks must be as many as after a first, short run, which has started what Python itself keeps to the
end.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

from asyncbatch import Batcher, EarliestDeadline, Fifo, Keyed, ProcessExecutor, ThreadExecutor
from harness import mixed, report

FILE = Path(__file__).parent / "results" / "soak.json"
CALLERS = 100
KILL_EVERY = 20.0  # seconds, or a quarter of a short run
SHARE = 0.01
ENOUGH = 120.0  # seconds; a shorter run cannot tell of memory, and does not


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="results/soak.json, if it runs for ten minutes")
    options = parser.parse_args()
    found = asyncio.run(soak(options.seconds))
    file = options.json or (FILE if options.seconds >= 600 else None)
    if file:
        file.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({name: value for name, value in found.items() if name != "samples"}, indent=1))
    sys.exit(not all(found["verdict"].values()))


async def soak(seconds: float) -> dict[str, Any]:
    await session(2.0, Counter(), [])
    before = held()
    outcomes: Counter[str] = Counter()
    samples: list[dict[str, float]] = []
    statistics = await session(seconds, outcomes, samples)
    after = held()
    growth = {name: grown(samples, name) for name in ("memory_mb", "objects", "workers_memory_mb")}
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "settings": {
            "seconds": seconds,
            "callers": CALLERS,
            "pause": mixed.PAUSE,
            "kill_every": KILL_EVERY,
            "share": SHARE,
        },
        "machine": report.machine(),
        "versions": {"python": platform.python_version()},
        "outcomes": dict(sorted(outcomes.items())),
        "batchers": statistics,
        "growth": growth,
        "before": before,
        "after": after,
        "verdict": {
            "memory is flat": seconds < ENOUGH or all(each["share"] < SHARE for each in growth.values()),
            "nobody is lost": not outcomes["lost"] and not outcomes["unforeseen"],
            "every answer is right": not outcomes["wrong"],
            "the statistics add up": all(each["adds_up"] for each in statistics.values()),
            "nothing is left over": all(
                after[name] <= before[name] for name in ("threads", "descriptors", "children", "tasks")
            ),
        },
        "samples": samples,
    }


async def session(seconds: float, outcomes: Counter[str], samples: list[dict[str, float]]) -> dict[str, Any]:
    async with batchers() as opened:
        start, load = time.monotonic(), mixed.Load()
        end = start + seconds
        callers = [asyncio.create_task(mixed.caller(number, opened, load, end, outcomes)) for number in range(CALLERS)]
        killer = asyncio.create_task(mixed.kill(opened["processes"], load, min(KILL_EVERY, seconds / 4), outcomes))
        while (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(left, max(0.2, seconds / 120)))
            async with load.held():
                at = round(time.monotonic() - start, 1)
                samples.append({"at": at, **held(), "calls": outcomes.total()})
        await asyncio.gather(*callers)
        killer.cancel()
        await asyncio.wait([killer])
        return {name: summary(batcher) for name, batcher in opened.items()}


@asynccontextmanager
async def batchers() -> AsyncIterator[dict[str, Batcher[int, int]]]:
    async with AsyncExitStack() as stack:
        yield {
            "keys": await stack.enter_async_context(Batcher(mixed.keyed, max_batch_size=16, max_wait=0.002, queue=Keyed())),
            "threads": await stack.enter_async_context(
                Batcher(mixed.plain, max_batch_size=32, executor=ThreadExecutor(2), queue=EarliestDeadline(maxsize=256))
            ),
            "processes": await stack.enter_async_context(
                Batcher(
                    mixed.deadly, max_batch_size=32, max_wait=0.005, executor=ProcessExecutor(2, restarts=10), queue=Fifo()
                )
            ),
        }


# What the process holds.


def held() -> dict[str, float]:
    gc.collect()
    children = [pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]
    return {
        "memory_mb": memory("self"),
        "workers_memory_mb": round(sum(map(memory, children)), 2),
        "objects": len(gc.get_objects()),
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "children": len(children),
        "tasks": len(asyncio.all_tasks()),
    }


def memory(process: str) -> float:
    """Return the megabytes that are a process's own; none if it has just ended."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return round(int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024, 2)
    return 0.0


def grown(samples: list[dict[str, float]], name: str) -> dict[str, float]:
    """Return by how much it grew from the second quarter of the samples to the last, and by how much a minute after the first."""
    quarter = len(samples) // 4
    then, now = (median(each[name] for each in part) for part in (samples[quarter : 2 * quarter], samples[3 * quarter :]))
    slope = linear_regression(*zip(*((each["at"], each[name]) for each in samples[quarter:]), strict=True)).slope
    return {"from": then, "to": now, "share": round(now / then - 1, 4), "a_minute": round(slope * 60, 4)}


def summary(batcher: Batcher[int, int]) -> dict[str, Any]:
    s = batcher.statistics()
    ended = s.succeeded + s.failed + s.cancelled + s.expired + s.rejected + s.closed
    counts = {name: getattr(s, name) for name in ("submitted", "succeeded", "failed", "cancelled", "expired", "rejected")}
    return {**counts, "workers_lost": s.workers_lost, "adds_up": s.submitted == ended and not s.queued and not s.in_flight}


if __name__ == "__main__":
    main()
