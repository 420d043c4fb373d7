"""Plain requests have no objects of their own, until one of them matters: nobody can tell but by what it costs."""

from __future__ import annotations

import asyncio
import gc
import itertools
import math
import random
import sys
import weakref

import pytest
from callers import busy, conserved, harried, kinds, outcome, passes, running, until

from asyncbatch import Batcher, Closed, DeadlineExceeded, Fifo, LatencyObjective, QueueFull, batched
from asyncbatch.crowd import Crowd, Parted
from asyncbatch.request import Request
from asyncbatch.testing import RecordingFunction


@pytest.fixture(params=[3, 128], autouse=True)
def largest(request, monkeypatch):
    """As it goes where few share a future, and where many do; and wherever two could."""
    monkeypatch.setattr("asyncbatch.order.LARGEST", request.param)
    at_least(monkeypatch, 0)
    return request.param


def at_least(monkeypatch, smallest):
    """Let those of whom fewer came one after the other have requests."""
    monkeypatch.setattr("asyncbatch.order.SMALLEST", smallest)
    monkeypatch.setattr("asyncbatch.intake.SMALLEST", smallest)


@pytest.fixture
def made(monkeypatch):
    """One for each request that is made of somebody in a crowd, or for want of one."""
    made = []

    def make():
        made.append(1)
        return Request()

    monkeypatch.setattr("asyncbatch.crowd.Request", make)
    return made


def crowds_of(batcher):
    return [each for each in batcher._house.queue._queue if isinstance(each, Crowd) and each.persons is None]


def crowded(batcher):
    """Return how many wait in crowds."""
    return sum(each.size for each in crowds_of(batcher))


def held(batcher):
    """Return how many the line holds, tombstones included."""
    return sum(each.size + len(each.persons or ()) if isinstance(each, Crowd) else 1 for each in line_of(batcher))


def line_of(batcher):
    return batcher._house.queue._queue


async def coming(batcher, items):
    """Let each of `items` be called for, and come in."""
    tasks = [asyncio.create_task(outcome(batcher(item))) for item in items]
    await passes()
    return tasks


# The crowd itself.


class Place:
    """Notes who leaves."""

    def __init__(self):
        self.left = []

    def part(self, crowd):
        crowd.part(self)

    def discard(self, request, outcome):
        self.left.append((request, outcome))


async def crowd(size):
    """Return a crowd, where it is, and tasks that wait with it."""
    place = Place()
    line = Crowd(asyncio.get_running_loop().create_future(), place)

    async def wait(seat, future):
        try:
            return (await future)[seat]
        except Parted:
            return await line.own(seat)[1]
        except asyncio.CancelledError:
            line.leave(seat)
            raise

    for number in range(size):
        line.row += (f"item {number}", float(number))
    tasks = [asyncio.create_task(wait(2 * number, line.future)) for number in range(size)]
    await passes()
    return line, place, tasks


async def test_all_share_a_future_and_each_takes_its_own_of_what_that_gives():
    line, _, tasks = await crowd(3)
    assert (line.size, line.row[::2], line.arrivals, line.arrived) == (
        3,
        ["item 0", "item 1", "item 2"],
        [0.0, 1.0, 2.0],
        0.0,
    )
    line.answer("abc")
    assert [await task for task in tasks] == ["a", "b", "c"]


@pytest.mark.parametrize("gone", [[0], [1], [2], [0, 2], [0, 1, 2]])
async def test_who_is_cancelled_leaves_and_all_others_wait_by_themselves(gone):
    line, place, tasks = await crowd(3)
    for seat in gone:
        assert tasks[seat].cancel()
    persons = line.persons
    assert [(each.item, each.arrived, each.place) for each in persons] == [(f"item {n}", float(n), place) for n in range(3)]
    await passes(1)
    assert [tasks[each].cancelled() for each in range(3)] == [each in gone for each in range(3)]
    assert place.left == [(persons[seat], "cancelled") for seat in gone]
    for number, each in enumerate(persons):
        if number not in gone:
            each.future.set_result(f"own {number}")
            assert await tasks[number] == f"own {number}"


async def test_one_who_was_answered_by_itself_in_the_pass_it_is_cancelled_in_is_not_asked_for_what_it_raised():
    line, _, tasks = await crowd(2)
    tasks[0].cancel()
    for each in line.persons:
        each.fail(ValueError("nobody but the second sees this"), "failed")
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    with pytest.raises(ValueError, match="second"):
        await tasks[1]


