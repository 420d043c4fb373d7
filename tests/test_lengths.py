"""Who shares a batch where a batch costs its longest item for each of its items."""

from __future__ import annotations

import asyncio
import math
import random

import pytest
from callers import busy, conserved, harried, kinds, outcome, passes, running

from asyncbatch import Batcher, ByLength, DeadlineExceeded, Fifo, QueueFull, batched
from asyncbatch.metrics.events import RequestDropped
from asyncbatch.testing import RecordingFunction

pytestmark = pytest.mark.virtual

INF = math.inf


def length(item):
    return item if isinstance(item, int | float) else 0


def submit(batcher, *items, **details):
    return [batcher.submit(item, **details) for item in items]


async def results(futures):
    return await asyncio.gather(*map(outcome, futures))


def padded(batch):
    return len(batch) * max(batch)


# Who goes together


async def test_those_nearest_in_length_to_the_first_go_with_it_in_their_order():
    async with busy(max_batch_size=3, cost=length, queue=ByLength()) as (batcher, function):
        futures = submit(batcher, 50, 1, 90, 52, 2, 40, 91)
        batcher.release()
        assert await results(futures) == [50, 1, 90, 52, 2, 40, 91]
        assert function.batches == [[50, 52, 40], [1, 90, 2], [91]]


async def test_of_equals_the_first_go_first():
    async with busy(max_batch_size=3, cost=length, queue=ByLength()) as (batcher, function):
        futures = submit(batcher, 5.0, 6.0, 4.0, 6, 5, 4)
        batcher.release()
        await results(futures)
        assert [[type(item) for item in batch] for batch in function.batches] == [[float, float, int], [float, int, int]]
        assert function.batches == [[5, 6, 5], [4, 6, 4]]


async def test_an_odd_one_at_the_head_leaves_with_the_next_batch():
    async with busy(max_batch_size=2, cost=length, queue=ByLength(window=8)) as (batcher, function):
        futures = [future for _ in range(20) for future in submit(batcher, 500, 1, 2, 3)]
        batcher.release()
        order = []
        for index, future in enumerate(futures):
            future.add_done_callback(lambda _, index=index: order.append(index))
        await results(futures)
        waiting = set(range(80))
        for first, second in zip(order[::2], order[1::2], strict=True):
            assert min(waiting) == first
            waiting -= {first, second}


@pytest.mark.parametrize(("window", "company"), [(1, 60), (2, 60), (3, 51)])
async def test_the_window_is_so_many_batches_of_those_who_wait(window, company):
    async with busy(max_batch_size=2, cost=length, queue=ByLength(window=window)) as (batcher, function):
        futures = submit(batcher, 50, 60, 70, 80, 90, 51)
        batcher.release()
        await results(futures)
        assert function.batches[0] == [50, company]


async def test_who_has_left_is_not_among_them():
    async with busy(max_batch_size=2, cost=length, queue=ByLength(window=1)) as (batcher, function):
        futures = submit(batcher, 7, 50, 7, 51, 8, 52)
        for future in futures[::2]:
            future.cancel()
        batcher.release()
        await results(futures[1::2])
        assert function.batches == [[50, 51], [52]]
        assert conserved(batcher)


@pytest.mark.parametrize("moment", range(8))
async def test_who_is_made_to_leave_while_a_batch_is_picked_does_not_go(moment):
    def observer(event):
        if isinstance(event, RequestDropped):
            futures[0].cancel()

    async with busy(cost=length, queue=ByLength(), observers=[observer]) as (batcher, function):
        futures = submit(batcher, 1, 2)
        leaves = asyncio.create_task(batcher(3))
        await passes()
        futures += submit(batcher, 4)
        batcher.release()
        await passes(moment)
        leaves.cancel()  # in one of these passes it is the queue that notices, after it took out the first
        assert kinds(await results(futures[1:])) == [2, 4]
        assert conserved(batcher)
        assert function.batches in ([[2, 4]], [[1, 2, 4]], [[1, 2, 3, 4]])


