"""When a batch leaves, how large it is, and why; and what hooks that misbehave can do to it, which is nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
import time
import random

from callers import outcome, passes, running
import pytest
import uvloop

from asyncbatch import Batcher, Closed, DeadlineExceeded, EarliestDeadline, Fifo, InlineExecutor, Outlook, ThreadExecutor
from asyncbatch.metrics.events import BatchEnded, BatchStarted, RequestDropped
from asyncbatch.testing import RecordingFunction, VirtualClockLoop

pytestmark = pytest.mark.virtual
INF = math.inf


def start(batcher, *items, **details):
    return [asyncio.create_task(outcome(batcher(item, **details))) for item in items]


@contextlib.contextmanager
def logged():
    """The texts of what asyncbatch logs; the records hold frames, which would keep what the test looks for."""

    class Texts(logging.Handler):
        def emit(self, record):
            texts.append(self.format(record))

    texts, logger, handler = [], logging.getLogger("asyncbatch"), Texts()
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield texts
    finally:
        logger.propagate = True
        logger.removeHandler(handler)


def now():
    return asyncio.get_running_loop().time()


# Size and wait


async def test_a_full_batch_leaves_at_once():
    function = RecordingFunction()
    async with running(function, max_batch_size=4, max_wait=10) as batcher:
        await asyncio.gather(*start(batcher, *range(8)))
        assert function.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]
        assert function.times == [0, 0]
        assert batcher.statistics().reasons == {"full": 2}


async def test_a_batch_is_full_with_the_last_arrival_and_not_a_moment_later():
    function = RecordingFunction()
    async with running(function, max_batch_size=3, max_wait=10) as batcher:
        tasks = []
        for _ in range(3):
            tasks += start(batcher, 1)
            await asyncio.sleep(1)
        await asyncio.gather(*tasks)
        assert function.times == [2]


async def test_the_oldest_waits_as_long_as_it_may_and_no_longer():
    function = RecordingFunction()
    async with running(function, max_batch_size=100, max_wait=0.2) as batcher:
        tasks = []
        for _ in range(10):
            tasks += start(batcher, now())
            await asyncio.sleep(0.15)
        await asyncio.gather(*tasks)
        for batch, left in zip(function.batches, function.times, strict=True):
            assert left - batch[0] == pytest.approx(0.2)
        assert batcher.statistics().longest_wait == pytest.approx(0.2)
        assert batcher.statistics().reasons == {"wait": len(function.batches)}


async def test_whoever_came_while_the_slot_was_busy_has_waited_already():
    function = RecordingFunction(seconds=1)
    async with running(function, max_wait=0.5) as batcher:
        tasks = start(batcher, "first")
        await asyncio.sleep(0.6)
        tasks += start(batcher, "overdue")
        await asyncio.sleep(0.8)
        tasks += start(batcher, "young")
        await asyncio.gather(*tasks)
        assert function.batches == [["first"], ["overdue", "young"]]
        assert function.times == pytest.approx([0.5, 1.5])


async def test_the_wait_goes_on_where_it_was_when_the_slot_comes_free():
    function = RecordingFunction(seconds=1)
    async with running(function, max_wait=0.5) as batcher:
        tasks = start(batcher, "first")
        await asyncio.sleep(1.4)
        tasks += start(batcher, "young")
        await asyncio.gather(*tasks)
        assert function.times == pytest.approx([0.5, 1.9])


async def test_no_wait_at_all_leaves_at_once():
    function = RecordingFunction()
    async with running(function) as batcher:
        await asyncio.gather(*start(batcher, 1, 2, 3))
        await outcome(batcher(4))
        assert function.batches == [[1, 2, 3], [4]]
        assert function.times == [0, 0]
        assert batcher.statistics().reasons == {"idle": 2}


async def test_all_of_one_pass_share_a_batch():
    for max_wait in (0, 0.001, 10):
        function = RecordingFunction()
        async with running(function, max_wait=max_wait) as batcher:
            futures = [batcher.submit(1), batcher.submit(2)]
            tasks = start(batcher, 3, 4)
            tasks.append(asyncio.ensure_future(batcher.map([5, 6])))
            await asyncio.gather(*futures, *tasks)
            assert sorted(map(sorted, function.batches)) in ([[1, 2, 3, 4, 5, 6]], [[1, 2], [3, 4, 5, 6]])
            if max_wait:
                assert len(function.batches) == 1


async def test_calls_that_start_in_one_pass_share_a_batch_without_any_wait():
    function = RecordingFunction()
    async with running(function) as batcher:
        await asyncio.gather(*start(batcher, *range(20)))
        assert function.batches == [list(range(20))]


async def test_a_batch_is_formed_when_there_is_a_slot_for_it():
    function = RecordingFunction(seconds=1)
    async with running(function, max_wait=0.1) as batcher:
        tasks = start(batcher, 0)
        await asyncio.sleep(0.05)
        for item in range(1, 10):
            await asyncio.sleep(0.1)
            tasks += start(batcher, item)
        await asyncio.gather(*tasks)
        assert function.batches[0] == [0]
        assert function.batches[1:] == [list(range(1, 10))]


async def test_no_timer_closes_a_batch_while_all_slots_are_busy():
    function = RecordingFunction(seconds=10)
    async with running(function, max_batch_size=100, max_wait=0.5, executor=InlineExecutor(2)) as batcher:
        tasks = start(batcher, "a")
        await asyncio.sleep(0.5)
        tasks += start(batcher, "b")
        for item in range(30):
            await asyncio.sleep(0.3)
            tasks += start(batcher, item)
        await asyncio.gather(*tasks)
        assert function.batches[:2] == [["a"], ["b"]] or function.batches[0][0] == "a"
        assert function.most_running <= 2
        assert len(function.batches) <= 4


async def test_every_slot_gets_a_full_batch_at_once():
    function = RecordingFunction(seconds=1)
    async with running(function, max_batch_size=2, max_wait=10, executor=InlineExecutor(3)) as batcher:
        await asyncio.gather(*start(batcher, *range(6)))
        assert function.times == [0, 0, 0]
        assert function.most_running == 3


async def test_what_still_waits_wakes_another_slot():
    function = RecordingFunction(seconds=1)
    async with running(function, max_batch_size=2, executor=InlineExecutor(3)) as batcher:
        futures = [batcher.submit(item) for item in range(5)]
        await asyncio.gather(*futures)
        assert function.times == [0, 0, 0]


async def test_an_arrival_wakes_an_idle_slot_while_another_works():
    function = RecordingFunction(seconds=10)
    async with running(function, executor=InlineExecutor(2)) as batcher:
        tasks = start(batcher, 1)
        await asyncio.sleep(1)
        tasks += start(batcher, 2)
        await asyncio.gather(*tasks)
        assert function.times == [0, 1]


async def test_a_ready_batch_never_waits_while_a_slot_is_free():
    dice = random.Random(7)
    for slots in (1, 2, 3):
        function = RecordingFunction(seconds=lambda size: size * 0.1)
        async with running(function, max_batch_size=4, max_wait=0.25, executor=InlineExecutor(slots)) as batcher:
            tasks = []
            for item in range(200):
                tasks += start(batcher, item)
                if dice.random() < 0.5:
                    await asyncio.sleep(dice.choice([0.01, 0.1, 0.3]))
                await passes(3)
                idle = slots - function.running
                waiting = batcher.statistics().queued
                assert not idle or waiting < 4, item
            await asyncio.gather(*tasks)
            assert function.items == list(range(200))


# Static batching


async def test_a_static_batch_waits_until_it_is_full():
    function = RecordingFunction()
    async with running(function, max_batch_size=3, max_wait=INF) as batcher:
        tasks = start(batcher, 1, 2)
        await asyncio.sleep(1000)
        assert function.batches == []
        tasks += start(batcher, 3)
        await asyncio.gather(*tasks)
        assert function.batches == [[1, 2, 3]]


async def test_the_deadline_of_what_flies_hurries_nobody():
    function = RecordingFunction(seconds=10)
    async with running(function, max_batch_size=2, max_wait=2, executor=InlineExecutor(2)) as batcher:
        flying = asyncio.create_task(outcome(batcher.map(["a", "map"], timeout=3)))
        alone = start(batcher, "alone")
        await asyncio.gather(*alone)
        assert function.batches == [["a", "map"], ["alone"]]
        assert function.times == [0, 2]
        assert isinstance(await flying, DeadlineExceeded)


async def test_flush_lets_those_go_who_wait_now_and_no_others():
    function = RecordingFunction()
    async with running(function, max_batch_size=10, max_wait=INF) as batcher:
        batcher.flush()
        tasks = start(batcher, 1, 2)
        await asyncio.sleep(1)
        assert function.batches == []
        batcher.flush()
        assert await asyncio.gather(*tasks) == [1, 2]
        left = batcher.submit(3)
        await asyncio.sleep(1)
        assert function.batches == [[1, 2]]
        assert batcher.statistics().reasons == {"flush": 1}
        left.cancel()


@pytest.mark.parametrize(("most", "room", "count"), [(4, 6, 10), (10, 3, 20)])
async def test_a_flush_lets_a_map_go_that_neither_a_batch_nor_the_queue_has_room_for(most, room, count):
    function = RecordingFunction()
    async with running(function, max_batch_size=most, max_wait=INF, queue=Fifo(room)) as batcher:
        mapped = asyncio.create_task(batcher.map(range(count)))
        await asyncio.sleep(1)
        batcher.flush()
        assert await outcome(mapped) == list(range(count))


async def test_a_flush_while_the_slot_is_busy_counts_when_it_is_free():
    function = RecordingFunction(seconds=5)
    async with running(function, max_batch_size=4, max_wait=INF) as batcher:
        tasks = start(batcher, *range(4))
        await asyncio.sleep(1)
        tasks += start(batcher, "flushed")
        await asyncio.sleep(1)
        batcher.flush()
        assert await asyncio.gather(*tasks) == [0, 1, 2, 3, "flushed"]
        assert function.times == [0, 5]


async def test_a_flush_of_those_who_leave_does_not_flush_those_who_come():
    function = RecordingFunction(seconds=5)
    async with running(function, max_batch_size=4, max_wait=INF) as batcher:
        tasks = start(batcher, *range(4))
        await asyncio.sleep(1)
        leave = [batcher.submit("leaves"), batcher.submit("leaves")]
        batcher.flush()
        for future in leave:
            future.cancel()
        await asyncio.gather(*tasks)
        late = batcher.submit("late")
        await asyncio.sleep(100)
        assert function.batches == [[0, 1, 2, 3]]
        late.cancel()


async def test_whoever_comes_when_nobody_is_left_to_flush_is_not_flushed():
    function = RecordingFunction()
    async with running(function, max_batch_size=4, max_wait=INF) as batcher:
        leaves = batcher.submit("leaves")
        batcher.flush()
        leaves.cancel()
        await passes()
        late = batcher.submit("late")  # no time has passed
        await asyncio.sleep(100)
        assert function.batches == []
        late.cancel()


# Limits that change


async def test_a_smaller_size_lets_a_batch_leave_now():
    function = RecordingFunction()
    async with running(function, max_batch_size=10, max_wait=INF) as batcher:
        tasks = start(batcher, *range(5))
        await asyncio.sleep(1)
        batcher.max_batch_size = 2
        await asyncio.sleep(1)
        assert function.batches == [[0, 1], [2, 3]]
        batcher.max_batch_size = 1
        assert await asyncio.gather(*tasks) == [0, 1, 2, 3, 4]


async def test_a_larger_size_holds_for_the_next_batch():
    function = RecordingFunction(seconds=1)
    async with running(function, max_batch_size=2, max_wait=INF) as batcher:
        tasks = start(batcher, *range(9))
        await asyncio.sleep(0.5)
        batcher.max_batch_size = 7
        assert await asyncio.gather(*tasks) == list(range(9))
        assert [len(batch) for batch in function.batches] == [2, 7]


async def test_a_shorter_wait_holds_at_once_and_a_longer_one_too():
    function = RecordingFunction()
    async with running(function, max_wait=100) as batcher:
        tasks = start(batcher, "a")
        await asyncio.sleep(10)
        batcher.max_wait = 15
        await asyncio.gather(*tasks)
        assert function.times == [15]
        tasks = start(batcher, "b")
        await asyncio.sleep(10)
        batcher.max_wait = 50
        await asyncio.gather(*tasks)
        assert function.times == [15, 65]
        tasks = start(batcher, "c")
        await asyncio.sleep(1)
        batcher.max_wait = 0
        await asyncio.gather(*tasks)
        assert function.times == [15, 65, 66]


# Costs


async def test_a_batch_leaves_when_its_budget_is_used():
    function = RecordingFunction()
    async with running(function, max_wait=INF, max_batch_cost=10, cost=lambda item: item) as batcher:
        tasks = start(batcher, 4)
        await asyncio.sleep(1)
        tasks += start(batcher, 6)
        await asyncio.gather(*tasks)
        assert function.times == [1]
        assert batcher.statistics().reasons == {"cost": 1}


async def test_a_batch_leaves_when_the_next_does_not_fit():
    function = RecordingFunction()
    async with running(function, max_wait=INF, max_batch_cost=10, cost=lambda item: item) as batcher:
        tasks = start(batcher, 9)
        await asyncio.sleep(1)
        tasks += start(batcher, 5)
        await asyncio.sleep(1)
        assert function.batches == [[9]]
        batcher.flush()
        await asyncio.gather(*tasks)


async def test_who_leaves_gives_the_budget_back():
    function = RecordingFunction()
    async with running(function, max_wait=INF, max_batch_cost=10, cost=lambda item: item) as batcher:
        left = batcher.submit(6)
        left.cancel()
        tasks = start(batcher, 7)
        await asyncio.sleep(1)
        assert function.batches == []
        tasks += start(batcher, 3)
        await asyncio.gather(*tasks)
        assert function.batches == [[7, 3]]


# Deadlines


async def test_a_deadline_lets_a_batch_leave_in_time():
    function = RecordingFunction(seconds=2)
    async with running(function, max_wait=INF) as batcher:
        batcher.max_wait = 0
        assert await outcome(batcher("measured")) == "measured"
        batcher.max_wait = INF
        began = now()
        assert await outcome(batcher("urgent", timeout=10)) == "urgent"
        assert now() <= began + 10
        assert function.times[1] > began + 5
        assert batcher.statistics().reasons == {"idle": 1, "deadline": 1}


async def test_a_deadline_that_is_met_before_anything_was_measured():
    function = RecordingFunction(seconds=2)
    for queue in (Fifo(), EarliestDeadline()):
        async with running(function, max_wait=INF, queue=queue) as batcher:
            assert await outcome(batcher("urgent", timeout=10)) == "urgent"


async def test_a_deadline_takes_those_along_who_have_none():
    function = RecordingFunction()
    async with running(function, max_wait=INF) as batcher:
        tasks = [*start(batcher, "patient"), *start(batcher, "urgent", timeout=4)]
        assert await asyncio.gather(*tasks) == ["patient", "urgent"]
        assert function.batches == [["patient", "urgent"]]
        assert now() < 4


async def test_max_wait_holds_where_the_deadline_is_far():
    function = RecordingFunction()
    async with running(function, max_wait=1) as batcher:
        await outcome(batcher(1, timeout=1000))
        assert function.times == [1]
        assert batcher.statistics().reasons == {"wait": 1}


# Policies of one's own


class Policy:
    """Answers from a script, and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def __call__(self, outlook):
        self.asked.append(outlook)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, type) and issubclass(answer, BaseException):
            raise answer("no idea")
        return answer(outlook) if callable(answer) else answer


