"""Batches on a Dask cluster: callers await one item each in this process, the function runs on the cluster's workers.

Run it: python examples/dask_cluster.py

It needs `pip install distributed`. The cluster here is two processes on this machine; `Client("tcp://scheduler:8786")` is one
anywhere. It prints:

    [0, 1, 4, 9, 16, 25, 36, 49]
    4 batches, at most 2 at once
"""

import asyncio

from distributed import Client, LocalCluster

from asyncbatch import Batcher, FuturesExecutor


def squares(items: list[int]) -> list[int]:
    return [item * item for item in items]


async def main(client: Client) -> None:
    # What a cluster can do at once it does not tell, as it may grow: so `concurrency` is said here.
    pool = FuturesExecutor(client.get_executor(), concurrency=2)
    async with Batcher(squares, executor=pool, max_batch_size=2) as batcher:
        print(await asyncio.gather(*map(batcher, range(8))))
        statistics = batcher.statistics()
    print(f"{statistics.batches} batches, at most {statistics.capacity} at once")


if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        asyncio.run(main(client))