# The budget


async def test_a_batch_costs_its_longest_item_for_each():
    async with busy(max_batch_cost=100, cost=length, queue=ByLength()) as (batcher, function):
        futures = submit(batcher, 30, 40, 20, 31, 1, 2, 3)
        batcher.release()
        await results(futures)
        assert function.batches == [[30, 20, 31], [40, 3], [1, 2]]
        assert batcher._house.queue.cost == 0


async def test_one_that_is_too_long_does_not_keep_out_who_fits():
    async with busy(max_batch_cost=105, max_batch_size=4, cost=length, queue=ByLength()) as (batcher, function):
        futures = submit(batcher, 25, 26, 24, 28, 20)
        batcher.release()
        await results(futures)
        assert function.batches == [[25, 26, 24, 20], [28]]


async def test_an_item_over_the_budget_runs_alone():
    async with busy(max_batch_cost=100, cost=length, queue=ByLength()) as (batcher, function):
        futures = submit(batcher, 101, 1, 2)
        mapped = asyncio.create_task(batcher.map([1000, 3, 2000]))
        await passes()
        batcher.release()
        assert await results([*futures, mapped]) == [101, 1, 2, [1000, 3, 2000]]
        assert function.batches == [[101], [1, 2, 3], [1000], [2000]]


async def test_free_items_and_no_budget_are_no_trouble():
    async with busy(max_batch_size=3, cost=lambda item: 0, max_batch_cost=1, queue=ByLength()) as (batcher, function):
        futures = submit(batcher, *range(7))
        batcher.release()
        await results(futures)
        assert function.batches == [[0, 1, 2], [3, 4, 5], [6]]


async def test_a_batch_leaves_when_the_lengths_add_up_to_the_budget():
    async with running(RecordingFunction(), max_batch_cost=100, max_wait=5, cost=length, queue=ByLength()) as batcher:
        futures = submit(batcher, 40, 1, 1, 1)  # padded they are over it, but others like the first may come
        await asyncio.sleep(1)
        assert not any(future.done() for future in futures)
        submit(batcher, 42, 15)
        await passes()
        assert [future.done() for future in futures] == [True, False, False, False]
        await asyncio.gather(*futures)
        assert (batcher.statistics().reasons, asyncio.get_running_loop().time()) == ({"cost": 1, "wait": 1}, 5)


# Maps


async def test_the_items_of_a_map_go_from_the_shortest_to_the_longest_and_return_in_their_places():
    async with busy(max_batch_size=2, cost=length, queue=ByLength()) as (batcher, function):
        mapped = asyncio.create_task(batcher.map([9, 1, 8, 2, 5]))
        await passes()
        batcher.release()
        assert await mapped == [9, 1, 8, 2, 5]
        assert function.batches == [[1, 2], [5, 8], [9]]


async def test_maps_and_single_items_share_batches():
    async with busy(max_batch_size=3, cost=length, queue=ByLength()) as (batcher, function):
        mapped = asyncio.create_task(batcher.map([90, 11, 10]))
        await passes()
        futures = submit(batcher, 9, 91, 92)
        batcher.release()
        assert await results([mapped, *futures]) == [[90, 11, 10], 9, 91, 92]
        assert function.batches == [[10, 11, 9], [90, 91, 92]]


