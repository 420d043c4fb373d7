"""Priorities and keys: who goes next where the order of arrival does not decide alone."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import random

import pytest
from callers import conserved, outcome, passes, running, until

from asyncbatch import EarliestDeadline, Priority, QueueFull
from asyncbatch.flight import Flight
from asyncbatch.metrics.statistics import Tally
from asyncbatch.request import DetailedRequest
from asyncbatch.testing import RecordingFunction

pytestmark = pytest.mark.virtual

INF = math.inf


@contextlib.asynccontextmanager
async def busy(**options):
    """A batcher whose only slot is taken until `batcher.release()`, and the batches that come after that."""
    gate = asyncio.Event()
    function = RecordingFunction(script=[gate])
    async with running(function, **options) as batcher:
        batcher.release = gate.set
        first = batcher.submit("first")
        await until(lambda: function.running)
        function.batches.clear()
        yield batcher, function.batches
        gate.set()
        assert await outcome(first) == "first"


def submit(batcher, *items, **details):
    return [batcher.submit(item, **details) for item in items]


async def results(futures):
    return await asyncio.gather(*map(outcome, futures))


def kinds(outcomes):
    return [type(each) if isinstance(each, BaseException) else each for each in outcomes]


# Priority


async def test_the_smallest_priority_goes_first_and_equals_in_their_order():
    async with busy(max_batch_size=2, queue=Priority()) as (batcher, batches):
        futures = [batcher.submit((p, n), priority=p) for n, p in enumerate([0, 1, -1, 0, 1, -1, 0.5, -INF, INF])]
        batcher.release()
        await results(futures)
        order = list(itertools.chain(*batches))
        assert order == [(-INF, 7), (-1, 2), (-1, 5), (0, 0), (0, 3), (0.5, 6), (1, 1), (1, 4), (INF, 8)]


@pytest.mark.parametrize("ageing", [0.5, 2.0])
async def test_nobody_is_overtaken_by_who_comes_later_than_the_bound_says(ageing):
    async with busy(max_batch_size=1, queue=Priority(ageing=ageing)) as (batcher, batches):
        futures = [batcher.submit("patient", priority=3)]
        await asyncio.sleep(3 * ageing - 0.01)
        futures.append(batcher.submit("within the bound", priority=0))
        await asyncio.sleep(0.02)
        futures.append(batcher.submit("past the bound", priority=0))
        batcher.release()
        await results(futures)
        assert batches == [["within the bound"], ["patient"], ["past the bound"]]


async def test_the_least_urgent_is_served_though_the_urgent_never_end():
    async with running(RecordingFunction(seconds=0.1), max_batch_size=1, queue=Priority(ageing=0.5)) as batcher:
        patient = asyncio.create_task(batcher("patient", priority=4))
        began, urgent = asyncio.get_running_loop().time(), []
        while not patient.done():
            urgent.append(batcher.submit("urgent"))
            await asyncio.sleep(0.09)  # a little more than can be served
        assert 2.0 <= asyncio.get_running_loop().time() - began <= 2.6
        await results(urgent)


async def test_without_ageing_the_urgent_always_go_first():
    async with busy(max_batch_size=1, queue=Priority(ageing=INF)) as (batcher, batches):
        futures = [batcher.submit("patient", priority=1)]
        await asyncio.sleep(1e6)
        futures += submit(batcher, "urgent", "next") + submit(batcher, "least", priority=1e300)
        batcher.release()
        await results(futures)
        assert batches == [["urgent"], ["next"], ["patient"], ["least"]]


async def test_urgency_counts_up_to_the_last_moment_for_maps_too():
    async with busy(max_batch_size=2, queue=Priority()) as (batcher, batches):
        mapped = asyncio.create_task(batcher.map(range(4), priority=1))
        await passes()
        single = batcher.submit("single")
        batcher.release()
        assert await mapped == [0, 1, 2, 3]
        await single
        assert batches == [["single", 0], [1, 2], [3]]


async def test_the_oldest_is_known_though_it_goes_last():
    async with running(RecordingFunction(), max_wait=1.0, max_batch_size=9, queue=Priority()) as batcher:
        submit(batcher, "patient", priority=5)
        await asyncio.sleep(0.75)
        later = batcher.submit("urgent")
        began = asyncio.get_running_loop().time()
        await later
        assert asyncio.get_running_loop().time() - began == pytest.approx(0.25)


async def test_the_least_urgent_is_evicted_which_may_be_the_newcomer():
    async with busy(queue=Priority(3, "evict")) as (batcher, batches):
        futures = [batcher.submit(p, priority=p) for p in (2, 3, 1)]
        futures += [batcher.submit(p, priority=p) for p in (0, 9)]
        batcher.release()
        assert kinds(await results(futures)) == [2, QueueFull, 1, 0, QueueFull]
        assert batches == [[0, 1, 2]]


async def test_among_equals_the_oldest_is_evicted():
    async with busy(queue=Priority(2, "evict", ageing=INF)) as (batcher, _):
        futures = submit(batcher, 1, 2, 3)
        batcher.release()
        assert kinds(await results(futures)) == [QueueFull, 2, 3]


async def test_rooms_freed_by_those_who_leave_are_taken_in_order_of_arrival():
    async with busy(max_batch_size=1, queue=Priority(1)) as (batcher, batches):
        tasks = [asyncio.create_task(outcome(batcher(p, priority=p))) for p in (5, 4, 3)]
        await passes()
        tasks[0].cancel()
        await passes()
        assert (batcher.statistics().queued, batcher.statistics().waiting_for_room) == (1, 1)
        batcher.release()
        assert await asyncio.gather(*tasks[1:]) == [4, 3]
        assert conserved(batcher)


@pytest.mark.parametrize("ageing", [0, -1, math.nan, None, "1", True, [], 1j])
def test_an_ageing_that_makes_no_sense_is_refused(ageing):
    with pytest.raises((TypeError, ValueError), match="ageing"):
        Priority(ageing=ageing)


# What each request costs while 100,000 wait, in comparisons of the numbers that decide

MANY = 100_000


class Counted(float):
    """A number that counts how often it was compared."""

    compared = 0

    def __lt__(self, other):
        Counted.compared += 1
        return float(self) < other

    def __eq__(self, other):
        Counted.compared += 1
        return float(self) == other

    def __neg__(self):
        return Counted(-float(self))

    __hash__ = float.__hash__


class Caller:
    """Stands for a future."""

    answered = False

    def done(self):
        return self.answered

    def set_exception(self, error):
        self.answered = True


def waiting(queue, **details):
    rest = {"deadline": INF, "scoped": False, "priority": 0, "key": None, "cost": 1.0}
    return DetailedRequest("item", Caller(), 0.0, queue, **(rest | details))


def make_queue(discipline):
    return discipline.queue_class(discipline, Tally(None, "it"), lambda: None, lambda: QueueFull("full"), costed=False)


@contextlib.contextmanager
def at_most(comparisons):
    before = Counted.compared
    yield
    assert Counted.compared - before <= comparisons


@pytest.mark.parametrize("discipline", [Priority, EarliestDeadline])
def test_with_100_000_waiting_a_request_costs_few_comparisons(discipline, monkeypatch):
    rng, each = random.Random(7), 8 * math.log2(MANY)  # two for each row, in three heaps
    rank = discipline.queue_class.rank
    monkeypatch.setattr(discipline.queue_class, "rank", lambda *of: Counted(rank(*of)))

    async def main():
        queue = make_queue(discipline(MANY, "evict"))
        requests = [waiting(queue, priority=(n := rng.random()), deadline=n) for _ in range(MANY)]
        with at_most(each * MANY):
            for request in requests:
                queue.put_nowait(request)
        with at_most(each * 1000):
            for _ in range(1000):  # each turns out another
                queue.put_nowait(waiting(queue, priority=(n := rng.random()), deadline=n))
        assert queue.qsize() == MANY
        with at_most(each * 1000):
            for request in requests[:1000]:
                request.leave("cancelled")
                queue.oldest()
        flight = Flight(None, None)
        with at_most(each * 1000):
            queue.board(flight, 1000)
        assert len(flight.items) == 1000

    asyncio.run(main())
