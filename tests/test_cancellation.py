"""Callers that go away, in every way and at every moment, hurt nobody else."""

from __future__ import annotations

import asyncio
import gc
import math
import weakref

import anyio
from callers import conserved, outcome, passes, running, until
import pytest

from asyncbatch import DeadlineExceeded, Fifo, QueueFull
from asyncbatch.testing import RecordingFunction


class Item:
    """Something that can be weakly referenced."""


def tens(items: list[int]) -> list[int]:
    return [item * 10 for item in items]


async def test_a_caller_that_leaves_the_queue_is_never_run():
    gate = asyncio.Event()
    function = RecordingFunction(script=[gate])
    async with running(function) as batcher:
        first = asyncio.create_task(batcher("first"))
        await until(lambda: function.running)
        waiting = [asyncio.create_task(batcher(item)) for item in "abc"]
        await passes()
        waiting[1].cancel()
        await passes()
        assert batcher.statistics().queued == 2
        gate.set()
        assert await outcome(first) == "first"
        assert isinstance(await outcome(waiting[1]), asyncio.CancelledError)
        assert [await outcome(waiting[0]), await outcome(waiting[2])] == ["a", "c"]
        assert function.batches == [["first"], ["a", "c"]]
        assert batcher.statistics().cancelled == 1
        assert conserved(batcher)


async def test_work_that_nobody_waits_for_any_more_is_not_done():
    gate = asyncio.Event()
    function = RecordingFunction(script=[gate])
    async with running(function) as batcher:
        first = asyncio.create_task(batcher("first"))
        await until(lambda: function.running)
        dead = [asyncio.create_task(batcher(i)) for i in range(100)]
        live = asyncio.create_task(batcher("live"))
        await passes()
        for task in dead:
            task.cancel()
        await passes()
        assert batcher.statistics().queued == 1
        gate.set()
        await outcome(asyncio.gather(first, live))
        assert function.batches == [["first"], ["live"]]


async def test_the_place_of_a_caller_that_left_is_free_at_once():
    gate = asyncio.Event()
    function = RecordingFunction(script=[gate])
    async with running(function, queue=Fifo(2, "reject")) as batcher:
        first = asyncio.create_task(batcher("first"))
        await until(lambda: function.running)
        leaves, stays = asyncio.create_task(batcher("leaves")), asyncio.create_task(batcher("stays"))
        await passes()
        with pytest.raises(QueueFull):
            batcher.submit("no room")
        leaves.cancel()
        await passes()
        comes = batcher.submit("comes")
        gate.set()
        assert await outcome(asyncio.gather(first, stays, comes)) == ["first", "stays", "comes"]


async def test_a_cancelled_future_frees_its_place_in_the_very_same_step():
    gate = asyncio.Event()
    function = RecordingFunction(script=[gate])
    async with running(function, queue=Fifo(1, "reject")) as batcher:
        first = batcher.submit("first")
        await until(lambda: function.running)
        leaves = batcher.submit("leaves")
        assert leaves.cancel()
        comes = batcher.submit("comes")
        gate.set()
        assert await outcome(asyncio.gather(first, comes)) == ["first", "comes"]
        assert function.batches == [["first"], ["comes"]]
        assert not leaves.cancel()


@pytest.mark.virtual
async def test_a_caller_that_left_does_not_count_towards_a_full_batch():
    function = RecordingFunction()
    async with running(function, max_batch_size=2, max_wait=math.inf) as batcher:
        left = asyncio.create_task(batcher("left"))
        await asyncio.sleep(1)
        left.cancel()
        await asyncio.sleep(1)
        second = batcher.submit("second")
        await asyncio.sleep(1)
        assert function.batches == []
        third = batcher.submit("third")
        assert await outcome(asyncio.gather(second, third)) == ["second", "third"]
        assert function.batches == [["second", "third"]]