async def test_who_is_cancelled_once_it_was_answered_changes_nothing_for_the_others():
    line, place, tasks = await crowd(3)
    line.answer("abc")
    tasks[1].cancel()
    assert kinds(await asyncio.gather(*tasks, return_exceptions=True)) == ["a", asyncio.CancelledError, "c"]
    assert place.left == []


async def test_nothing_is_left_for_the_collector():
    gc.disable()
    try:
        line, place, tasks = await crowd(3)
        answered = weakref.ref(line.future)
        line.answer("abc")
        await asyncio.gather(*tasks)
        del line, place, tasks
        await passes()
        assert answered() is None
    finally:
        gc.enable()


# In a batcher.


async def test_a_plain_request_waits_without_an_object_of_its_own(largest, made):
    async with busy() as (batcher, function):
        tasks = await coming(batcher, range(20))
        assert crowded(batcher) == 20
        assert len(crowds_of(batcher)) == math.ceil(20 / min(32, largest))
        batcher.release()
        assert [await task for task in tasks] == [*range(20)]
        assert function.batches == [[*range(20)]]
        assert not line_of(batcher)
        assert not made


@pytest.mark.parametrize("most", [1, 3, 7, 64])
async def test_all_kinds_of_callers_go_in_the_order_of_their_arrival(most):
    async with busy(max_batch_size=most) as (batcher, function):
        came = iter(range(1000))
        tasks = []
        for _ in range(8):
            tasks += await coming(batcher, [next(came), next(came), next(came)])
            tasks.append(asyncio.ensure_future(outcome(batcher.submit(next(came)))))
            tasks += await coming(batcher, [next(came)])
            tasks.append(asyncio.create_task(batcher.map([next(came) for _ in range(4)])))
            await passes()
            tasks += await coming(batcher, [next(came), next(came)])
            tasks.append(asyncio.create_task(batcher(next(came), timeout=1000)))
            await passes()
        assert batcher.statistics().queued == 8 * 12
        batcher.release()
        await asyncio.gather(*tasks)
        assert function.items == [*range(8 * 12)]
        assert conserved(batcher)


async def test_callers_of_a_decorated_function_are_a_crowd_too(largest):
    @batched(max_wait=1.0)
    async def ones(items):
        return items

    async with ones, asyncio.TaskGroup() as callers:
        for number in range(20):
            callers.create_task(ones(number))
        await passes()
        batcher = ones._batchers.here()
        assert (crowded(batcher), len(crowds_of(batcher))) == (20, math.ceil(20 / min(32, largest)))


async def test_who_leaves_the_crowd_makes_room_at_once():
    async with busy(queue=Fifo(maxsize=4)) as (batcher, function):
        tasks = [asyncio.create_task(batcher(item)) for item in "abcd"]
        await passes()
        waits = await coming(batcher, "ef")
        assert (batcher.statistics().queued, batcher.statistics().waiting_for_room) == (4, 2)
        tasks[1].cancel()
        await passes()
        assert (batcher.statistics().queued, batcher.statistics().waiting_for_room) == (4, 1)
        assert conserved(batcher)
        batcher.release()
        assert [await task for task in waits] == ["e", "f"]
        assert function.items == ["a", "c", "d", "e", "f"]
        assert batcher.statistics().cancelled == 1


@pytest.mark.parametrize("places", [[0], [5], [0, 1, 2], [2, 5, 9], [9], [*range(10)]])
@pytest.mark.parametrize("resumed", [True, False])
async def test_nobody_is_run_who_left_before_the_batch(places, resumed):
    async with busy(max_batch_size=4) as (batcher, function):
        tasks = [asyncio.create_task(batcher(item)) for item in range(10)]
        await passes()
        for place in places:
            tasks[place].cancel()
        if resumed:
            await passes()
            assert batcher.statistics().queued == 10 - len(places)
        batcher.release()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        stay = [each for each in range(10) if each not in places]
        assert kinds(results) == [asyncio.CancelledError if each in places else each for each in range(10)]
        assert function.items == stay
        assert batcher.statistics().cancelled == len(places)
        assert conserved(batcher)


