"""Ray Serve in a real replica: callers, floor and `@serve.batch` are all in there, on the loop that the replica has.

So what it takes a request to get into the replica, which is far more, is in no figure. But all that the replica's process
does is: the threads by which it speaks with its cluster are in its CPU time.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import ray
from ray import serve

from harness import Call, Function, cases

REQUIREMENTS = ["ray[serve]"]
KINDS = ["replica"]


class Replica:
    @serve.batch
    async def call(self, items: list[Any]) -> list[Any]:
        return await self.function(items)

    @asynccontextmanager
    async def open(self, function: Function, max_batch_size: int, max_wait: float = 0.002) -> AsyncIterator[Call]:
        self.function = function
        self.call.set_max_batch_size(max_batch_size)
        self.call.set_batch_wait_timeout_s(max_wait)
        yield self.call

    async def run(self, case: Callable[..., Awaitable[Any]], options: tuple[Any, ...]) -> Any:
        return await case(self, *options)


async def closed(*options: Any) -> cases.Values:
    return await inside(cases.closed, *options)


async def inside(case: Callable[..., Awaitable[Any]], *options: Any) -> Any:
    """Run a case in a replica of a cluster that is started for it."""
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(proxy_location="Disabled")
        deployment = serve.deployment(max_ongoing_requests=64)(Replica)
        return await serve.run(deployment.bind(), route_prefix=None).run.remote(case, options)
    finally:
        serve.shutdown()
        ray.shutdown()
