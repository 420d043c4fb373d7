"""loky: a `concurrent.futures` pool that survives more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from loky import ProcessPoolExecutor

from harness import batches


@asynccontextmanager
async def open(function: str, workers: int) -> AsyncIterator[Any]:
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(workers) as pool:

        async def carry(items: list[Any]) -> Any:
            return list(await loop.run_in_executor(pool, getattr(batches, function), batches.stacked(function, items)))

        yield carry