async def test_a_policy_is_told_how_things_stand():
    policy = Policy(INF)
    function = RecordingFunction(seconds=2)
    async with running(function, policy=policy, cost=lambda item: item) as batcher:
        await asyncio.sleep(5)
        tasks = start(batcher, 3, timeout=INF)
        await asyncio.sleep(1)
        tasks += start(batcher, 4, timeout=100)
        await asyncio.sleep(1)
        assert policy.asked[0] == Outlook(now=5, count=1, cost=3, oldest=5, nearest_deadline=INF, run_time=0)
        assert policy.asked[-1] == Outlook(now=6, count=2, cost=7, oldest=5, nearest_deadline=106, run_time=0)
        batcher.flush()
        await asyncio.gather(*tasks)
        tasks = start(batcher, 5)
        await asyncio.sleep(1)
        assert policy.asked[-1].run_time == 2
        batcher.flush()
        await asyncio.gather(*tasks)


async def test_a_policy_is_obeyed():
    function = RecordingFunction()
    async with running(function, policy=lambda outlook: outlook.oldest + 7 - outlook.now) as batcher:
        assert await outcome(batcher(1)) == 1
        assert function.times == [7]
        assert batcher.statistics().reasons == {"policy": 1}


@pytest.mark.parametrize("answer", [0, -1, -INF, False, 0.0])
async def test_nothing_left_to_wait_lets_the_batch_leave(answer):
    function = RecordingFunction()
    async with running(function, policy=Policy(answer)) as batcher:
        assert await outcome(batcher(1)) == 1
        assert function.times == [0]


