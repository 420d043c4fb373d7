"""No trip at all: the work, on the loop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from harness import batches


@asynccontextmanager
async def open(function: str, workers: int) -> AsyncIterator[Any]:
    async def carry(items: list[Any]) -> Any:
        return list(getattr(batches, function)(items))

    yield carry