@pytest.mark.virtual
@pytest.mark.parametrize("arrives_first", [True, False])
async def test_a_caller_that_leaves_as_the_batch_fills_does_not_count_either(arrives_first):
    function = RecordingFunction()
    async with running(function, max_batch_size=2, max_wait=math.inf) as batcher:
        left = asyncio.create_task(batcher("left"))
        await asyncio.sleep(1)
        if arrives_first:
            second = batcher.submit("second")
            left.cancel()
        else:
            left.cancel()
            second = batcher.submit("second")
        await asyncio.sleep(1)
        assert function.batches == []
        third = batcher.submit("third")
        await outcome(asyncio.gather(second, third))
        assert function.batches == [["second", "third"]]


async def test_the_function_never_sees_an_empty_batch():
    function = RecordingFunction()
    async with running(function) as batcher:
        for k in range(13):
            tasks = [asyncio.create_task(batcher(i)) for i in range(3)]
            await passes(k)
            for task in tasks:
                task.cancel()
            for task in tasks:
                await outcome(task)
            assert all(function.batches), k
            assert await outcome(batcher("next")) == "next", k
            assert conserved(batcher), k


async def test_an_item_is_let_go_as_soon_as_its_caller_left_the_queue():
    gate = asyncio.Event()
    async with running(RecordingFunction(script=[gate])) as batcher:
        first = batcher.submit("first")
        await passes()
        item = Item()
        seen = weakref.ref(item)
        task = asyncio.create_task(batcher(item))
        await passes()
        del item
        assert seen() is not None
        task.cancel()
        del task  # awaiting it would keep its error, and with it the frame of the call
        await passes()
        gc.collect()
        assert seen() is None
        gate.set()
        await first


async def test_a_caller_that_leaves_in_flight_hurts_no_neighbour():
    gate = asyncio.Event()
    function = RecordingFunction(lambda item: item * 10, script=[gate])
    async with running(function) as batcher:
        tasks = [asyncio.create_task(batcher(item)) for item in (1, 2, 3)]
        await until(lambda: function.running)
        tasks[0].cancel()
        await passes()
        assert batcher.statistics().in_flight == 2
        gate.set()
        assert await outcome(asyncio.gather(*tasks[1:])) == [20, 30]
        assert function.cancelled == 0
        assert conserved(batcher)


@pytest.mark.parametrize("awaits", range(4))
@pytest.mark.parametrize("who", [0, 1, 2])
async def test_at_whatever_pass_a_caller_leaves_its_neighbours_are_answered(who, awaits):
    async def function(items):
        await passes(awaits)
        return tens(items)

    async with running(function, max_batch_size=2) as batcher:
        for k in range(13):
            tasks = [asyncio.create_task(batcher(item)) for item in (1, 2, 3)]
            await passes(k)
            tasks[who].cancel()
            results = [await outcome(task) for task in tasks]
            left = results.pop(who)
            assert left == 10 * (who + 1) or isinstance(left, asyncio.CancelledError), k
            assert results == [item * 10 for item in (1, 2, 3) if item != who + 1], k
            assert conserved(batcher), k
            assert batcher.statistics().in_flight == 0, k


async def test_at_whatever_pass_a_future_is_cancelled_its_neighbours_are_answered():
    async def function(items):
        await passes(2)
        return tens(items)

    async with running(function, max_batch_size=2) as batcher:
        for k in range(13):
            futures = [batcher.submit(item) for item in (1, 2, 3)]
            await passes(k)
            futures[0].cancel()
            assert await outcome(asyncio.gather(*futures[1:])) == [20, 30], k
            assert conserved(batcher), k