async def test_a_policy_is_asked_again_on_arrivals_and_when_its_time_is_up():
    policy = Policy(10, lambda outlook: 3.0, 0)
    function = RecordingFunction()
    async with running(function, policy=policy) as batcher:
        tasks = start(batcher, 1)
        await asyncio.sleep(4)
        tasks += start(batcher, 2)
        await asyncio.gather(*tasks)
        assert [outlook.now for outlook in policy.asked] == [0, 4, 7]
        assert function.times == [7]


async def test_a_policy_is_not_asked_about_what_is_decided():
    policy = Policy(INF)
    function = RecordingFunction(seconds=1)
    async with running(function, policy=policy, max_batch_size=2) as batcher:
        await asyncio.sleep(1)
        assert policy.asked == []
        futures = [batcher.submit(item) for item in range(4)]
        await asyncio.gather(*futures)
        assert policy.asked == []
        tasks = start(batcher, "waits")
        await asyncio.sleep(1)
        asked = len(policy.asked)
        batcher.flush()
        await asyncio.gather(*tasks)
        assert len(policy.asked) == asked
        closing = batcher.submit("closing")
        await batcher.aclose()
        assert closing.result() == "closing"
        assert batcher.statistics().reasons == {"full": 2, "flush": 1, "close": 1}