@pytest.mark.parametrize("leave", [1, 3, 8])
async def test_who_leaves_in_flight_is_counted_and_the_last_one_stops_the_work(leave, made):
    gate = asyncio.Event()
    function = RecordingFunction(script=[gate])
    async with running(function) as batcher:
        tasks = [asyncio.create_task(batcher(item)) for item in range(8)]
        await until(lambda: function.running)
        assert not made
        for task in tasks[:leave]:
            task.cancel()
        await passes()
        assert batcher.statistics().in_flight == 8 - leave
        assert batcher.statistics().cancelled == leave
        assert conserved(batcher)
        if leave == 8:
            await until(lambda: function.cancelled == 1)
        else:
            gate.set()
            assert [await task for task in tasks[leave:]] == [*range(leave, 8)]
        assert kinds(await asyncio.gather(*tasks[:leave], return_exceptions=True)) == [asyncio.CancelledError] * leave
        assert conserved(batcher)


async def test_in_a_stuck_queue_those_who_left_take_no_room_for_ever():
    async with busy(queue=Fifo(maxsize=math.inf)) as (batcher, _):
        stay = await coming(batcher, range(10))
        for _ in range(50):
            tasks = [asyncio.create_task(batcher(item)) for item in range(20)]
            await passes()
            for task in tasks:
                task.cancel()
            await passes()
            assert batcher.statistics().queued == 10
            assert held(batcher) < 200
        batcher.release()
        assert [await task for task in stay] == [*range(10)]


async def test_where_few_come_one_after_the_other_they_have_requests(made, monkeypatch):
    at_least(monkeypatch, 4)
    async with busy(max_batch_size=100) as (batcher, function):
        tasks = []

        async def come(*runs):
            """Let so many come, and behind each run one who is no part of any."""
            for size in runs:
                tasks.extend(await coming(batcher, range(len(tasks), len(tasks) + size)))
                tasks.append(OTHERS["submit"](batcher, len(tasks)))
            return crowded(batcher), len(made)

        assert await come(3) == (0, 3)
        assert await come(6) == (2, 7)  # from the fifth on
        assert await come(1) == (3, 7)  # at once, as enough did before
        assert await come(1) == (3, 8)
        assert await come(5, 5, 1) == (3 + 1 + 5 + 1, 12)
        batcher.release()
        assert await asyncio.gather(*tasks) == [*range(len(tasks))]
        assert function.items == [*range(len(tasks))]
        assert conserved(batcher)


async def test_what_a_map_brings_is_no_run_of_callers(made, monkeypatch):
    at_least(monkeypatch, 4)
    async with busy(max_batch_size=100) as (batcher, function):
        tasks = await coming(batcher, [0])
        tasks.append(asyncio.create_task(batcher.map(range(1, 11))))
        await passes()
        assert len(made) == 1
        tasks += await coming(batcher, [11])
        assert len(made) == 2
        batcher.release()
        await asyncio.gather(*tasks)
        assert function.items == [*range(12)]


async def test_a_run_of_callers_goes_on_while_batches_leave(made, monkeypatch):
    at_least(monkeypatch, 4)
    async with running(RecordingFunction()) as batcher:
        for _ in range(2):
            await asyncio.gather(batcher(1), batcher(2))
        await batcher.submit(3)
        assert await asyncio.gather(batcher(4), batcher(5)) == [4, 5]
        assert not made
        await batcher.submit(6)
        assert await asyncio.gather(batcher(7), batcher(8)) == [7, 8]
        assert len(made) == 1


# Behind a crowd.


async def only(batcher, item):
    (result,) = await batcher.map([item])
    return result


OTHERS = {
    "submit": lambda batcher, item: asyncio.ensure_future(outcome(batcher.submit(item))),
    "map": lambda batcher, item: asyncio.ensure_future(outcome(only(batcher, item))),
    "timeout": lambda batcher, item: asyncio.ensure_future(outcome(batcher(item, timeout=1000))),
}


async def crowds(batcher, size, others=("submit", "map", "timeout")):
    """Let crowds of `size` come, and one of each of the `others` behind each; return all callers."""
    tasks, came = [], itertools.count()
    for other in others:
        tasks += await coming(batcher, itertools.islice(came, size))
        tasks.append(OTHERS[other](batcher, next(came)))
        await passes()
    return tasks + await coming(batcher, itertools.islice(came, size))


