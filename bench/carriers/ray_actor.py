"""An actor of Ray, awaited: `list(await actor.run.remote(items))`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ray

from harness import batches


class Actor:
    def __init__(self, function: str) -> None:
        self.function = getattr(batches, function)

    def run(self, items: list[Any]) -> Any:
        return self.function(items)


@asynccontextmanager
async def open(function: str, workers: int) -> AsyncIterator[Any]:
    ray.init(include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    actor: Any = ray.remote(Actor).remote(function)

    async def carry(items: list[Any]) -> Any:
        return list(await actor.run.remote(items))

    yield carry
    ray.kill(actor)