async def test_a_policy_is_not_asked_while_all_slots_are_busy():
    policy = Policy(0)
    function = RecordingFunction(seconds=5)
    async with running(function, policy=policy) as batcher:
        tasks = start(batcher, 0)
        await asyncio.sleep(1)
        asked = len(policy.asked)
        for item in range(5):
            tasks += start(batcher, item)
            await asyncio.sleep(0.5)
        assert len(policy.asked) == asked
        await asyncio.gather(*tasks)


@pytest.mark.parametrize("answer", [KeyError, math.nan, None, "soon", [], 1j])
async def test_a_policy_that_fails_is_replaced_by_the_wait_and_said_so(answer):
    function = RecordingFunction()
    with logged() as texts:
        async with running(function, policy=Policy(answer), max_wait=3, name="embed") as batcher:
            assert await outcome(batcher(1)) == 1
            assert function.times == [3]
    assert "embed" in texts[0]
    assert "policy" in texts[0]


class Odd(BaseException):
    pass


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit, Odd, StopIteration])
async def test_a_policy_that_raises_the_oddest_things_leaves_nobody_hanging(error):
    noise = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context["message"]))
    policy = Policy(error, error, 0)
    function = RecordingFunction()
    async with running(function, policy=policy) as batcher:
        with logged():
            for _ in range(3):
                result = await outcome(batcher(1))
                assert result == 1 or isinstance(result, Closed)
        assert await outcome(batcher(1)) == 1
    gc.collect()
    assert noise == []


