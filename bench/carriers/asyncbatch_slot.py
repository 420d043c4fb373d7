"""asyncbatch, the executor alone: what `Batcher` itself awaits for a batch."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any

from asyncbatch import ProcessExecutor

from harness import batches


@asynccontextmanager
async def open(function: str, workers: int) -> AsyncIterator[Any]:
    (slot,) = ProcessExecutor(workers=workers).open(getattr(batches, function), function, 1)
    await slot.prepare()
    try:
        yield lambda items: slot.run(items, Context())
    finally:
        slot.close()
