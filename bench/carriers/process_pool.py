"""`loop.run_in_executor` with a `ProcessPoolExecutor`."""

import asyncio
import multiprocessing
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from harness import batches

SCALES = True


@asynccontextmanager
async def open(function: str, workers: int) -> AsyncIterator[Any]:
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:

        async def carry(items: list[Any]) -> Any:
            return list(await loop.run_in_executor(pool, getattr(batches, function), batches.stacked(function, items)))

        yield carry