async def test_a_policy_that_never_lets_go_is_overruled_by_closing():
    function = RecordingFunction()
    async with running(function, policy=Policy(INF)) as batcher:
        future = batcher.submit(1)
        await asyncio.sleep(1000)
    assert future.result() == 1


async def test_a_policy_that_asks_for_tiny_waits_over_and_over_does_not_stop_the_loop():
    function = RecordingFunction()
    policy = Policy(lambda outlook: 1e-9 if outlook.now < 1 else 0)
    async with running(function, policy=policy) as batcher:
        assert await outcome(batcher(1)) == 1


# Observers


async def test_observers_are_told_what_happens():
    events = []
    function = RecordingFunction(seconds=2, script=[2.0, KeyError("x")])
    async with running(function, name="embed", max_wait=1, observers=[events.append]) as batcher:
        await asyncio.gather(*start(batcher, 1, 2))
        assert events == [BatchStarted("embed", "wait", 2, 1.0, (1.0, 1.0)), BatchEnded("embed", 2, 2.0, None, 2, 0)]
        events.clear()
        await asyncio.gather(*start(batcher, 3))
        assert events[-1] == BatchEnded("embed", 1, 0.0, "KeyError", 0, 1)
        events.clear()
        left = batcher.submit(4)
        left.cancel()
        expired = await outcome(batcher(5, timeout=0))
        assert isinstance(expired, DeadlineExceeded)
        assert events == [RequestDropped("embed", "cancelled", 1), RequestDropped("embed", "expired", 1)]


