"""What is counted of padding: how much there was of it, wherever the function runs, and that it is told to whom it may concern."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from contextvars import Context

import numpy as np
import pytest
from callers import kinds, outcome, outcomes, passes, running

from asyncbatch import AllowedSizes, Batcher, Coalesced, Isolated, Padded, ProcessExecutor, Stacked, ThreadExecutor, padding
from asyncbatch.metrics.events import BatchEnded
from asyncbatch.testing import RecordingFunction


def sums(batch, mask):
    return batch.sum(axis=1)


async def async_sums(batch, mask):
    await asyncio.sleep(0)
    return sums(batch, mask)


def double(items):
    return [2 * item for item in items]


def picky(batch, mask):
    if (batch == 13).any():
        raise ValueError("13")
    return sums(batch, mask)


def by_hand(rows):
    if any(rows):
        padding.count(10, 4)
    return [sum(row) for row in rows]


ROWS = [[1, 2, 3, 4], [5], [6, 7]]  # 4 + 1 + 2 elements, in 3 rows of 4


def counted(batcher):
    statistics = batcher.statistics()
    return statistics.elements, statistics.padding


# How much it is.


async def seen(function, items, **options):
    async with running(function, **options) as batcher:
        await outcome(batcher.map(items))
        return counted(batcher)


@pytest.mark.parametrize(
    ("adapter", "items", "expected"),
    [
        (Padded(sums), ROWS, (12, 5)),
        (Padded(sums, multiple_of=8), ROWS, (24, 17)),
        (Padded(sums), [np.zeros((2, 5)), np.zeros((1, 5))], (20, 5)),
        (Padded(lambda batch, mask: batch["a"][0]), [{"a": ([1], [2, 3]), "b": 7}, {"a": ([1, 1], [2]), "b": 8}], (10, 2)),
        (Padded(sums), [[1, 2], [1.0], [3], [[1, 2]]], (2 * 2 + 1 + 2, 1)),  # calls of their own for what is not alike
        (Padded(sums), [[1, 2], object()], (2, 0)),
        (Stacked(double), [1, 2, 3], (0, 0)),
        (Isolated(double), [1, 2, 3], (0, 0)),
        (AllowedSizes(double, (4,)), [1, 2, 3], (4, 1)),
        (AllowedSizes(double, (2,)), [1, 2, 3], (4, 1)),
        (AllowedSizes(Stacked(double), (8,)), [1, 2, 3], (8, 5)),
        # Those that it adds are as long as the last item, and no element of them is of use.
        (AllowedSizes(Padded(sums), (5,)), ROWS, (20, 13)),
        (AllowedSizes(Padded(sums), (2,)), ROWS, (8 + 4, 3 + 2)),
        (AllowedSizes(Padded(sums), (4,), filler=[0] * 6), ROWS, (24, 17)),
        (AllowedSizes(Isolated(Padded(sums)), (5,)), ROWS, (20, 13)),
        (Isolated(AllowedSizes(Padded(sums), (5,))), ROWS, (20, 13)),
        # One call that fails, and two in its place: 12 of which 5 fill up, 8 with 3, and 2 with none.
        (Isolated(Padded(picky)), [[1, 2, 3, 4], [5], [13, 7]], (12 + 8 + 2, 5 + 3)),
        (by_hand, ROWS, (10, 4)),
        (Isolated(by_hand), ROWS, (10, 4)),
        (AllowedSizes(by_hand, (4,)), ROWS, (10, 4)),
    ],
)
async def test_it_is_what_nobody_handed_in(adapter, items, expected):
    assert await seen(adapter, items, executor="inline") == expected


async def test_batches_add_up_and_each_tells_its_own():
    events = []
    async with running(Padded(sums), name="it", max_batch_size=2, observers=[events.append]) as batcher:
        assert await batcher.map([[1], [2, 3], [4], [5]]) == [1, 5, 4, 5]
        assert counted(batcher) == (6, 1)
    ended = [event for event in events if isinstance(event, BatchEnded)]
    assert [(each.elements, each.padding) for each in ended] == [(4, 1), (2, 0)]


async def test_what_was_worked_on_for_nothing_counts_too():
    events = []
    async with running(Padded(picky), observers=[events.append]) as batcher:
        assert kinds(await outcomes(batcher, [13], [1, 2])) == [ValueError, ValueError]
        assert counted(batcher) == (4, 1)
    assert (events[-1].error, events[-1].elements, events[-1].padding) == ("ValueError", 4, 1)


# Whose it is.


def test_outside_of_a_batch_nothing_is_counted_and_nothing_is_wrong():
    assert list(Padded(sums)(ROWS)) == [10, 5, 13]
    assert AllowedSizes(double, (4,))([1, 2, 3]) == [2, 4, 6]
    assert by_hand(ROWS) == [10, 5, 13]
    assert padding.fillers() == 0


def test_numbers_that_are_none_say_what_to_write():
    with pytest.raises(TypeError, match="elements must be a whole number, not 1.5"):
        padding.count(1.5, 1)
    with pytest.raises(ValueError, match="padding must be at least 0, not -1"):
        padding.count(1, -1)
    with pytest.raises(ValueError, match="padding is a part of elements, so it must be at most 3, not 4"):
        padding.count(3, 4)


async def test_numbers_of_numpy_count_as_plain_ones():
    def function(rows):
        mask = np.array([[True, False], [True, True]])
        padding.count(mask.size, (~mask).sum())
        return rows

    async with running(function) as batcher:
        await batcher(1)
        assert counted(batcher) == (4, 1)
        assert type(batcher.statistics().padding) is int


EVERYWHERE = {
    "inline": lambda: "inline",
    "thread": lambda: ThreadExecutor(2),
    "process": ProcessExecutor,
    "threads": lambda: concurrent.futures.ThreadPoolExecutor(1),
    "processes": lambda: concurrent.futures.ProcessPoolExecutor(1),
}


@pytest.fixture(params=EVERYWHERE)
def executor(request):
    made = EVERYWHERE[request.param]()
    yield made
    if isinstance(made, concurrent.futures.Executor):
        made.shutdown()


@pytest.mark.real
async def test_it_is_counted_wherever_the_function_runs(executor):
    events = []
    async with running(AllowedSizes(Padded(picky), (5,)), executor=executor, observers=[events.append]) as batcher:
        assert await batcher.map(ROWS) == [10, 5, 13]
        assert kinds(await outcomes(batcher, [13], [1, 2])) == [ValueError, ValueError]
        assert await batcher([1, 2]) == 3
        assert counted(batcher) == (20 + 10 + 10, 13 + 7 + 8)
    ended = [event for event in events if isinstance(event, BatchEnded)]
    assert [(each.elements, each.padding) for each in ended] == [(20, 13), (10, 7), (10, 8)]


@pytest.mark.real
async def test_a_function_that_pads_by_itself_can_say_so_wherever_it_runs(executor):
    async with running(by_hand, executor=executor) as batcher:
        assert await batcher.map([ROWS[0]]) == [10]
        assert counted(batcher) == (10, 4)
        assert await batcher.map([[]]) == [0]
        assert counted(batcher) == (10, 4)


@pytest.mark.virtual
async def test_each_batch_has_its_own_beside_those_that_run_at_the_same_time():
    async def function(batch, mask):
        await asyncio.sleep(int(batch.max()))
        return sums(batch, mask)

    async with (
        running(Padded(function), name="a") as a,
        running(AllowedSizes(Padded(function), (4,)), name="b") as b,
        running(AllowedSizes(async_double_after_a_second, (8,)), name="c") as c,
    ):
        await asyncio.gather(a.map([[3], [1, 1]]), b.map([[2], [1, 1]]), c.map([1, 2, 3]))
        assert (counted(a), counted(b), counted(c)) == ((4, 1), (8, 5), (8, 5))


async def async_double_after_a_second(items):
    await asyncio.sleep(1)
    return double(items)


async def test_a_function_that_awaits_another_batcher_is_not_counted_for_it():
    async with running(Padded(async_sums), name="inner") as inner:

        async def function(items):
            return [sum(await inner.map(each)) for each in items]

        async with running(AllowedSizes(function, (4,)), name="outer") as outer:
            assert await outer.map([[[1], [2, 3]]]) == [6]
            assert (counted(inner), counted(outer)) == ((16, 4), (4, 3))


async def test_identical_requests_are_padded_once():
    async with Coalesced(Batcher(Padded(sums)), key=tuple) as coalesced:
        results = await asyncio.gather(*map(coalesced, [[1, 2, 3], [4], [1, 2, 3], [4]]))
        assert [int(each) for each in results] == [6, 4, 6, 4]
        assert counted(coalesced.batcher) == (6, 2)


class Slow(int):
    """A number that lets other threads go first when it is added."""

    def __radd__(self, other):
        time.sleep(0.0001)
        return other + int(self)


@pytest.mark.parametrize("adapt", [lambda function: function, lambda function: AllowedSizes(function, (8,))])
async def test_what_a_function_does_in_threads_of_its_own_counts_and_none_is_lost(adapt):
    async def function(items):
        def one(item):
            for _ in range(20):
                padding._meter().note_padding(Slow(2), Slow(1))  # as `count` does, with numbers like others
            return item

        return await asyncio.gather(*[asyncio.to_thread(one, item) for item in items])

    async with running(adapt(function)) as batcher:
        await batcher.map(range(8))
        assert counted(batcher) == (320, 160)


async def test_a_batch_that_is_cancelled_counts_and_leaves_nothing_set():
    function = RecordingFunction(script=[asyncio.Event()])
    async with running(AllowedSizes(function, (4,))) as batcher:
        call = asyncio.create_task(batcher(1))
        while not function.batches:
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        await passes()
        assert counted(batcher) == (4, 3)
        assert await batcher(2) == 2
        assert counted(batcher) == (8, 6)


async def test_a_coroutine_may_be_closed_in_another_context():
    async def function(items):
        await asyncio.Event().wait()

    batch = Context()
    work = batch.run(AllowedSizes(function, (4,)), [1])
    batch.run(work.send, None)
    assert batch.run(padding.fillers) == 3
    work.close()
    assert padding.fillers() == 0


@pytest.mark.real
async def test_a_batch_that_has_to_be_sent_twice_is_counted_once():
    class Unpicklable:
        def __reduce__(self):
            raise TypeError

    async with running(AllowedSizes(unlucky, (4,)), executor=ProcessExecutor()) as batcher:
        results = await batcher.map([1, Unpicklable(), 2], return_exceptions=True)
        assert kinds(results) == [1, TypeError, 2]
        assert counted(batcher) == (4, 2)
        assert kinds(await batcher.map([1, "garbled"], return_exceptions=True)) == [1, TypeError]
        assert counted(batcher) == (8, 4)


class Garbled:
    def __reduce__(self):
        return int, ("no number",)


def unlucky(items):
    return [Garbled() if item == "garbled" else item for item in items]