async def test_errors_of_a_map_stand_in_their_places():
    function = RecordingFunction(script=[None, ValueError("no")])
    async with running(function, max_batch_size=2, cost=length, queue=ByLength()) as batcher:
        mapped = await batcher.map([9, 1, 8, 2], return_exceptions=True)
        assert kinds(mapped) == [ValueError, 1, ValueError, 2]
        assert await batcher.map([]) == []
        assert type(await outcome(batcher.map([3, "no cost"], timeout=0))) is DeadlineExceeded
        assert conserved(batcher)


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_comes_and_goes_each_item_has_one_outcome(seed):
    rng = random.Random(seed)
    queue = ByLength(rng.choice([2, 5, INF]), rng.choice(["wait", "reject", "evict"]), window=rng.choice([1, 3]))
    function = RecordingFunction(seconds=1.0)
    limits = {"max_batch_size": 3, "max_wait": rng.choice([0, 0.7, INF]), "max_batch_cost": rng.choice([40, INF])}
    async with running(function, queue=queue, cost=lambda item: item % 37, **limits) as batcher:

        async def stream(items):
            return [each async for each in batcher.imap(items, ordered=rng.random() < 0.5, return_exceptions=True)]

        async def call(n):
            await asyncio.sleep(rng.random() * 9)
            timeout = rng.choice([INF, INF, 2.5])
            if n % 3 == 0:
                return await batcher.map(range(n * 100, n * 100 + rng.randrange(12)), timeout=timeout)
            return await (stream(range(n * 100, n * 100 + 9)) if n % 10 == 0 else batcher(n * 100, timeout=timeout))

        await harried(batcher, function, call, rng)
        budget = limits["max_batch_cost"]
        assert all(len(batch) == 1 or padded([item % 37 for item in batch]) <= budget for batch in function.batches)
        queue = batcher._house.queue
        assert (queue.cost, queue._bulks, queue.qsize()) == (0, 0, 0)


# Full queues


async def test_a_full_queue_waits_rejects_or_evicts_as_any_other():
    for when_full, expected in (("wait", [1, 2, 3]), ("reject", [1, 2, QueueFull]), ("evict", [QueueFull, 2, 3])):
        async with busy(cost=length, queue=ByLength(2, when_full)) as (batcher, _):
            tasks = [asyncio.create_task(outcome(batcher(item))) for item in (1, 2, 3)]
            await passes()
            batcher.release()
            assert kinds(await asyncio.gather(*tasks)) == expected
            assert conserved(batcher)


async def test_a_map_that_is_turned_away_leaves_nothing():
    async with busy(cost=length, queue=ByLength(1, "reject")) as (batcher, _):
        future = batcher.submit(1)
        with pytest.raises(QueueFull):
            await batcher.map([2, 3])
        batcher.release()
        assert await future == 1
        assert (batcher.statistics().rejected, conserved(batcher)) == (2, True)


# Settings


@pytest.mark.parametrize("window", [0, -1, 1.5, "4", None, True])
def test_a_window_that_makes_no_sense_is_refused(window):
    with pytest.raises((TypeError, ValueError), match="window"):
        ByLength(window=window)


def test_without_a_cost_there_is_no_length():
    with pytest.raises(ValueError, match=r"queue=ByLength\(\) goes by the length of items; write cost=len"):
        Batcher(RecordingFunction(), queue=ByLength())
    with pytest.raises(ValueError, match="cost=len"):
        batched(queue=ByLength())(RecordingFunction())


# What it is for


@pytest.mark.parametrize("as_map", [False, True])
async def test_it_wastes_far_less_than_first_in_first_out(as_map):
    """32 items of exponential lengths: 1 / (1 + 1/2 + ... + 1/32) of a padded batch is of use, if nobody picks."""
    expected = 1 / sum(1 / n for n in range(1, 33))
    shares = {}
    for queue in (Fifo(INF), ByLength(INF, window=4)):
        rng = random.Random(7)
        lengths = [rng.expovariate(1.0) for _ in range(32 * 100)]
        async with busy(max_batch_size=32, cost=length, queue=queue) as (batcher, function):
            if as_map:
                answers = asyncio.create_task(batcher.map(lengths))
                await passes()
            else:
                futures = submit(batcher, *lengths)
            batcher.release()
            assert (await answers if as_map else await results(futures)) == lengths
            full = function.batches[:-4]  # while four batches wait
            shares[type(queue)] = sum(map(sum, full)) / sum(map(padded, full))
    assert shares[Fifo] == pytest.approx(expected, rel=0.05)
    assert shares[ByLength] >= 1.6 * shares[Fifo]
    assert shares[ByLength] == pytest.approx(0.98 if as_map else 0.61, abs=0.02)
