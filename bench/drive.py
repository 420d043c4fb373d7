"""Drive one peer with recorded arrivals, in this process, and print what its callers saw as one line of JSON.

`in_time.py` runs this with the Python of the peer's own environment. The file says what to run, as a list of cells: the
times at which callers come, what a batch of b takes, which is fixed + each * b, and what the peer is told: the size of a
batch, for how long to wait for one to fill, within what time callers want to be answered. A peer takes each cell as it
comes and, if its `open` can be told of them, with the wait or with the objective of the cell. Who gets no answer waits for
ever, which JSON has no number for: it says null. Latencies are of those who came after what the cell leaves for learning.

The function serves one batch at a time: a lock keeps those apart that a peer would run at once, as a model would.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import inspect
import json
import math
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from harness import Call, clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", help="the name of a file in bench/peers")
    parser.add_argument("cells", type=Path, metavar="FILE")
    parser.add_argument("--live", action="store_true", help="in real time")
    options = parser.parse_args()
    peer = importlib.import_module(f"peers.{options.peer}")
    rows = []
    for cell in json.loads(options.cells.read_text()):
        for way, told in ways(peer, cell):
            with asyncio.Runner(loop_factory=clock.real if options.live else clock.virtual) as runner:
                served = runner.run(Served(cell).drive(peer, told, live=options.live))
            rows.append({"cell": cell["name"], "peer": f"{options.peer}{way}", **served})
    print(json.dumps(rows))


def ways(peer: Any, cell: dict[str, Any]) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield in which ways the peer takes the cell, each with its name and what it is told."""
    takes = inspect.signature(peer.open).parameters
    yield "", {}
    if "max_wait" in takes and "max_wait" in cell:
        yield f" {1000 * cell['max_wait']:g} ms", {"max_wait": cell["max_wait"]}
    if "objective" in takes and "objective" in cell:
        yield " objective", {"objective": cell["objective"]}


class Served:
    """What the callers of one cell saw."""

    def __init__(self, cell: dict[str, Any]) -> None:
        self._cell = cell
        self._arrivals: list[float] = json.loads(Path(cell["arrivals"]).read_text())
        self._free = asyncio.Lock()
        self.latencies: dict[int, float] = {}
        self.sizes: list[int] = []

    async def drive(self, peer: Any, told: dict[str, float], *, live: bool) -> dict[str, Any]:
        async with AsyncExitStack() as stack:
            if live:
                await stack.enter_async_context(clock.kept_awake())
            call = await stack.enter_async_context(peer.open(self._function, self._cell["max_batch_size"], **told))
            callers = await stack.enter_async_context(asyncio.TaskGroup())
            began = asyncio.get_running_loop().time()
            for item, at in enumerate(self._arrivals):
                await clock.until(began + at)
                callers.create_task(self._call(call, item, began + at))
        return self._summary()

    async def _function(self, items: list[Any]) -> list[Any]:
        async with self._free:
            self.sizes.append(len(items))
            await asyncio.sleep(self._cell["fixed"] + self._cell["each"] * len(items))
        return list(items)

    async def _call(self, call: Call, item: int, since: float) -> None:
        try:
            result = await call(item)
        except Exception:  # of what kind is the peer's affair: this caller has no answer
            return
        if result != item:
            raise ValueError("a caller did not get the result of its own item")
        self.latencies[item] = asyncio.get_running_loop().time() - since

    def _summary(self) -> dict[str, Any]:
        learnt, objective = self._cell.get("learnt", 0.0), self._cell.get("objective", -math.inf)
        later = [item for item, at in enumerate(self._arrivals) if at >= learnt]
        waited = sorted(self.latencies.get(item, math.inf) for item in later)
        answered = [latency for latency in waited if latency < math.inf]
        in_time = sum(latency <= objective + 1e-9 for latency in self.latencies.values())
        return {
            "mean": sum(answered) / len(answered) if answered else None,
            "p50": _known(waited[math.ceil(0.5 * len(later)) - 1]),
            "p99": _known(waited[math.ceil(0.99 * len(later)) - 1]),
            "longest": _known(waited[-1]),
            "answered": len(self.latencies) / len(self._arrivals),
            "goodput": in_time / len(self._arrivals),
            "batches": len(self.sizes),
        }


def _known(seconds: float) -> float | None:
    return seconds if seconds < math.inf else None


if __name__ == "__main__":
    main()
