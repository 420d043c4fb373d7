"""asyncbatch, a thread, the executor alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any

from asyncbatch import ThreadExecutor

from harness import batches


@asynccontextmanager
async def open(function: str, workers: int) -> AsyncIterator[Any]:
    (slot,) = ThreadExecutor(workers=workers).open(getattr(batches, function), function, 1)
    try:
        yield lambda items: slot.run(items, Context())
    finally:
        slot.close()
