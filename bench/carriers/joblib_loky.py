"""joblib: `Parallel`, whose workers stay, called in a thread. With one worker it would run all in this process, so it has two.

It hands large arrays over in files that are mapped into memory; "c" lets the function write to its copy.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from joblib import Parallel, delayed

from harness import batches


@asynccontextmanager
async def open(function: str, workers: int) -> AsyncIterator[Any]:
    loop = asyncio.get_running_loop()
    call = delayed(getattr(batches, function))
    with ThreadPoolExecutor(1) as thread, Parallel(max(2, workers), mmap_mode="c") as parallel:

        async def carry(items: list[Any]) -> Any:
            (results,) = await loop.run_in_executor(thread, parallel, [call(batches.stacked(function, items))])
            return list(results)

        yield carry