@pytest.mark.parametrize("other", OTHERS)
async def test_who_comes_behind_a_crowd_holds_up_nobody(other, made):
    async with busy(queue=Fifo(maxsize=math.inf)) as (batcher, function):
        tasks = await coming(batcher, range(500))
        tasks.append(OTHERS[other](batcher, 500))
        await passes()
        tasks += await coming(batcher, range(501, 1000))
        tasks.append(OTHERS[other](batcher, 1000))
        await passes()
        assert len(made) <= 1
        batcher.release()
        assert await asyncio.gather(*tasks) == [*range(1001)]
        assert function.items == [*range(1001)]
        assert len(made) < 40  # of the crowds that a map comes behind, as its batches are cut otherwise


@pytest.mark.virtual
@pytest.mark.parametrize("others", [(), ("submit",)])
async def test_one_who_leaves_in_this_very_pass_holds_up_nobody(others, made):
    async with busy(queue=Fifo(maxsize=math.inf)) as (batcher, function):
        tasks = await crowds(batcher, 500, others)
        tasks[5].cancel()
        batcher._house.queue.prune(32)
        assert len(made) < 200
        batcher.release()
        stay = [each for each in range(len(tasks)) if each != 5]
        assert [await tasks[each] for each in stay] == stay
        assert function.items == stay


@pytest.mark.parametrize("most", [1, 7, 64, 1000])
async def test_those_behind_a_crowd_go_after_it_and_before_the_next(most):
    async with busy(max_batch_size=most) as (batcher, function):
        tasks = await crowds(batcher, 100)
        assert batcher.statistics().queued == 403
        batcher.release()
        assert await asyncio.gather(*tasks) == [*range(403)]
        assert function.items == [*range(403)]
        assert conserved(batcher)


@pytest.mark.parametrize("most", [7, 1000])
@pytest.mark.parametrize(
    "gone",
    [range(3), range(99, 103), [50, 101, 150, 201, 250], range(101, 201), [*range(0, 40), *range(103, 170)], range(403)],
    ids=["first", "last of one", "here and there", "a whole crowd", "most of one", "all"],
)
@pytest.mark.parametrize("resumed", [True, False])
async def test_nobody_is_run_who_left_a_crowd_with_others_behind_it(most, gone, resumed):
    async with busy(max_batch_size=most) as (batcher, function):
        tasks = await crowds(batcher, 100)
        for place in gone:
            tasks[place].cancel()
        if resumed:
            await passes()
            assert batcher.statistics().queued == 403 - len(gone)
            assert conserved(batcher)
        batcher.release()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert kinds(results) == [asyncio.CancelledError if each in gone else each for each in range(403)]
        assert function.items == [each for each in range(403) if each not in gone]
        assert batcher.statistics().cancelled == len(gone)
        assert conserved(batcher)


async def test_who_leaves_in_flight_is_found_whichever_crowd_it_came_with():
    gates = [asyncio.Event() for _ in range(7)]
    function = RecordingFunction(script=gates)
    async with running(function, max_batch_size=40, queue=Fifo(maxsize=math.inf)) as batcher:
        first = asyncio.create_task(batcher("first"))
        await until(lambda: function.running)
        tasks = await crowds(batcher, 80, ("submit",))
        for number, place in enumerate((3, 44, 80, 121)):
            gates[number].set()
            await until(lambda: len(function.batches) == number + 2)  # noqa: B023
            tasks[place].cancel()
            await passes()
            assert batcher.statistics().in_flight == len(function.batches[-1]) - 1
        for gate in gates:
            gate.set()
        results = kinds(await asyncio.gather(*tasks, return_exceptions=True))
        assert results == [asyncio.CancelledError if each in (3, 44, 80, 121) else each for each in range(161)]
        assert await first == "first"
        assert conserved(batcher)


async def test_crowds_that_all_have_left_take_no_room_for_ever():
    async with busy(queue=Fifo(maxsize=math.inf)) as (batcher, _):
        stay = await crowds(batcher, 100)
        for _ in range(5):
            tasks = await crowds(batcher, 100)
            for task in tasks:
                task.cancel()
            await passes()
            assert batcher.statistics().queued == 403
            assert held(batcher) < 800
        batcher.release()
        assert [await task for task in stay] == [*range(403)]


