"""Ray Serve, `@serve.batch` without a replica around it: its queue and one task, which waits 2 ms for a batch to fill.

The decorator asks the replica that it runs in how many requests that one admits, and is told: as many as fill a batch.
`ray_serve_replica.py` runs in a real one.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ray import serve
from ray.serve import context
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve._private.config import DeploymentConfig
from ray.serve.schema import ReplicaRank

from harness import Call, Function

REQUIREMENTS = ["ray[serve]"]


@asynccontextmanager
async def open(function: Function, max_batch_size: int, max_wait: float = 0.002) -> AsyncIterator[Call]:
    replica, rank = ReplicaID("bench", DeploymentID("bench")), ReplicaRank(rank=0, node_rank=0, local_rank=0)
    config = DeploymentConfig(max_ongoing_requests=max_batch_size)
    context._set_internal_replica_context(
        replica_id=replica, servable_object=None, _deployment_config=config, rank=rank, world_size=1
    )

    @serve.batch(max_batch_size=max_batch_size, batch_wait_timeout_s=max_wait)
    async def call(items: list[Any]) -> list[Any]:
        return await function(items)

    yield call