@pytest.mark.parametrize("which", ["first", "last", "all"])
async def test_the_function_may_cancel_callers_of_its_own_batch(which):
    chosen = {"first": slice(0, 1), "last": slice(2, 3), "all": slice(0, 3)}[which]

    async def function(items):
        for task in tasks[chosen]:
            task.cancel()
        return tens(items)

    async with running(function) as batcher:
        tasks = [asyncio.create_task(batcher(item)) for item in (1, 2, 3)]
        results = [await outcome(task) for task in tasks]
        assert all(isinstance(result, asyncio.CancelledError) for result in results[chosen])
        assert {10, 20, 30} >= {result for result in results if isinstance(result, int)}
        assert sum(isinstance(result, int) for result in results) == (0 if which == "all" else 2)
        assert conserved(batcher)
        tasks = []
        assert await outcome(batcher(4)) == 40


async def test_a_caller_cancelled_as_its_result_comes_is_cancelled_and_its_neighbour_is_not():
    async with running(RecordingFunction()) as batcher:
        neighbour = batcher.submit("neighbour")
        task = asyncio.create_task(batcher("mine"))
        # Runs as the neighbour's future is done, in the same step as the task's own future.
        neighbour.add_done_callback(lambda _: task.cancel())
        assert await outcome(neighbour) == "neighbour"
        assert isinstance(await outcome(task), asyncio.CancelledError)
        assert conserved(batcher)


async def test_an_error_that_meets_a_caller_who_leaves_makes_no_noise():
    noise = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))

    async def function(items):
        await passes(2)
        raise ValueError

    async with running(function) as batcher:
        for k in range(8):
            tasks = [asyncio.create_task(batcher(item)) for item in (1, 2)]
            await passes(k)
            tasks[0].cancel()
            assert isinstance(await outcome(tasks[1]), ValueError), k
            await outcome(tasks[0])
            assert conserved(batcher), k
    del tasks
    gc.collect()
    assert noise == []


async def leave_by_cancel(call):
    task = asyncio.create_task(call)
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def leave_by_timeout(call):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await call


async def leave_by_wait_for(call):
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call, 1)


async def leave_by_move_on_after(call):
    with anyio.move_on_after(1) as scope:
        await call
    assert scope.cancelled_caught


async def leave_by_fail_after(call):
    with pytest.raises(TimeoutError):
        with anyio.fail_after(1):
            await call


async def leave_by_task_group(call):
    async def fails():
        await asyncio.sleep(1)
        raise KeyError

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(call)
            group.create_task(fails())
    assert caught.value.split(KeyError)[1] is None


async def leave_by_anyio_task_group(call):
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: call)
        await asyncio.sleep(1)
        group.cancel_scope.cancel()
    del group, call
    gc.collect()  # such a group leaves a cycle that takes two collections


async def leave_by_deadline(call):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + 1):
            await call


WAYS = [
    leave_by_cancel,
    leave_by_timeout,
    leave_by_wait_for,
    leave_by_move_on_after,
    leave_by_fail_after,
    leave_by_task_group,
    leave_by_anyio_task_group,
    leave_by_deadline,
]


@pytest.mark.virtual
@pytest.mark.parametrize("leave", WAYS)
async def test_every_way_to_leave_in_flight_spares_the_neighbour(leave):
    function = RecordingFunction(lambda item: item * 10, seconds=2)
    async with running(function, max_batch_size=2, max_wait=math.inf) as batcher:
        neighbour = asyncio.create_task(batcher(2))
        await leave(batcher(1))
        assert await outcome(neighbour) == 20
        assert sorted(function.items) == [1, 2] and len(function.batches) == 1
        batcher.max_wait = 0
        assert await outcome(batcher(3)) == 30
        assert conserved(batcher)


@pytest.mark.virtual
@pytest.mark.parametrize("leave", WAYS)
async def test_every_way_to_leave_the_queue_keeps_the_item_from_running(leave):
    function = RecordingFunction(seconds=3)
    async with running(function) as batcher:
        first = asyncio.create_task(batcher("first"))
        await asyncio.sleep(0.5)
        await leave(batcher("left"))
        assert batcher.statistics().queued == 0
        assert batcher.statistics().cancelled == 1
        await outcome(first)
        assert function.batches == [["first"]]