async def test_all_are_told_when_the_batcher_closes():
    function = RecordingFunction(script=[asyncio.Event()])
    async with Batcher(function, max_batch_size=10) as batcher:
        first = asyncio.create_task(outcome(batcher("first")))
        await until(lambda: function.running)
        tasks = await crowds(batcher, 100)
        await batcher.aclose(drain=False, timeout=0)
        assert kinds([await task for task in [first, *tasks]]) == [Closed] * 404
        assert batcher.statistics().closed == 404
        assert conserved(batcher)


async def test_the_first_of_the_foremost_crowd_is_evicted():
    async with busy(queue=Fifo(maxsize=210, when_full="evict")) as (batcher, function):
        tasks = await crowds(batcher, 100)
        batcher.release()
        assert kinds([await task for task in tasks]) == [QueueFull] * 193 + [*range(193, 403)]
        assert function.items == [*range(193, 403)]


@pytest.mark.virtual
async def test_a_deadline_behind_a_crowd_is_kept():
    async with busy(queue=Fifo(maxsize=math.inf)) as (batcher, function):
        tasks = await coming(batcher, range(100))
        late = asyncio.create_task(outcome(batcher("late", timeout=0.5)))
        await passes()
        tasks += await coming(batcher, range(100, 200))
        assert isinstance(await late, DeadlineExceeded)
        batcher.release()
        assert [await task for task in tasks] == [*range(200)]
        assert function.items == [*range(200)]
        assert conserved(batcher)


# Parted.


async def test_where_somebody_leaves_in_each_pass_batches_leave_all_the_same(monkeypatch):
    monkeypatch.setattr("asyncbatch.order.LARGEST", 1)  # so that a crowd is parted in each pass
    async with busy(max_batch_size=2) as (batcher, function):
        leaving = [asyncio.create_task(batcher("leaves")) for _ in range(60)]
        tasks = await coming(batcher, range(20))
        batcher.release()
        for each in reversed(leaving):
            each.cancel()
            await asyncio.sleep(0)
        assert len(function.items) > 10
        assert [await task for task in tasks] == [*range(20)]
        await asyncio.wait(leaving)
        assert conserved(batcher)


async def test_nobody_is_run_who_leaves_in_the_pass_that_a_batch_is_told_to_leave_in():
    function = RecordingFunction()
    async with running(function, max_wait=math.inf) as batcher:
        for _ in range(2):
            tasks = await coming(batcher, range(6))
            tasks[1].cancel()
            batcher.flush()
            tasks[4].cancel()
            await asyncio.wait(tasks)
            assert function.batches.pop() == [0, 2, 3, 5]
        assert batcher.statistics().cancelled == 4
        assert conserved(batcher)


async def test_what_a_caller_asked_for_is_let_go_as_it_leaves():
    class Item:
        pass

    async with busy() as (batcher, function):
        items = [Item() for _ in range(3)]
        asked = [weakref.ref(item) for item in items]
        tasks = [asyncio.create_task(batcher(item)) for item in items]
        await passes()
        items.clear()
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        tasks[1] = None
        await passes()
        assert [each() is None for each in asked] == [False, True, False]
        batcher.release()
        assert await tasks[0] is asked[0]()
        assert await tasks[2] is asked[2]()
        function.batches.clear()


async def test_batches_that_become_smaller_part_crowds_and_nobody_notices():
    async with busy(max_batch_size=40) as (batcher, function):
        tasks = await coming(batcher, range(100))
        batcher.max_batch_size = 7
        batcher.release()
        assert [await task for task in tasks] == [*range(100)]
        assert function.batches == [[*range(first, min(first + 7, 100))] for first in range(0, 100, 7)]
        assert conserved(batcher)


@pytest.mark.parametrize("others", [("submit", "timeout"), ("timeout",)])
async def test_a_crowd_ends_where_a_batch_will(others, made):
    async with busy(max_batch_size=10) as (batcher, function):
        tasks = await crowds(batcher, 27, others)
        batcher.release()
        assert await asyncio.gather(*tasks) == [*range(len(tasks))]
        assert all(len(batch) == 10 for batch in function.batches[:-1])
        assert not made


async def test_who_is_awaited_by_hand_is_in_nobodys_way():
    async with busy() as (batcher, function):
        tasks = await coming(batcher, "ab")
        alone = batcher("by hand")
        future = alone.send(None)
        tasks += await coming(batcher, "cd")
        batcher.release()
        with pytest.raises(StopIteration) as end:
            while True:
                await asyncio.wait([future])
                future = alone.send(None)
        assert end.value.value == "by hand"
        assert [await task for task in tasks] == ["a", "b", "c", "d"]
        assert function.items == ["a", "b", "by hand", "c", "d"]
        assert conserved(batcher)


