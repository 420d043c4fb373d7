"""asyncbatch, an actor of Ray, the executor alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any

from asyncbatch import RayExecutor

from harness import batches


@asynccontextmanager
async def open(function: str, workers: int) -> AsyncIterator[Any]:
    (slot,) = RayExecutor(workers).open(getattr(batches, function), function, 1)
    await slot.prepare()

    async def carry(items: list[Any]) -> Any:
        return list(await slot.run(items, Context()))

    yield carry
    slot.close()