@pytest.mark.virtual
@pytest.mark.parametrize("leave", WAYS)
async def test_every_way_to_leave_the_lobby_spares_those_behind(leave):
    function = RecordingFunction(seconds=3)
    async with running(function, max_batch_size=1, queue=Fifo(1)) as batcher:
        before = [asyncio.create_task(batcher(item)) for item in ("runs", "queued")]
        await asyncio.sleep(0.5)
        leaving = asyncio.create_task(leave(batcher("left")))
        await asyncio.sleep(0.1)
        behind = asyncio.create_task(batcher("behind"))
        await leaving
        assert batcher.statistics().waiting_for_room == 1
        await asyncio.gather(*before, behind)
        assert function.items == ["runs", "queued", "behind"]
        assert batcher.statistics().cancelled == 1
        assert conserved(batcher)


@pytest.mark.virtual
async def test_a_shielded_call_goes_on_when_its_caller_leaves():
    function = RecordingFunction(seconds=2)
    async with running(function) as batcher:
        inner = asyncio.ensure_future(batcher("mine"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.shield(inner)
        assert await inner == "mine"
        assert batcher.statistics().cancelled == 0


@pytest.mark.virtual
async def test_when_all_callers_have_left_the_batch_is_cancelled_and_its_slot_is_free():
    function = RecordingFunction(script=[asyncio.Event()])
    async with running(function) as batcher:
        tasks = [asyncio.create_task(batcher(item)) for item in (1, 2)]
        await asyncio.sleep(1)
        tasks[0].cancel()
        await asyncio.sleep(1)
        assert function.cancelled == 0
        tasks[1].cancel()
        assert await outcome(batcher(3)) == 3
        assert asyncio.get_running_loop().time() == 2
        assert function.cancelled == 1
        assert conserved(batcher)


@pytest.mark.virtual
async def test_when_the_last_caller_is_out_of_time_the_batch_is_cancelled():
    function = RecordingFunction(script=[asyncio.Event()])
    async with running(function) as batcher:
        results = await asyncio.gather(batcher(1, timeout=1), batcher(2, timeout=2), return_exceptions=True)
        assert [type(result) for result in results] == [DeadlineExceeded, DeadlineExceeded]
        assert await outcome(batcher(3)) == 3
        assert function.cancelled == 1
        assert asyncio.get_running_loop().time() == 2


@pytest.mark.virtual
async def test_a_function_that_clears_up_after_its_cancellation_keeps_its_slot_meanwhile():
    times = []

    async def function(items):
        times.append(asyncio.get_running_loop().time())
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(5)

    async with running(function) as batcher:
        with anyio.move_on_after(1):
            await batcher("left")
        with anyio.move_on_after(10):
            await batcher("next")
        assert times == [0, 6]


@pytest.mark.virtual
async def test_a_function_that_ignores_its_cancellation_ends_in_its_own_time():
    async def function(items):
        try:
            await asyncio.sleep(2)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return items

    async with running(function) as batcher:
        with anyio.move_on_after(1):
            await batcher("left")
        assert await outcome(batcher("next")) == "next"
        assert asyncio.get_running_loop().time() == 4
        assert conserved(batcher)


@pytest.mark.virtual
@pytest.mark.parametrize("times", [1, 2, 5])
async def test_leaving_again_and_again_does_not_wear_the_batcher_out(times):
    function = RecordingFunction(script=[asyncio.Event() for _ in range(times)])
    async with running(function) as batcher:
        resident = {task for task in asyncio.all_tasks() if task.get_name().startswith("asyncbatch")}
        for item in range(times):
            with anyio.move_on_after(1):
                await batcher(item)
        assert await outcome(batcher("last")) == "last"
        assert function.cancelled == times
        assert {task for task in asyncio.all_tasks() if task.get_name().startswith("asyncbatch")} == resident


@pytest.mark.virtual
async def test_a_function_may_use_timeouts_and_task_groups_of_its_own():
    async def function(items):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.sleep(2)
        with anyio.move_on_after(1):
            await anyio.sleep(2)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(1, item)) for item in items]
        return [task.result() for task in tasks]

    async with running(function) as batcher:
        assert await outcome(asyncio.gather(batcher(1), batcher(2))) == [1, 2]
        assert asyncio.get_running_loop().time() == 3