async def test_what_is_thrown_into_one_by_hand_is_its_own():
    async with busy() as (batcher, function):
        tasks = await coming(batcher, "ab")
        alone = batcher("by hand")
        alone.send(None)._asyncio_future_blocking = False  # as a task does
        with pytest.raises(RuntimeError, match="mine"):
            alone.throw(RuntimeError("mine"))
        assert (batcher.statistics().queued, batcher.statistics().cancelled) == (2, 1)
        batcher.release()
        assert [await task for task in tasks] == ["a", "b"]
        assert function.items == ["a", "b"]


async def test_whose_coroutine_is_closed_leaves():
    async with busy() as (batcher, function):
        tasks = await coming(batcher, "ab")
        alone = batcher("closed")
        alone.send(None)
        tasks += await coming(batcher, "cd")
        alone.close()
        assert (batcher.statistics().queued, batcher.statistics().cancelled) == (4, 1)
        batcher.release()
        assert [await task for task in tasks] == ["a", "b", "c", "d"]
        assert function.items == ["a", "b", "c", "d"]
        assert conserved(batcher)


async def test_one_who_was_cancelled_on_its_way_in_leaves():
    async with busy() as (batcher, function):

        async def cancelled():
            asyncio.current_task().cancel()
            await batcher("not wanted")

        tasks = await coming(batcher, "ab")
        leaving = asyncio.create_task(cancelled())
        tasks += await coming(batcher, "cd")
        assert leaving.cancelled()
        batcher.release()
        assert [await task for task in tasks] == ["a", "b", "c", "d"]
        assert function.items == ["a", "b", "c", "d"]
        assert conserved(batcher)


async def test_a_cancellation_that_is_taken_back_in_time_changes_nothing():
    if sys.version_info < (3, 13):
        pytest.skip("a task is cancelled all the same")
    async with busy() as (batcher, function):
        tasks = [asyncio.create_task(batcher(item)) for item in "abc"]
        await passes()
        tasks[1].cancel()
        tasks[1].uncancel()
        await passes()
        batcher.release()
        assert [await task for task in tasks] == ["a", "b", "c"]
        assert function.items == ["a", "b", "c"]
        assert batcher.statistics().cancelled == 0


async def test_tasks_that_are_python_wait_and_leave_like_all_others():
    loop = asyncio.get_running_loop()
    async with busy() as (batcher, function):
        tasks = [asyncio.tasks._PyTask(batcher(item), loop=loop) for item in "abcd"]
        await passes()
        tasks[1].cancel("for a reason")
        await passes()
        assert tasks[1].cancelled()
        batcher.release()
        assert [await task for task in (tasks[0], *tasks[2:])] == ["a", "c", "d"]
        assert function.items == ["a", "c", "d"]
        assert conserved(batcher)


async def test_what_the_function_does_to_its_list_later_is_not_seen():
    held = []

    async def function(items):
        held[:] = [item.upper() for item in items]
        asyncio.get_running_loop().call_soon(held.clear)
        return held

    async with running(function) as batcher:
        assert await asyncio.gather(*map(batcher, "abc")) == ["A", "B", "C"]


# Waiting for room.


async def test_who_waits_for_room_has_no_object_either(made):
    async with busy(queue=Fifo(maxsize=4)) as (batcher, function):
        tasks = await coming(batcher, range(100))
        assert (batcher.statistics().queued, batcher.statistics().waiting_for_room) == (4, 96)
        assert conserved(batcher)
        with pytest.raises(QueueFull):
            batcher.submit("one more")
        batcher.release()
        assert [await task for task in tasks] == [*range(100)]
        assert function.batches == [[*range(first, first + 4)] for first in range(0, 100, 4)]
        assert not made


