"""strawberry's DataLoader: what is loaded in one pass of the loop makes a batch. Without its cache, as of aiodataloader."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from strawberry.dataloader import DataLoader

from harness import Call, Function

REQUIREMENTS = ["strawberry-graphql"]


@asynccontextmanager
async def open(function: Function, max_batch_size: int) -> AsyncIterator[Call]:
    loader: DataLoader[Any, Any] = DataLoader(load_fn=function, max_batch_size=max_batch_size, cache=False)
    yield loader.load


@asynccontextmanager
async def open_map(function: Function, max_batch_size: int) -> AsyncIterator[Call]:
    loader: DataLoader[Any, Any] = DataLoader(load_fn=function, max_batch_size=max_batch_size, cache=False)
    yield loader.load_many
