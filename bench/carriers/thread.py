"""`loop.run_in_executor` with threads."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from harness import batches


@asynccontextmanager
async def open(function: str, workers: int) -> AsyncIterator[Any]:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(workers) as pool:
        yield partial(loop.run_in_executor, pool, getattr(batches, function))
