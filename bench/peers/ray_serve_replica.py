"""Ray Serve in a real replica: callers, floor and `@serve.batch` are all in there, on the loop that the replica has.

So what it takes a request to get into the replica, which is far more, is in no figure. But all that the replica's process
does is: the threads by which it speaks with its cluster are in its CPU time.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ray
from ray import serve

from harness import Call, Function, cases

REQUIREMENTS = ["ray[serve]"]
KINDS = ["replica"]


class Replica:
    @serve.batch(batch_wait_timeout_s=0.002)
    async def call(self, items: list[Any]) -> list[Any]:
        return await self.function(items)

    @asynccontextmanager
    async def open(self, function: Function, max_batch_size: int) -> AsyncIterator[Call]:
        self.function = function
        self.call.set_max_batch_size(max_batch_size)
        yield self.call

    async def closed(self, *options: Any) -> cases.Values:
        return await cases.closed(self, *options)


async def closed(size: int, seconds: float, max_batch_size: int) -> cases.Values:
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(proxy_location="Disabled")
        deployment = serve.deployment(max_ongoing_requests=max_batch_size)(Replica)
        return await serve.run(deployment.bind(), route_prefix=None).closed.remote(size, seconds, max_batch_size)
    finally:
        serve.shutdown()
        ray.shutdown()