async def test_observers_hear_of_those_who_were_turned_away():
    events = []
    gate = asyncio.Event()
    async with running(RecordingFunction(script=[gate]), queue=Fifo(1, "reject"), observers=[events.append]) as batcher:
        tasks = start(batcher, 1)
        await passes()
        tasks += start(batcher, 2, 3)
        await passes()
        assert [event for event in events if isinstance(event, RequestDropped)] == [
            RequestDropped("RecordingFunction", "rejected", 1)
        ]
        gate.set()
        await asyncio.gather(*tasks)


@pytest.mark.parametrize("error", [KeyError, asyncio.CancelledError, GeneratorExit, Odd, StopIteration])
async def test_an_observer_that_raises_harms_nobody(error):
    heard, noise = [], []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context["message"]))

    def observer(event):
        raise error("no")

    with logged() as texts:
        async with running(RecordingFunction(), max_batch_size=2, observers=[observer, heard.append]) as batcher:
            assert await asyncio.gather(*start(batcher, 1, 2, 3)) == [1, 2, 3]
            left = batcher.submit(4)
            left.cancel()
            assert isinstance(await outcome(batcher(5, timeout=0)), DeadlineExceeded)
            assert await outcome(batcher.map([6, 7, 8])) == [6, 7, 8]
    assert len(heard) == 10
    assert len(texts) == 10
    assert "observer" in texts[0]
    gc.collect()
    assert noise == []


async def test_an_observer_may_use_the_batcher():
    def observer(event):
        if isinstance(event, BatchEnded) and event.size == 2:
            more.append(batcher.submit("more"))
        batcher.statistics()
        repr(batcher)

    more = []
    async with running(RecordingFunction(), observers=[observer]) as batcher:
        assert await asyncio.gather(*start(batcher, 1, 2)) == [1, 2]
        assert await outcome(more[0]) == "more"


# What is told of it


async def test_statistics_are_exact():
    function = RecordingFunction(seconds=lambda size: size)
    async with running(function, max_batch_size=4, max_wait=1) as batcher:
        await asyncio.gather(*start(batcher, 1, 2))
        await asyncio.sleep(10)
        await outcome(batcher.map(range(4)))
        statistics = batcher.statistics()
        assert (statistics.batches, statistics.mean_batch_size) == (2, 3)
        assert statistics.reasons == {"wait": 1, "full": 1}
        assert statistics.mean_wait == pytest.approx(2 / 6)
        assert statistics.longest_wait == 1
        assert statistics.mean_run_time == 3
        assert statistics.longest_run_time == 4
        assert statistics.busy_seconds == 6


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_batches_of_less_than_a_millisecond_are_measured(loop_factory):
    def function(items):
        until = time.perf_counter() + 0.0001
        while time.perf_counter() < until:
            pass
        return items

    async def main():
        async with running(function, executor="inline") as batcher:
            for _ in range(5):
                await batcher(1)
        return batcher.statistics()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        statistics = runner.run(main())
    assert statistics.busy_seconds >= 5 * 0.0001
    assert statistics.longest_run_time >= 0.0001


