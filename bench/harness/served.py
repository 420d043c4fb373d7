"""What the callers of one cell saw who came to a peer at recorded times, with a function that serves one batch at a time."""

from __future__ import annotations

import asyncio
import inspect
import json
import math
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

from . import Call, clock

Json: TypeAlias = dict[str, Any]


async def in_real_time(peer: Any, cells: list[Json]) -> list[Json]:
    return [await drive(peer, cell, way, told, live=True) for cell in cells for way, told in ways(peer, cell)]


async def drive(peer: Any, cell: Json, way: str, told: dict[str, float], *, live: bool) -> Json:
    return {"cell": cell["name"], "way": way, **await Served(cell).drive(peer, told, live=live)}


def ways(peer: Any, cell: Json) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield in which ways the peer takes the cell, each with its name and what it is told."""
    takes = inspect.signature(peer.open).parameters
    yield "", {}
    if "max_wait" in takes and "max_wait" in cell:
        yield f"{1000 * cell['max_wait']:g} ms", {"max_wait": cell["max_wait"]}
    if "objective" in takes and "objective" in cell:
        yield "objective", {"objective": cell["objective"]}


class Served:
    """What the callers of one cell saw."""

    def __init__(self, cell: Json) -> None:
        self._cell = cell
        self._arrivals: list[float] = json.loads(Path(cell["arrivals"]).read_text())
        self._free = asyncio.Lock()
        self.latencies: dict[int, float] = {}
        self.sizes: list[int] = []

    async def drive(self, peer: Any, told: dict[str, float], *, live: bool) -> Json:
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

    def _summary(self) -> Json:
        objective = self._cell.get("objective", -math.inf)
        later = range(self._cell.get("learnt", 0), len(self._arrivals))
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
