"""Who goes next, how many may wait, what becomes of one more, and how many go at once."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import random

import anyio
import numpy as np
from callers import busy, kinds, conserved, outcome, passes, running
import pytest

from asyncbatch import (
    ByLength,
    DeadlineExceeded,
    EarliestDeadline,
    Fifo,
    InlineExecutor,
    ItemTooLarge,
    Keyed,
    Priority,
    QueueFull,
)
from asyncbatch.testing import RecordingFunction

INF = math.inf


def start(batcher, *items, **details):
    async def call(item):  # nothing is made that a task cancelled before its first step would never await
        return await outcome(batcher(item, **details))

    return [asyncio.create_task(call(item)) for item in items]


# First in, first out


async def test_first_in_is_first_out_within_and_between_batches():
    async with busy(max_batch_size=4) as (batcher, function):
        tasks = start(batcher, *range(10))
        await passes()
        batcher.release()
        assert await asyncio.gather(*tasks) == list(range(10))
        assert function.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_single_items_and_maps_keep_their_order():
    async with busy(max_batch_size=3) as (batcher, function):
        calls = [batcher(0), batcher.map([1, 2, 3, 4]), batcher(5), batcher.map([6]), batcher(7)]
        tasks = []
        for call in calls:
            tasks.append(asyncio.create_task(call))
            await passes(1)
        batcher.release()
        assert await asyncio.gather(*tasks) == [0, [1, 2, 3, 4], 5, [6], 7]
        assert function.batches == [[0, 1, 2], [3, 4, 5], [6, 7]]


async def test_those_who_left_leave_no_gap_and_change_no_order():
    for queue in (Fifo(INF), EarliestDeadline(INF)):
        async with busy(max_batch_size=50, queue=queue) as (batcher, function):
            futures = [batcher.submit(item) for item in range(200)]
            for future in futures[::2]:
                future.cancel()
            assert batcher.statistics().queued == 100
            batcher.release()
            await asyncio.gather(*futures[1::2])
            assert function.batches == [list(range(start, start + 100, 2)) for start in (1, 101)]


# How many may wait


@pytest.mark.parametrize("discipline", [Fifo, EarliestDeadline, Priority, Keyed])
async def test_a_full_queue_keeps_callers_waiting_in_their_order(discipline):
    async with busy(max_batch_size=2, queue=discipline(3)) as (batcher, function):
        tasks = start(batcher, *range(10))
        await passes()
        statistics = batcher.statistics()
        assert (statistics.queued, statistics.waiting_for_room) == (3, 7)
        assert conserved(batcher)
        batcher.release()
        assert await asyncio.gather(*tasks) == list(range(10))
        assert function.items == list(range(10))
        assert batcher.statistics().waiting_for_room == 0


async def test_submit_never_waits():
    async with busy(queue=Fifo(1)) as (batcher, _):
        queued = batcher.submit(1)
        with pytest.raises(QueueFull, match="full") as caught:
            batcher.submit(2)
        assert isinstance(caught.value, asyncio.QueueFull)
        assert batcher.statistics().rejected == 1
        assert conserved(batcher)
        batcher.release()
        assert await outcome(queued) == 1


async def test_a_newcomer_does_not_overtake_those_who_wait_for_room():
    async with busy(max_batch_size=1, queue=Fifo(1)) as (batcher, function):
        tasks = start(batcher, *"abc")
        await passes()
        batcher.release()
        for item in "defgh":
            await passes(1)
            tasks += start(batcher, item)
        assert await asyncio.gather(*tasks) == list("abcdefgh")
        assert function.items == list("abcdefgh")


async def test_who_left_the_line_for_room_is_not_let_in():
    async with busy(max_batch_size=1, queue=Fifo(1)) as (batcher, function):
        tasks = start(batcher, *range(6))
        await passes()
        for left in (1, 3, 5):
            tasks[left].cancel()
        await passes()
        assert batcher.statistics().waiting_for_room == 2
        batcher.release()
        assert await asyncio.gather(tasks[0], tasks[2], tasks[4]) == [0, 2, 4]
        assert function.items == [0, 2, 4]
        assert batcher.statistics().cancelled == 3
        assert conserved(batcher)


@pytest.mark.parametrize("discipline", [Fifo, EarliestDeadline, Priority, Keyed])
async def test_a_queue_that_rejects_says_so_at_once_and_when_to_come_back(discipline):
    async with busy(queue=discipline(2, "reject")) as (batcher, _):
        tasks = start(batcher, *range(4))
        await passes()
        assert kinds([await task for task in tasks[2:]]) == [QueueFull, QueueFull]
        assert (await tasks[2]) is not (await tasks[3])
        assert (await tasks[2]).retry_after >= 0
        assert kinds([await outcome(batcher.map([5]))]) == [QueueFull]
        assert batcher.statistics().rejected == 3
        assert conserved(batcher)
        batcher.release()
        assert [await task for task in tasks[:2]] == [0, 1]


@pytest.mark.virtual
async def test_the_time_to_come_back_is_what_the_queue_will_take():
    function = RecordingFunction(seconds=lambda size: 2.0 * size)
    async with running(function, max_batch_size=1, queue=Fifo(3, "reject")) as batcher:
        assert await outcome(batcher(0)) == 0
        tasks = start(batcher, *range(1, 4))
        await asyncio.sleep(1)
        tasks += start(batcher, 4)
        await asyncio.sleep(0)
        with pytest.raises(QueueFull) as caught:
            await batcher(5)
        assert caught.value.retry_after == pytest.approx(6, abs=2)
        await asyncio.gather(*tasks)


async def test_a_queue_that_evicts_lets_the_newcomer_in_and_the_oldest_go():
    async with busy(queue=Fifo(2, "evict")) as (batcher, function):
        tasks = start(batcher, *range(5))
        await passes()
        assert kinds([await task for task in tasks[:3]]) == [QueueFull] * 3
        assert batcher.statistics().rejected == 3
        assert batcher.statistics().queued == 2
        assert conserved(batcher)
        batcher.release()
        assert [await task for task in tasks[3:]] == [3, 4]
        assert function.batches == [[3, 4]]


@pytest.mark.parametrize("discipline", [Fifo, EarliestDeadline, Keyed])
async def test_a_queue_that_evicts_never_holds_more_than_it_may(discipline):
    async with busy(queue=discipline(2, "evict")) as (batcher, _):
        tasks = start(batcher, 0)
        await passes()
        tasks.append(asyncio.create_task(outcome(batcher.map([1, 2, 3, 4]))))
        await passes()
        for item in range(5, 12):
            tasks += start(batcher, item)
            await passes()
            assert batcher.statistics().queued <= 2
            assert conserved(batcher)
        batcher.release()
        results = [await task for task in tasks]
        assert kinds(results)[-1] == 11
        assert conserved(batcher)


async def test_a_map_cancelled_as_room_frees_lets_no_more_in_than_there_is_room_for():
    async with busy(queue=Fifo(2)) as (batcher, function):
        leaves = batcher.submit("leaves")
        mapped = asyncio.create_task(outcome(batcher.map([1, 2, 3])))
        await passes()
        tasks = start(batcher, 4, 5, 6)
        await passes()
        mapped.cancel()
        leaves.cancel()  # in the same pass: the map has not left yet
        assert (batcher.statistics().queued, conserved(batcher)) == (2, True)
        batcher.release()
        assert await asyncio.gather(*tasks) == [4, 5, 6]
        with contextlib.suppress(asyncio.CancelledError):
            await mapped


async def test_the_bound_holds_whatever_comes_and_goes():
    for when_full in ("wait", "reject", "evict"):
        dice = random.Random(5)
        async with busy(max_batch_size=3, queue=Fifo(4, when_full)) as (batcher, _):
            tasks = []
            for step in range(100):
                match dice.randrange(4):
                    case 0 | 1:
                        tasks += start(batcher, step)
                    case 2:
                        tasks.append(asyncio.create_task(batcher.map(range(dice.randrange(7)))))
                    case _ if tasks:
                        dice.choice(tasks).cancel()
                if dice.random() < 0.7:
                    await passes(dice.randrange(3))
                assert batcher.statistics().queued <= 4, (when_full, step)
                assert conserved(batcher), (when_full, step)
            batcher.release()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert conserved(batcher)
            assert batcher.statistics().queued == 0


@pytest.mark.virtual
@pytest.mark.parametrize("when_full", ["wait", "reject", "evict"])
async def test_a_queue_smaller_than_a_batch_does_not_deadlock_without_a_time_limit(when_full):
    function = RecordingFunction()
    async with running(function, max_batch_size=10, max_wait=INF, queue=Fifo(3, when_full)) as batcher:
        served = 0
        for _ in range(4):
            for result in await asyncio.gather(*start(batcher, *range(6))):
                served += isinstance(result, int)
            await asyncio.sleep(1)
        assert served >= 12
        assert conserved(batcher)
        batcher.flush()


@pytest.mark.virtual
async def test_a_full_queue_is_not_kept_waiting_for_a_batch_it_cannot_fill():
    function = RecordingFunction()
    async with running(function, max_batch_size=10, max_wait=5, queue=Fifo(3, "reject")) as batcher:
        assert await asyncio.gather(*start(batcher, *range(3))) == [0, 1, 2]
        assert function.times == [0]


# Earliest deadline


async def test_the_earliest_deadline_goes_first_equals_in_order_and_none_last():
    async with busy(max_batch_size=2, queue=EarliestDeadline()) as (batcher, function):
        timeouts = {"a": INF, "b": 300, "c": 100, "d": 200, "e": INF, "f": 100}
        tasks = [asyncio.create_task(batcher(item, timeout=timeout)) for item, timeout in timeouts.items()]
        await passes()
        batcher.release()
        await asyncio.gather(*tasks)
        assert function.items == list("cfdbae")


async def test_equal_deadlines_are_first_in_first_out():
    async with busy(max_batch_size=7, queue=EarliestDeadline(INF)) as (batcher, function):
        deadline = anyio.current_time() + 500
        with anyio.CancelScope(deadline=deadline):
            futures = [batcher.submit(item) for item in range(100)]
        batcher.release()
        await asyncio.gather(*futures)
        assert function.items == list(range(100))


async def test_urgency_counts_up_to_the_last_moment():
    async with busy(max_batch_size=1, queue=EarliestDeadline()) as (batcher, function):
        tasks = start(batcher, "patient")
        await passes(20)
        tasks += start(batcher, "urgent", timeout=100)
        await passes()
        batcher.release()
        await asyncio.gather(*tasks)
        assert function.items == ["urgent", "patient"]


@pytest.mark.virtual
async def test_the_deadline_of_an_enclosing_scope_counts():
    async with busy(max_batch_size=1, queue=EarliestDeadline()) as (batcher, function):
        tasks = start(batcher, "later", timeout=20)

        async def scoped():
            with anyio.fail_after(10):
                return await batcher("sooner")

        tasks.append(asyncio.create_task(scoped()))
        await asyncio.sleep(1)
        batcher.release()
        await asyncio.gather(*tasks)
        assert function.items == ["sooner", "later"]


@pytest.mark.virtual
async def test_a_scope_that_ends_cancels_its_caller_itself_and_the_item_never_runs():
    async with busy(max_batch_size=1, queue=EarliestDeadline()) as (batcher, function):
        with anyio.move_on_after(10) as scope:
            await batcher("item")
        assert scope.cancelled_caught
        with anyio.move_on_after(10) as scope:
            await batcher.map(["items", "of", "a map"])
        assert scope.cancelled_caught
        batcher.release()
        assert await outcome(batcher("next")) == "next"
        assert function.items == ["next"]


@pytest.mark.virtual
async def test_a_scope_that_ends_while_its_item_flies_cancels_its_caller_itself():
    async with running(RecordingFunction(seconds=20), queue=EarliestDeadline()) as batcher:
        with anyio.move_on_after(10) as scope:
            await batcher("item")
        assert scope.cancelled_caught


@pytest.mark.virtual
async def test_a_scope_whose_end_is_put_off_leaves_nobody_hanging():
    async with busy(max_batch_size=1, queue=EarliestDeadline()) as (batcher, function):
        with anyio.move_on_after(10) as scope:
            asyncio.get_running_loop().call_later(5, setattr, scope, "deadline", INF)
            assert isinstance(await outcome(batcher("item")), DeadlineExceeded)
        batcher.release()
        assert await outcome(batcher("next")) == "next"
        assert function.items == ["next"]


@pytest.mark.virtual
async def test_its_own_timeout_within_a_longer_scope_is_an_error():
    async with busy(max_batch_size=1, queue=EarliestDeadline()) as (batcher, _):
        with anyio.fail_after(20):
            assert isinstance(await outcome(batcher("item", timeout=10)), DeadlineExceeded)


async def test_it_may_be_called_from_a_callback_where_there_is_no_task():
    loop = asyncio.get_running_loop()
    for queue in (Fifo(), EarliestDeadline()):
        async with running(RecordingFunction(), queue=queue) as batcher:
            futures = loop.create_future()
            loop.call_soon(lambda: futures.set_result(batcher.submit(1)))
            async with asyncio.timeout(5):
                assert await (await futures) == 1


async def test_the_latest_deadline_is_evicted():
    async with busy(queue=EarliestDeadline(2, "evict")) as (batcher, function):
        tasks = [
            *start(batcher, "soon", timeout=100),
            *start(batcher, "late", timeout=300),
            *start(batcher, "middle", timeout=200),
        ]
        await passes()
        assert kinds([await tasks[1]]) == [QueueFull]
        batcher.release()
        assert [await tasks[0], await tasks[2]] == ["soon", "middle"]
        assert function.batches == [["soon", "middle"]]


async def test_the_least_urgent_is_evicted_even_if_it_comes_last():
    async with busy(queue=EarliestDeadline(2, "evict")) as (batcher, function):
        tasks = [*start(batcher, "a", timeout=100), *start(batcher, "b", timeout=200), *start(batcher, "idle")]
        await passes()
        batcher.release()
        assert kinds([await task for task in tasks]) == ["a", "b", QueueFull]
        assert function.batches == [["a", "b"]]


# Deadlines


@pytest.mark.virtual
@pytest.mark.parametrize("queue", [Fifo(), EarliestDeadline()])
async def test_who_is_out_of_time_in_the_queue_is_told_then_and_never_runs(queue):
    loop = asyncio.get_running_loop()
    async with busy(queue=queue) as (batcher, function):
        began = loop.time()
        tasks = [*start(batcher, 1, timeout=2), *start(batcher, 2, timeout=INF)]
        error = await tasks[0]
        assert isinstance(error, DeadlineExceeded)
        assert isinstance(error, TimeoutError)
        assert "timeout=" in str(error)
        assert loop.time() == began + 2
        assert batcher.statistics().queued == 1
        assert batcher.statistics().expired == 1
        batcher.release()
        assert await tasks[1] == 2
        assert function.items == [2]
        assert conserved(batcher)


async def test_no_time_at_all_is_told_at_once_and_never_runs():
    for queue in (Fifo(), EarliestDeadline()):
        function = RecordingFunction()
        async with running(function, queue=queue) as batcher:
            assert kinds([await outcome(batcher(1, timeout=0))]) == [DeadlineExceeded]
            assert kinds([await outcome(batcher.submit(1, timeout=0))]) == [DeadlineExceeded]
            assert kinds([await outcome(batcher.map([1, 2], timeout=0))]) == [DeadlineExceeded]
            assert function.items == []
            assert batcher.statistics().expired == 4
            assert conserved(batcher)


@pytest.mark.virtual
async def test_who_is_out_of_time_in_flight_is_told_then_and_the_neighbour_is_served():
    loop = asyncio.get_running_loop()
    function = RecordingFunction(seconds=5)
    async with running(function) as batcher:
        tasks = [*start(batcher, 1, timeout=2), *start(batcher, 2)]
        assert isinstance(await tasks[0], DeadlineExceeded)
        assert loop.time() == 2
        assert await tasks[1] == 2
        assert function.cancelled == 0
        assert conserved(batcher)


@pytest.mark.virtual
async def test_who_is_out_of_time_while_waiting_for_room_is_told_then():
    loop = asyncio.get_running_loop()
    async with busy(max_batch_size=1, queue=Fifo(1)) as (batcher, function):
        began = loop.time()
        tasks = [*start(batcher, "queued"), *start(batcher, "outside", timeout=3), *start(batcher, "behind")]
        await asyncio.sleep(1)
        assert batcher.statistics().waiting_for_room == 2
        assert isinstance(await tasks[1], DeadlineExceeded)
        assert loop.time() == began + 3
        batcher.release()
        assert [await tasks[0], await tasks[2]] == ["queued", "behind"]
        assert conserved(batcher)


@pytest.mark.virtual
async def test_a_deadline_is_kept_by_who_waited_for_room_when_a_batch_left():
    loop = asyncio.get_running_loop()
    function = RecordingFunction(seconds=10)
    async with running(function, max_batch_size=1, queue=Fifo(1)) as batcher:
        tasks = start(batcher, "runs")
        await asyncio.sleep(1)
        tasks += start(batcher, "next")
        await asyncio.sleep(1)
        tasks += start(batcher, "outside", timeout=10)
        error = await tasks[2]
        assert isinstance(error, DeadlineExceeded)
        assert loop.time() == 12
        assert await tasks[1] == "next"
        assert function.items == ["runs", "next"]
        assert batcher.statistics().expired == 1


@pytest.mark.virtual
async def test_a_map_is_out_of_time_as_a_whole():
    loop = asyncio.get_running_loop()
    function = RecordingFunction(seconds=2)
    async with running(function, max_batch_size=2, queue=Fifo(3)) as batcher:
        error = await outcome(batcher.map(range(10), timeout=5))
        assert isinstance(error, DeadlineExceeded)
        assert loop.time() == 5
        assert function.items == [0, 1, 2, 3, 4, 5]
        assert await outcome(batcher(1)) == 1
        assert conserved(batcher)
        assert batcher.statistics().queued == 0


@pytest.mark.virtual
async def test_many_deadlines_are_each_met():
    loop = asyncio.get_running_loop()
    async with busy(queue=Fifo(INF)) as (batcher, function):
        told = {}
        timeouts = [random.Random(3).randrange(1, 100) for _ in range(300)]

        async def call(index, timeout):
            error = await outcome(batcher(index, timeout=timeout))
            assert isinstance(error, DeadlineExceeded)
            told[index] = loop.time()

        began = loop.time()
        async with asyncio.timeout(1000), asyncio.TaskGroup() as group:
            for index, timeout in enumerate(timeouts[:150]):
                group.create_task(call(index, timeout / 10))
            await asyncio.sleep(0)
            for index, timeout in enumerate(timeouts[150:], 150):
                group.create_task(call(index, timeout / 10))
        assert [round(told[index] - began, 6) for index in range(300)] == [timeout / 10 for timeout in timeouts]
        assert batcher.statistics().queued == 0
        assert function.items == []


@pytest.mark.virtual
async def test_a_busy_loop_does_not_let_the_expired_run():
    loop = asyncio.get_running_loop()
    async with busy() as (batcher, function):
        future = batcher.submit(1, timeout=1)
        loop._now += 5  # something else held the loop up past the deadline
        batcher.release()
        assert isinstance(await outcome(future), DeadlineExceeded)
        assert function.items == []


# Costs


async def test_a_batch_holds_no_more_than_it_may_cost():
    async with busy(max_batch_cost=10, cost=lambda item: item if isinstance(item, int) else 1) as (batcher, function):
        tasks = start(batcher, 4, 5, 2, 8, 2, 1, 1)
        await passes()
        batcher.release()
        await asyncio.gather(*tasks)
        assert function.batches == [[4, 5], [2, 8], [2, 1, 1]]


async def test_who_does_not_fit_keeps_the_place_at_the_head():
    async with busy(max_batch_cost=10, cost=lambda item: item if isinstance(item, int) else 1) as (batcher, function):
        tasks = start(batcher, 9, 9, 1, 1)
        await passes()
        batcher.release()
        await asyncio.gather(*tasks)
        assert function.batches == [[9], [9, 1], [1]]


@pytest.mark.virtual
@pytest.mark.parametrize("max_wait", [0, INF])
async def test_an_item_too_dear_for_any_batch_runs_alone(max_wait):
    function = RecordingFunction()
    async with running(function, max_batch_cost=10, max_wait=max_wait, cost=lambda item: item) as batcher:
        tasks = start(batcher, 3, 50, 4)
        await asyncio.sleep(1)
        batcher.flush()
        await asyncio.gather(*tasks)
        assert [50] in function.batches
        mapped = asyncio.create_task(batcher.map([20, 1, 30]))
        await asyncio.sleep(1)
        batcher.flush()
        assert await outcome(mapped) == [20, 1, 30]
        assert [20] in function.batches
        assert [30] in function.batches


@pytest.mark.parametrize("queue", [Fifo(), Keyed(key=lambda item: item % 2), ByLength()])
async def test_an_item_too_dear_for_any_batch_is_rejected_if_it_was_told_so(queue):
    options = {"max_batch_cost": 10, "cost": lambda item: item, "oversized": "reject", "queue": queue}
    async with running(RecordingFunction(), **options) as batcher:
        good = batcher.submit(10)
        error = await outcome(batcher(11))
        assert type(error) is ItemTooLarge
        assert "costs 11, and a batch of batcher 'RecordingFunction' at most max_batch_cost=10; cut it" in str(error)
        with pytest.raises(ItemTooLarge):
            batcher.submit(11)
        assert type(await outcome(batcher.map([1, 12, 2]))) is ItemTooLarge
        assert await good == 10
        assert (batcher.statistics().rejected, batcher.statistics().submitted, conserved(batcher)) == (5, 6, True)
        assert await batcher.map([]) == []


async def test_an_item_too_dear_has_its_error_in_its_place_of_a_stream():
    options = {"max_batch_cost": 10, "cost": lambda item: item, "oversized": "reject"}
    async with running(RecordingFunction(), **options) as batcher:
        items = [1, 50, 3, 4]
        for ordered in (True, False):
            found = [each async for each in batcher.imap(items, ordered=ordered, return_exceptions=True)]
            assert sorted(map(str, kinds(found))) == sorted(map(str, [1, ItemTooLarge, 3, 4]))
            assert not ordered or kinds(found) == [1, ItemTooLarge, 3, 4]
        found = []
        with pytest.raises(ItemTooLarge):
            async for each in batcher.imap(items):
                found.append(each)
        assert found == [1]
        assert conserved(batcher)


async def test_what_is_too_dear_is_decided_as_it_is_handed_in():
    async with busy(max_batch_cost=10, cost=lambda item: len(str(item)), oversized="reject") as (batcher, function):
        futures = [batcher.submit(item) for item in ("seven77", "two", "eight888")]
        batcher.max_batch_cost = 5
        assert type(await outcome(batcher("sixsix"))) is ItemTooLarge
        batcher.release()
        await asyncio.gather(*futures)
        assert function.batches == [["seven77"], ["two"], ["eight888"]]
        batcher.max_batch_cost = INF
        assert await outcome(batcher("sixsix")) == "sixsix"


async def test_both_limits_hold_at_once():
    async with busy(max_batch_cost=10, max_batch_size=3, cost=lambda item: 1 if isinstance(item, str) else item) as (
        batcher,
        function,
    ):
        tasks = start(batcher, *[1] * 5, *[4] * 4)
        await passes()
        batcher.release()
        await asyncio.gather(*tasks)
        assert function.batches == [[1, 1, 1], [1, 1, 4], [4, 4], [4]]


@pytest.mark.virtual
async def test_without_a_cost_each_item_costs_one():
    function = RecordingFunction()
    async with running(function, max_batch_cost=2) as batcher:
        await asyncio.gather(*start(batcher, *range(5)))
        assert max(map(len, function.batches)) == 2


@pytest.mark.virtual
async def test_a_budget_may_be_set_while_it_runs():
    for options in ({}, {"cost": lambda item: 1}, {"max_batch_cost": 100}):
        function = RecordingFunction()
        async with running(function, **options) as batcher:
            batcher.max_batch_cost = 2
            assert await outcome(batcher.map(range(6))) == list(range(6))
            assert max(map(len, function.batches)) == 2, options


def failing_cost(item):
    if item == "bad":
        raise KeyError("no cost")
    return 1


class Odd(BaseException):
    pass


@pytest.mark.virtual
async def test_a_cost_that_raises_fails_its_own_item_only():
    function = RecordingFunction()
    async with running(function, cost=failing_cost, max_wait=1) as batcher:
        good = start(batcher, "good")
        assert isinstance(await outcome(batcher("bad")), KeyError)
        with pytest.raises(KeyError):
            batcher.submit("bad")
        assert isinstance(await outcome(batcher.map(["good", "bad"])), KeyError)
        assert await good[0] == "good"
        assert function.items == ["good"]
        assert batcher.statistics().submitted == 1
        assert conserved(batcher)


@pytest.mark.parametrize("told", [math.nan, -1, INF, -INF, None, "8", True, [], 1j])
async def test_a_cost_that_is_no_cost_fails_its_own_item_only(told):
    async with running(RecordingFunction(), cost=lambda item: told if item == "bad" else 1, max_batch_cost=5) as batcher:
        for call in (batcher("bad"), batcher.map(["good", "bad"])):
            error = await outcome(call)
            assert isinstance(error, TypeError | ValueError)
            assert "cost" in str(error)
        assert await outcome(batcher("good")) == "good"
        assert batcher.statistics().submitted == 1


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit, Odd, StopIteration])
async def test_a_cost_that_raises_the_oddest_things_harms_no_other(error):
    def cost(item):
        if item == "bad":
            raise error
        return 1

    async with running(RecordingFunction(), cost=cost) as batcher:
        with pytest.raises((error, RuntimeError)):
            await batcher("bad")
        assert await outcome(batcher("good")) == "good"
        assert conserved(batcher)


async def test_costs_that_add_up_inexactly_do_not_drift():
    function = RecordingFunction()
    async with running(function, max_batch_cost=0.3, cost=lambda item: 0.1) as batcher:
        for _ in range(100):
            await outcome(batcher.map(range(7)))
            await asyncio.gather(*start(batcher, 1, 2))
            left = batcher.submit(1)
            left.cancel()
        assert {len(batch) for batch in function.batches} <= {1, 2, 3}


async def test_free_items_are_bounded_by_the_size_alone():
    function = RecordingFunction()
    async with running(function, max_batch_size=5, max_batch_cost=1, cost=lambda item: 0) as batcher:
        await outcome(batcher.map(range(10)))
        assert [len(batch) for batch in function.batches] == [5, 5]


async def test_a_cost_may_be_a_numpy_number():
    async with running(RecordingFunction(), max_batch_cost=np.float64(10), cost=np.sum) as batcher:
        assert await outcome(batcher(np.ones(3))) is not None


# Many at once


@pytest.mark.parametrize(
    "queue",
    [
        Fifo(),
        Fifo(3),
        EarliestDeadline(),
        EarliestDeadline(3),
        Priority(),
        Priority(3),
        Keyed(),
        Keyed(3),
        Keyed(3, key=str),
    ],
)
async def test_a_map_of_any_size_comes_back_in_order(queue):
    async with running(
        RecordingFunction(lambda item: item * 10), max_batch_size=4, queue=queue, executor=InlineExecutor(3)
    ) as batcher:
        for size in (0, 1, 3, 4, 5, 50):
            assert await outcome(batcher.map(iter(range(size)))) == [item * 10 for item in range(size)]
        assert batcher.statistics().submitted == 63
        assert conserved(batcher)


async def test_many_maps_at_once_do_not_mix():
    async with running(RecordingFunction(), max_batch_size=7, queue=Fifo(11), executor=InlineExecutor(2)) as batcher:
        calls = [batcher.map([(who, item) for item in range(who)]) for who in range(30)]
        for who, results in enumerate(await outcome(asyncio.gather(*calls))):
            assert results == [(who, item) for item in range(who)]
        assert conserved(batcher)


async def test_maps_fill_batches_together_with_others():
    async with busy(max_batch_size=8) as (batcher, function):
        tasks = [asyncio.create_task(call) for call in (batcher.map("abc"), batcher("d"), batcher.map("efgh"))]
        await passes()
        batcher.release()
        await asyncio.gather(*tasks)
        assert function.batches == [list("abcdefgh")]


async def test_the_first_error_ends_a_map_and_what_has_not_run_does_not():
    function = RecordingFunction(script=[lambda items: [items[0], ValueError("second")]])
    async with running(function, max_batch_size=2) as batcher:
        error = await outcome(batcher.map(range(10)))
        assert str(error) == "second"
        assert function.items == [0, 1]
        assert await outcome(batcher(1)) == 1
        statistics = batcher.statistics()
        assert (statistics.failed, statistics.cancelled) == (1, 8)
        assert conserved(batcher)


async def test_errors_stand_among_the_results_if_they_are_asked_for():
    script = [lambda items: [items[0], ValueError("x")], KeyError("y")]
    async with running(RecordingFunction(script=script), max_batch_size=2) as batcher:
        results = await outcome(batcher.map(range(6), return_exceptions=True))
        assert kinds(results) == [0, ValueError, KeyError, KeyError, 4, 5]
        assert results[2] is not results[3]
        assert batcher.statistics().failed == 3
        assert conserved(batcher)


async def test_a_source_that_raises_submits_nothing():
    def source():
        yield 1
        raise KeyError

    async with running(RecordingFunction()) as batcher:
        assert isinstance(await outcome(batcher.map(source())), KeyError)
        assert batcher.statistics().submitted == 0


async def test_a_map_costs_one_future_however_many_items():
    async with running(RecordingFunction(), max_batch_size=100, queue=Fifo(INF)) as batcher:
        made = 0
        original = batcher._future

        def counting():
            nonlocal made
            made += 1
            return original()

        batcher._future = counting
        assert len(await outcome(batcher.map(range(1000)))) == 1000
        assert made == 1


async def test_tens_of_thousands_of_results_are_scattered_at_once():
    async def function(items):
        return items

    async with running(function, max_batch_size=100_000, max_wait=INF, queue=Fifo(INF)) as batcher:
        futures = [batcher.submit(item) for item in range(3_000)]
        futures.append(asyncio.ensure_future(batcher.map(range(40_000))))
        await passes(2)
        batcher.flush()
        await asyncio.wait(futures)
        assert [future.result() for future in futures[:-1]] == list(range(3_000))
        assert futures[-1].result() == list(range(40_000))
        assert batcher.statistics().batches == 1
        del futures
        gc.collect()


# imap


@pytest.mark.virtual
async def test_imap_keeps_the_order_of_its_source_or_that_of_the_answers():
    async def function(items):
        await asyncio.sleep(items[0])
        return items

    async with running(function, max_batch_size=1, executor=InlineExecutor(3)) as batcher:
        assert [item async for item in batcher.imap([3, 1, 2])] == [3, 1, 2]
        assert [item async for item in batcher.imap([3, 1, 2], ordered=False)] == [1, 2, 3]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("read_ahead", [1, 2, 7])
async def test_imap_reads_no_further_ahead_than_it_may(ordered, read_ahead):
    read = yielded = 0

    def source():
        nonlocal read
        for item in range(30):
            read += 1
            assert read - yielded <= read_ahead + 1
            yield item

    async with running(RecordingFunction(), max_batch_size=4) as batcher:
        async for _ in batcher.imap(source(), ordered=ordered, read_ahead=read_ahead):
            yielded += 1
            await passes(3)
            assert batcher.statistics().submitted - yielded <= read_ahead
        assert yielded == 30
        assert conserved(batcher)


async def test_imap_takes_async_sources_and_waits_for_room():
    async def source():
        for item in range(20):
            await asyncio.sleep(0)
            yield item

    async with running(RecordingFunction(), max_batch_size=2, queue=Fifo(1)) as batcher:
        assert [item async for item in batcher.imap(source(), read_ahead=10)] == list(range(20))
        assert batcher.statistics().rejected == 0


async def test_imap_takes_endless_sources():
    async with running(RecordingFunction(), max_batch_size=4) as batcher:
        async with contextlib.aclosing(batcher.imap(iter(int, 1))) as results:
            count = 0
            async for _ in results:
                count += 1
                if count == 20:
                    break
        await passes()
        assert batcher.statistics().submitted <= 20 + 8
        assert batcher.statistics().queued == 0
        assert conserved(batcher)


@pytest.mark.parametrize("ordered", [True, False])
async def test_an_error_in_imap_comes_in_its_place_and_ends_it_or_is_yielded(ordered):
    def script():
        yield lambda items: [0, 1, KeyError("x"), 3]

    async with running(RecordingFunction(script=script()), max_batch_size=4) as batcher:
        got = []
        with pytest.raises(KeyError):
            async for item in batcher.imap(range(8), ordered=ordered):
                got.append(item)
        assert got == [0, 1]
        await passes()
        assert batcher.statistics().queued == batcher.statistics().in_flight == 0
    async with running(RecordingFunction(script=script()), max_batch_size=4) as batcher:
        results = [item async for item in batcher.imap(range(8), ordered=ordered, return_exceptions=True)]
        assert kinds(results) == [0, 1, KeyError, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_source_that_fails_does_so_after_what_it_gave(ordered):
    def source():
        yield from range(5)
        raise KeyError

    async with running(RecordingFunction(), max_batch_size=2) as batcher:
        got = []
        with pytest.raises(KeyError):
            async for item in batcher.imap(source(), ordered=ordered):
                got.append(item)
        assert got == list(range(5))


@pytest.mark.virtual
async def test_leaving_imap_early_cancels_what_was_read_ahead():
    function = RecordingFunction(seconds=1)
    async with running(function, max_batch_size=2) as batcher:
        async with contextlib.aclosing(batcher.imap(range(100), read_ahead=10)) as results:
            async for _ in results:
                break
        await passes()
        assert batcher.statistics().queued == 0
        assert conserved(batcher)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                async for _ in batcher.imap(range(100)):
                    pass
        await passes()
        assert batcher.statistics().queued == batcher.statistics().in_flight == 0
        assert conserved(batcher)


@pytest.mark.virtual
async def test_progress_is_told_after_each_result_on_the_clock_of_the_loop():
    told = []
    function = RecordingFunction(seconds=2, script=[2.0, ValueError("x")])
    async with running(function, max_batch_size=2) as batcher:
        async for _ in batcher.imap(range(4), on_progress=told.append, return_exceptions=True):
            pass
        assert [(progress.done, progress.failed) for progress in told] == [(1, 0), (2, 0), (3, 1), (4, 2)]
        assert [progress.seconds for progress in told] == pytest.approx([2, 2, 2, 2])
        assert told[-1].waiting == 0


async def test_progress_that_raises_ends_the_imap_and_no_more():
    def progress(_):
        raise KeyError

    async with running(RecordingFunction()) as batcher:
        with pytest.raises(KeyError):
            async for _ in batcher.imap(range(100), on_progress=progress):
                pass
        await passes()
        assert await outcome(batcher(1)) == 1
        assert conserved(batcher)


async def test_imap_is_told_when_the_queue_rejects_it():
    async with busy(queue=Fifo(1, "reject")) as (batcher, _):
        other = batcher.submit("other")
        with pytest.raises(QueueFull):
            async for _ in batcher.imap(range(10)):
                pass
        batcher.release()
        assert await outcome(other) == "other"
        assert conserved(batcher)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("when_full", ["wait", "reject", "evict"])
async def test_imap_is_not_turned_away_because_of_what_it_read_ahead_itself(ordered, when_full):
    async with running(RecordingFunction(), max_batch_size=2, queue=Fifo(3, when_full)) as batcher:
        async with asyncio.timeout(50):
            results = [each async for each in batcher.imap(range(50), ordered=ordered, read_ahead=10)]
        assert sorted(results) == list(range(50))
        assert batcher.statistics().succeeded == batcher.statistics().submitted == 50


# Conservation


def submits(dice, batcher, step):
    match dice.randrange(8):
        case 0 | 1 | 2:
            return batcher(step, timeout=dice.choice([INF, INF, 0, 0.5, 3]))
        case 3:
            return batcher.map(range(dice.randrange(6)), timeout=dice.choice([INF, 0.2, 4]))
        case 4:
            return batcher.map([step, "bad"], return_exceptions=dice.choice([True, False]))
        case 5:
            return batcher("bad")
        case 6:
            with contextlib.suppress(QueueFull):
                return batcher.submit(step, timeout=dice.choice([INF, 1]))
    return asyncio.sleep(0)


async def sometimes_bad(items):
    await asyncio.sleep(len(items) / 10)
    if len(items) > 3:
        raise KeyError
    return [ValueError() if item == "bad" else item for item in items]


@pytest.mark.virtual
@pytest.mark.parametrize(
    "queue",
    [
        Fifo(5),
        Fifo(5, "reject"),
        Fifo(5, "evict"),
        EarliestDeadline(5),
        EarliestDeadline(5, "evict"),
        Priority(5, "evict"),
        Keyed(5, "evict"),
    ],
)
@pytest.mark.parametrize("seed", range(3))
async def test_every_item_has_one_outcome_at_every_moment(queue, seed):
    moments = []

    def observe(event):
        moments.append((event, conserved(batcher)))

    dice = random.Random(seed)
    options = {"max_batch_size": 4, "max_wait": 0.3, "executor": InlineExecutor(2), "observers": [observe]}
    async with running(sometimes_bad, queue=queue, **options) as batcher:
        tasks = []
        for step in range(150):
            tasks.append(asyncio.ensure_future(submits(dice, batcher, step)))
            if dice.random() < 0.2:
                dice.choice(tasks).cancel()
            if dice.random() < 0.5:
                await asyncio.sleep(dice.choice([0, 0, 0.05, 0.4]))
            assert conserved(batcher), step
        await asyncio.wait(tasks)
        await asyncio.gather(*tasks, return_exceptions=True)
        statistics = batcher.statistics()
        assert statistics.queued == statistics.in_flight == statistics.waiting_for_room == 0
        assert conserved(batcher)
        assert statistics.batches == sum(statistics.reasons.values())
    assert [event for event, good in moments if not good] == []