@pytest.mark.parametrize("places", [[0], [3], [4], [9], [0, 4, 9], [2, 3, 4, 5], [*range(4, 10)], [*range(10)]])
@pytest.mark.parametrize("resumed", [True, False])
async def test_nobody_is_run_who_left_before_there_was_room(places, resumed):
    async with busy(queue=Fifo(maxsize=4)) as (batcher, function):
        tasks = await coming(batcher, range(10))
        for place in places:
            tasks[place].cancel()
        if resumed:
            await passes()
            stay = 10 - len(places)
            assert (batcher.statistics().queued, batcher.statistics().waiting_for_room) == (min(4, stay), max(0, stay - 4))
            assert batcher.statistics().cancelled == len(places)
            assert conserved(batcher)
        batcher.release()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert kinds(results) == [asyncio.CancelledError if each in places else each for each in range(10)]
        assert function.items == [each for each in range(10) if each not in places]
        assert batcher.statistics().cancelled == len(places)
        assert conserved(batcher)


async def test_all_kinds_of_callers_wait_for_room_in_the_order_of_their_arrival():
    async with busy(queue=Fifo(maxsize=3)) as (batcher, function):
        came = itertools.count()
        tasks = []
        for other in ("timeout", "map", "timeout"):
            tasks += await coming(batcher, itertools.islice(came, 5))
            tasks.append(OTHERS[other](batcher, next(came)))
            await passes()
        tasks += await coming(batcher, itertools.islice(came, 5))
        assert (batcher.statistics().queued, batcher.statistics().waiting_for_room) == (3, 20)
        batcher.release()
        await asyncio.gather(*tasks)
        assert function.items == [*range(23)]
        assert batcher.statistics().waiting_for_room == 0
        assert conserved(batcher)


async def test_who_waits_for_room_is_told_when_the_batcher_closes():
    function = RecordingFunction(script=[asyncio.Event()])
    async with Batcher(function, queue=Fifo(maxsize=3)) as batcher:
        tasks = [asyncio.create_task(outcome(batcher(item))) for item in range(20)]
        await until(lambda: function.running)
        await batcher.aclose(drain=False, timeout=0)
        assert kinds([await task for task in tasks]) == [Closed] * 20
        assert (batcher.statistics().closed, batcher.statistics().waiting_for_room) == (20, 0)
        assert conserved(batcher)


@pytest.mark.virtual
async def test_the_oldest_who_still_waits_counts_for_the_time_to_leave():
    function = RecordingFunction()
    async with running(function, max_wait=1.0) as batcher:
        first = asyncio.create_task(batcher("first"))
        await asyncio.sleep(0.4)
        second = asyncio.create_task(batcher("second"))
        await passes()
        first.cancel()
        assert await second == "second"
        assert function.times == [pytest.approx(1.4)]


@pytest.mark.virtual
async def test_one_who_came_before_the_crowd_counts_as_the_oldest():
    function = RecordingFunction()
    async with running(function, max_wait=1.0) as batcher:
        first = batcher.submit("first")
        await asyncio.sleep(0.4)
        second = asyncio.create_task(batcher("second"))
        assert [await first, await second] == ["first", "second"]
        assert function.times == [pytest.approx(1.0)]


@pytest.mark.virtual
async def test_a_batch_is_not_full_of_those_who_left_in_this_very_pass():
    function = RecordingFunction()
    async with running(function, max_batch_size=4, max_wait=1.0) as batcher:
        go = asyncio.Event()

        async def come():
            await go.wait()
            return await batcher(3)

        tasks = [asyncio.create_task(batcher(item)) for item in range(3)]
        last = asyncio.create_task(come())
        await asyncio.sleep(0.5)
        soon = asyncio.get_running_loop().call_soon
        soon(soon, tasks[1].cancel)  # just before the resident looks, which the last one wakes
        go.set()
        assert await last == 3
        assert function.batches == [[0, 2, 3]]
        assert function.times == [pytest.approx(1.0)]


async def test_each_of_a_crew_gets_an_error_of_its_own():
    function = RecordingFunction(
        script=[ValueError("all of it"), lambda items: [KeyError(each) if each % 2 else each for each in items]]
    )
    async with running(function) as batcher:
        errors = await asyncio.gather(*(outcome(batcher(each)) for each in range(4)))
        assert kinds(errors) == [ValueError] * 4
        assert len(set(map(id, errors))) == 4
        assert kinds(await asyncio.gather(*(outcome(batcher(each)) for each in range(4)))) == [0, KeyError, 2, KeyError]
        assert (batcher.statistics().succeeded, batcher.statistics().failed) == (2, 6)
        assert conserved(batcher)


