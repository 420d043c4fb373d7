"""Monitor: what was planned, for real: all items one by one and in batches, and callers who come as they were simulated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from asyncbatch.batcher import Batcher
from asyncbatch.errors import AsyncBatchError
from asyncbatch.metrics.events import BatchEnded, Event
from asyncbatch.simulate import Outcome

from .profile import Likeness
from .quality import difference

__all__ = ("Make", "Row", "compare", "live")

Make = Callable[..., "Batcher[Any, Any]"]


@dataclass(frozen=True)
class Row:
    """What came of one method; `busy` is how long the function ran."""

    method: str
    requests: int
    seconds: float
    busy: float
    batches: int
    likeness: Likeness


async def compare(make: Make, items: Sequence[Any], settings: dict[str, Any]) -> list[Row]:
    """Return what it takes to answer all `items` one by one, and with `settings`; `make` makes a batcher of keywords."""
    rows, alone = [], None
    for method, keywords in (("One by one", {"max_batch_size": 1}), ("asyncbatch", settings)):
        async with make(**keywords) as batcher:
            began = asyncio.get_running_loop().time()
            results = await batcher.map(items, return_exceptions=True)
            seconds = asyncio.get_running_loop().time() - began
        alone, statistics = alone or results, batcher.statistics()
        likeness = Likeness()
        for one, other in zip(alone, results, strict=True):
            likeness.note(difference(one, other))
        rows.append(Row(method, len(items), seconds, statistics.busy_seconds, statistics.batches, likeness))
    return rows


async def live(make: Make, items: Sequence[Any], times: Sequence[float], settings: dict[str, Any]) -> Outcome:
    """Return what becomes of callers who come at those `times`, in seconds from now."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    sizes: list[int] = []

    def note(event: Event) -> None:
        if isinstance(event, BatchEnded):
            sizes.append(event.size)

    async def call(item: Any) -> None:
        came = loop.time()
        try:
            await batcher(item)
        except AsyncBatchError:
            return
        latencies.append(loop.time() - came)

    async with make(**settings, observers=[note]) as batcher, asyncio.TaskGroup() as calls:
        began = loop.time()
        for place, at in enumerate(times):
            if (wait := began + at - loop.time()) > 0:
                await asyncio.sleep(wait)
            calls.create_task(call(items[place % len(items)]))
    busy, refused = batcher.statistics().busy_seconds, len(times) - len(latencies)
    return Outcome(tuple(sorted(latencies)), refused, tuple(sizes), busy, loop.time() - began)
