"""aiodataloader: what is loaded in one pass of the loop makes a batch. Without its cache, which would skip the work."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiodataloader import DataLoader

from harness import Call, Function

REQUIREMENTS = ["aiodataloader"]


@asynccontextmanager
async def open(function: Function, max_batch_size: int) -> AsyncIterator[Call]:
    yield DataLoader(function, max_batch_size=max_batch_size, cache=False).load


@asynccontextmanager
async def open_map(function: Function, max_batch_size: int) -> AsyncIterator[Call]:
    yield DataLoader(function, max_batch_size=max_batch_size, cache=False).load_many