@pytest.mark.virtual
async def test_a_map_that_is_cancelled_leaves_the_queue_and_the_batches():
    gate = asyncio.Event()
    function = RecordingFunction(script=[gate])
    async with running(function, max_batch_size=2, queue=Fifo(3)) as batcher:
        mapped = asyncio.create_task(batcher.map(range(10)))
        await asyncio.sleep(1)
        mapped.cancel()
        await asyncio.sleep(1)
        assert function.batches == [[0, 1]]
        assert function.cancelled == 1
        statistics = batcher.statistics()
        assert (statistics.queued, statistics.in_flight, statistics.waiting_for_room) == (0, 0, 0)
        assert statistics.cancelled == 10
        assert await outcome(batcher("next")) == "next"
        assert conserved(batcher)


@pytest.mark.virtual
async def test_a_map_that_is_cancelled_spares_a_neighbour_in_its_batch():
    function = RecordingFunction(seconds=2)
    async with running(function) as batcher:
        mapped, neighbour = asyncio.create_task(batcher.map("ab")), asyncio.create_task(batcher("c"))
        await asyncio.sleep(1)
        mapped.cancel()
        assert await outcome(neighbour) == "c"
        assert function.batches == [["a", "b", "c"]]
        assert conserved(batcher)


async def test_at_whatever_pass_a_map_is_cancelled_others_are_answered():
    async def function(items):
        await passes(1)
        return tens(items)

    async with running(function, max_batch_size=2, queue=Fifo(4)) as batcher:
        for k in range(20):
            mapped = asyncio.create_task(batcher.map(range(7)))
            others = [asyncio.create_task(batcher(item)) for item in (1, 2, 3)]
            await passes(k)
            mapped.cancel()
            assert await outcome(asyncio.gather(*others)) == [10, 20, 30], k
            await outcome(mapped)
            assert conserved(batcher), k


async def test_a_caller_that_is_cancelled_before_it_started_never_comes_in():
    function = RecordingFunction()
    async with running(function) as batcher:
        call = batcher("never")
        call.close()
        await passes()
        assert function.batches == []
        assert batcher.statistics().submitted == 0


async def test_thousands_who_leave_the_queue_leave_nothing_in_it():
    gate = asyncio.Event()
    function = RecordingFunction(script=[gate])
    async with running(function, queue=Fifo(math.inf)) as batcher:
        first = batcher.submit("first")
        await until(lambda: function.running)
        items = [Item() for _ in range(2000)]
        seen = [weakref.ref(item) for item in items]
        futures = [batcher.submit(item) for item in items]
        del items
        for future in futures:
            future.cancel()
        assert batcher.statistics().queued == 0
        assert not [ref for ref in seen if ref() is not None]
        gate.set()
        await outcome(first)
        assert function.batches == [["first"]]


@pytest.mark.virtual
async def test_everybody_may_leave_at_once_while_others_come():
    function = RecordingFunction(seconds=1)
    async with running(function, max_batch_size=4, queue=Fifo(8)) as batcher:
        for round_ in range(20):
            stays = asyncio.create_task(batcher(round_))
            leaves = [asyncio.create_task(batcher(-1)) for _ in range(15)]
            await asyncio.sleep(0.3)
            for task in leaves:
                task.cancel()
            assert await outcome(stays) == round_
            assert conserved(batcher)
        assert [item for item in function.items if item >= 0] == list(range(20))