async def test_statistics_of_a_batcher_that_did_nothing_are_zero():
    async with running(RecordingFunction()) as batcher:
        statistics = batcher.statistics()
        assert statistics.submitted == statistics.batches == statistics.mean_wait == statistics.mean_batch_size == 0
        assert statistics.reasons == {}


async def test_its_repr_is_a_dashboard():
    function = RecordingFunction(seconds=10)
    async with running(function, name="embed", max_batch_size=2, executor=InlineExecutor(2)) as batcher:
        assert repr(batcher) == "<Batcher 'embed' [0 queued | 0 of 2 batches in flight] max_batch_size=2>"
        tasks = start(batcher, *range(7))
        await asyncio.sleep(1)
        assert repr(batcher) == "<Batcher 'embed' [3 queued | 2 of 2 batches in flight] max_batch_size=2>"
        await asyncio.gather(*tasks)


# The clock


class Counting(VirtualClockLoop):
    """Counts how often it looks for something to do, and gives up where it would do so for ever."""

    looks = 0

    def _select(self, *args):
        self.looks += 1
        if self.looks > 10_000:
            raise AssertionError("the loop spins")
        return super()._select(*args)


class EarlyLoop(Counting):
    """Its timers fire up to half a millisecond early, as those of uvloop do."""

    def _select(self, wait_for_real, timeout):
        ready = super()._select(wait_for_real, timeout)
        if timeout and not ready and self._scheduled:
            self._now = max(self._now - 0.0005, 0)
            due = self._scheduled[0]
            if not due._cancelled:
                due._when = min(due._when, self._now)
        return ready


def test_timers_that_fire_early_do_not_make_it_spin():
    async def main():
        function = RecordingFunction()
        async with Batcher(function, max_wait=0.01) as batcher:
            for _ in range(50):
                await batcher(1)
            with contextlib.suppress(DeadlineExceeded):
                await batcher(1, timeout=0.001)
            return asyncio.get_running_loop().looks

    with asyncio.Runner(loop_factory=EarlyLoop) as runner:
        assert runner.run(main()) < 1000


def test_the_wall_clock_is_never_looked_at(monkeypatch):
    def broken():
        raise AssertionError("the wall clock")

    monkeypatch.setattr(time, "time", broken)

    async def main():
        async with Batcher(RecordingFunction(), max_wait=0.001, queue=EarliestDeadline()) as batcher:
            await batcher(1, timeout=5)
            await batcher.map(range(10))
            return [item async for item in batcher.imap(range(10))]

    for loop_factory in (VirtualClockLoop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            assert runner.run(main()) == list(range(10))


def test_waiting_looks_at_the_clock_as_often_as_it_must():
    async def main():
        loop = asyncio.get_running_loop()
        async with Batcher(RecordingFunction(), max_batch_size=100, max_wait=1) as batcher:
            await batcher(0)
            before = loop.looks
            futures = [batcher.submit(item) for item in range(50)]
            await asyncio.wait(futures)
            return loop.looks - before

    with asyncio.Runner(loop_factory=Counting) as runner:
        assert runner.run(main()) <= 10


@pytest.mark.parametrize("since", [0.1, 1e6, 1.7e9])
def test_it_does_not_matter_when_the_clock_began(since):
    async def main():
        asyncio.get_running_loop()._now = since
        function = RecordingFunction()
        async with Batcher(function, max_wait=0.003) as batcher:
            for _ in range(20):
                assert await batcher(1) == 1
            assert await batcher(1, timeout=0.002) == 1
            assert len(function.times) == 21

    with asyncio.Runner(loop_factory=Counting) as runner:
        runner.run(main())


async def test_threads_are_served_by_the_same_rules():
    sizes = []

    def function(items):
        sizes.append(len(items))
        return items

    async with running(function, max_batch_size=3, max_wait=1, executor=ThreadExecutor(2)) as batcher:
        assert await asyncio.gather(*start(batcher, *range(7))) == list(range(7))
    assert sorted(sizes) == [1, 3, 3]
