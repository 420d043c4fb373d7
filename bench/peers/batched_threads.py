"""batched, its threaded implementation: a thread, which sleeps 2 ms whenever less than a batch waits, runs the function."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import batched

from harness import Call, Function, blocking

REQUIREMENTS = ["batched"]


@asynccontextmanager
async def open(function: Function, max_batch_size: int) -> AsyncIterator[Call]:
    processor = batched.dynamically(blocking(function), batch_size=max_batch_size, timeout_ms=2.0)
    yield processor.acall
    processor.shutdown()


open_map = open  # the same callable takes an item or a list
