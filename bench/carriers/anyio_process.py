"""`anyio.to_process.run_sync`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anyio import to_process

from harness import batches


@asynccontextmanager
async def open(function: str, workers: int) -> AsyncIterator[Any]:
    async def carry(items: list[Any]) -> Any:
        return list(await to_process.run_sync(getattr(batches, function), batches.stacked(function, items)))

    yield carry
