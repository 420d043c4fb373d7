"""Limits that change while it runs, in both directions: at once, and under load. How many batches run is in `test_capacity`."""

from __future__ import annotations

import asyncio
import math
import random

import pytest
from callers import conserved, outcome, passes, running

from asyncbatch import ByLength, EarliestDeadline, Fifo, InlineExecutor, Keyed, Priority
from asyncbatch.testing import RecordingFunction

pytestmark = pytest.mark.virtual

INF = math.inf

# A budget of 6 is two of these items, or two of no cost.
BUDGETS = [
    pytest.param({"cost": lambda item: 3, "queue": Fifo()}, 3, id="cost"),
    pytest.param({"cost": lambda item: 3, "queue": ByLength()}, 3, id="length"),
    pytest.param({"cost": lambda item: 3, "queue": Keyed()}, 3, id="keys"),
    pytest.param({}, 1, id="count"),
]


@pytest.mark.parametrize(("options", "price"), BUDGETS)
async def test_a_smaller_budget_lets_a_batch_leave_now(options, price):
    function = RecordingFunction()
    async with running(function, max_batch_cost=10 * price, max_wait=INF, **options) as batcher:
        calls = [batcher.submit(item) for item in range(5)]
        await asyncio.sleep(1)
        assert function.batches == []
        batcher.max_batch_cost = 2 * price
        await passes()
        assert function.batches == [[0, 1], [2, 3]]
        batcher.max_batch_cost = price
        assert await asyncio.gather(*calls) == [0, 1, 2, 3, 4]
        assert asyncio.get_running_loop().time() == 1


@pytest.mark.parametrize(("options", "price"), BUDGETS)
async def test_a_larger_budget_holds_for_the_next_batch(options, price):
    function = RecordingFunction(seconds=1)
    async with running(function, max_batch_cost=2 * price, max_wait=INF, **options) as batcher:
        calls = [batcher.submit(item) for item in range(9)]
        await asyncio.sleep(0.5)
        batcher.max_batch_cost = 7 * price
        assert await asyncio.gather(*calls) == list(range(9))
        assert function.batches == [[0, 1], [2, 3, 4, 5, 6, 7, 8]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", [Fifo, Priority, EarliestDeadline, Keyed, ByLength])
async def test_all_limits_may_swing_under_load_and_each_batch_keeps_those_of_its_time(make, seed):
    rng = random.Random(seed)
    costed = make is ByLength or rng.random() < 0.5
    running_now = []

    def price(item):
        return 1 + item % 4 if costed else 1

    async def function(items):
        costs = [max(map(price, items))] * len(items) if make is ByLength else list(map(price, items))
        assert len(items) <= batcher.max_batch_size
        assert len(items) == 1 or sum(costs) <= batcher.max_batch_cost
        running_now.append(items)
        assert len(running_now) <= most_running
        await asyncio.sleep(rng.choice([0.3, 1.0]))
        running_now.remove(items)
        return items

    most_running = 4  # one that is to go ends with its batch
    options = {"queue": make(20), "cost": price if costed else None, "executor": InlineExecutor(2)}
    async with running(function, max_batch_size=4, **options) as batcher:

        async def call(n):
            await asyncio.sleep(30 * rng.random())
            if n % 10 == 0:
                return await batcher.map(range(n, n + 7))
            return await batcher(n)

        calls = [asyncio.create_task(outcome(call(10 * n if n < 20 else n))) for n in range(300)]
        while not all(each.done() for each in calls):
            await asyncio.sleep(0.4)
            batcher.max_batch_size = rng.randint(1, 8)
            batcher.max_batch_cost = rng.choice([1, 3, 9, INF])
            batcher.max_wait = rng.choice([0, 0.2, 5, INF])
            resizing = asyncio.create_task(batcher.resize(rng.randint(1, 4)))
            await passes(1)
            assert conserved(batcher)
            if asyncio.get_running_loop().time() > 35:
                batcher.flush()
        await resizing
        for n, each in enumerate(calls):
            item = 10 * n if n < 20 else n
            assert each.result() == (list(range(item, item + 7)) if item % 10 == 0 else item)
        assert batcher.statistics().succeeded == sum(7 if n < 20 or n % 10 == 0 else 1 for n in range(300))