async def test_those_who_wait_and_those_who_fly_are_told_when_the_batcher_closes():
    function = RecordingFunction(script=[asyncio.Event()])
    async with Batcher(function, max_batch_size=4) as batcher:
        tasks = [asyncio.create_task(outcome(batcher(item))) for item in range(10)]
        await until(lambda: function.running)
        await batcher.aclose(drain=False, timeout=0)
        assert kinds([await task for task in tasks]) == [Closed] * 10
        assert batcher.statistics().closed == 10
        assert conserved(batcher)


async def test_the_one_that_waited_longest_is_evicted():
    async with busy(queue=Fifo(maxsize=3, when_full="evict")) as (batcher, function):
        tasks = await coming(batcher, "abcde")
        batcher.release()
        assert kinds([await task for task in tasks]) == [QueueFull, QueueFull, "c", "d", "e"]
        assert function.items == ["c", "d", "e"]


@pytest.mark.virtual
async def test_under_an_objective_those_who_would_be_late_are_told():
    async def function(items):
        await asyncio.sleep(0.5)
        return items

    async with running(function, policy=LatencyObjective(1.2), max_batch_size=1) as batcher:
        await batcher(0)
        tasks = await coming(batcher, range(5))
        assert kinds([await task for task in tasks]) == [0, 1, *[DeadlineExceeded] * 3]
        assert conserved(batcher)


@pytest.mark.virtual
async def test_where_nobody_can_be_in_time_the_last_of_a_crowd_tries():
    async def function(items):
        await asyncio.sleep(2)
        return items

    async with running(function, policy=LatencyObjective(1)) as batcher:
        await batcher("one to learn from")
        another = asyncio.create_task(batcher("and another"))
        await asyncio.sleep(0.5)
        tasks = await coming(batcher, range(3))
        assert await another == "and another"
        assert kinds([await task for task in tasks]) == [DeadlineExceeded, DeadlineExceeded, 2]
        assert conserved(batcher)


@pytest.mark.virtual
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("smallest", [0, 2])
@pytest.mark.parametrize(
    "options", [{}, {"max_wait": 0.1}, {"queue": Fifo(maxsize=6)}, {"policy": LatencyObjective(0.5)}], ids=str
)
async def test_whatever_comes_and_goes_each_item_has_one_outcome(seed, smallest, options, monkeypatch):
    at_least(monkeypatch, smallest)
    rng = random.Random(seed)
    function = RecordingFunction(seconds=0.03)
    async with running(function, max_batch_size=5, **options) as batcher:

        async def call(n):
            await asyncio.sleep(rng.random() * 15)
            first = n * 100
            if n % 11 == 0:
                return await batcher.map(range(first, first + rng.randrange(12)))
            if n % 7 == 0:
                return await batcher.submit(first)
            calls = [batcher(first + each, timeout=rng.choice([math.inf] * 5 + [0.05])) for each in range(rng.randrange(9))]
            return await asyncio.gather(*calls, return_exceptions=True)

        await harried(batcher, function, call, rng)
        assert (batcher.statistics().queued, batcher.statistics().waiting_for_room) == (0, 0)
        assert not crowded(batcher)


@pytest.mark.parametrize("moment", ["before another comes", "as the batch leaves", "in flight"])
async def test_nothing_of_a_request_that_was_told_apart_is_kept(moment, made):
    class Item:
        pass

    gates = [asyncio.Event(), asyncio.Event()]
    function = RecordingFunction(script=gates)
    async with running(function) as batcher:
        first = asyncio.create_task(batcher("first"))
        await until(lambda: function.running)
        items = [Item() for _ in range(4)]
        held = [weakref.ref(item) for item in items]
        tasks = [asyncio.create_task(batcher(item)) for item in items]
        await passes()
        del items
        together = len(made)
        if moment == "before another comes":
            tasks[2].cancel()
            await passes()
            other = asyncio.create_task(batcher.map([1]))
            await passes()
        elif moment == "as the batch leaves":
            tasks[2].cancel()
        gates[0].set()
        await first
        await until(lambda: function.running)
        tasks[2].cancel()
        await passes()
        assert len(made) - together >= 3
        gates[1].set()
        await asyncio.wait(tasks)
        gc.disable()
        try:
            del tasks
            function.batches.clear()
            await passes()
            assert [each() for each in held] == [None] * 4
        finally:
            gc.enable()
        if moment == "before another comes":
            assert await other == [1]


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="sizes are CPython's")
def test_a_request_that_is_told_apart_is_small():
    assert sys.getsizeof(Request()) <= 72
