"""Pools that others built, for real: the standard library's processes, loky's, and a Dask cluster."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import multiprocessing
import os
from collections.abc import Iterator

import numpy as np
import pool_functions
import pytest
import uvloop
from callers import conserved, outcome, outcomes, running
from distributed import Client, LocalCluster
from loky import ProcessPoolExecutor, get_reusable_executor

from asyncbatch import FuturesExecutor

pytestmark = pytest.mark.filterwarnings("default")  # of what others warn we are not the judges


@contextlib.contextmanager
def standard() -> Iterator[concurrent.futures.Executor]:
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("forkserver")) as pool:
        yield pool


@contextlib.contextmanager
def loky() -> Iterator[concurrent.futures.Executor]:
    pool = get_reusable_executor(max_workers=2)
    yield pool
    pool.shutdown(wait=True)


@contextlib.contextmanager
def dask() -> Iterator[concurrent.futures.Executor]:
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        with client.get_executor() as pool:
            yield pool


@pytest.fixture(scope="module", params=[standard, loky, dask])
def pool(request):
    with request.param() as pool:
        # The threads that a pool starts with its first work are not those of the test that happens to be the first.
        assert pool.submit(os.getpid).result(60)
        yield pool


def run(main):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def test_each_caller_gets_its_own_result(pool):
    async def main():
        async with running(pool_functions.squares, executor=FuturesExecutor(pool, 2), max_batch_size=3) as batcher:
            assert await outcomes(batcher, *range(20)) == [item * item for item in range(20)]
            assert await batcher.map(range(20)) == [item * item for item in range(20)]
            assert conserved(batcher)

    run(main())


def test_it_runs_in_their_processes(pool):
    async def main():
        async with running(pool_functions.pids, executor=FuturesExecutor(pool, 2)) as batcher:
            assert os.getpid() not in await outcomes(batcher, *range(4))

    run(main())


def test_arrays_go_there_and_back(pool):
    rows = np.arange(12.0).reshape(4, 3)

    async def main():
        async with running(pool_functions.sums, executor=FuturesExecutor(pool, 2)) as batcher:
            assert await batcher.map(rows) == list(rows.sum(axis=1))

    run(main())


def test_errors_come_back_with_where_they_were_raised(pool):
    async def main():
        async with running(pool_functions.complain, executor=FuturesExecutor(pool, 2)) as batcher:
            one, two = await outcomes(batcher, 1, 2)
        assert isinstance(one, ValueError)
        assert one is not two
        assert str(one) == "no weights for 2"
        assert "pool_functions.py" in one.__notes__[0]

    run(main())


def test_an_exception_among_the_results_is_its_own_items(pool):
    async def main():
        async with running(pool_functions.some_bad, executor=FuturesExecutor(pool, 2)) as batcher:
            results = await outcomes(batcher, 0, 1, 2)
            assert [type(each) for each in results] == [int, ValueError, int]

    run(main())


def test_as_many_batches_as_the_pool_has_workers_run_at_once_where_it_tells(pool):
    told = getattr(pool, "_max_workers", None)

    async def main():
        async with running(pool_functions.squares, executor=pool) as batcher:
            return batcher.statistics().capacity

    assert run(main()) == (told or 1)


def test_it_stays_theirs_to_shut_down(pool):
    async def main():
        async with running(pool_functions.squares, executor=pool) as batcher:
            assert await outcome(batcher(3)) == 9

    run(main())
    assert pool.submit(os.getpid).result(60)


@pytest.mark.parametrize("make", [concurrent.futures.ProcessPoolExecutor, ProcessPoolExecutor])
def test_a_worker_that_is_killed_breaks_its_pool_and_every_caller_is_told(make):
    async def main(pool):
        async with running(pool_functions.die, executor=FuturesExecutor(pool, 1), max_batch_size=1) as batcher:
            assert await outcome(batcher("live")) == "live"
            results = await outcomes(batcher, "die", "next", "after")
            assert all(isinstance(each, concurrent.futures.BrokenExecutor) for each in results)
            assert conserved(batcher)

    with (
        make(1, multiprocessing.get_context("spawn")) if make is concurrent.futures.ProcessPoolExecutor else make(1) as pool
    ):
        run(main(pool))
