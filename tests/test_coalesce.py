"""What Coalesced promises: one request for equal items, and every caller as if alone."""

from __future__ import annotations

import asyncio
import collections
import gc
import math
import random
from functools import partial

import anyio
import cachetools
import numpy as np
import pytest
from callers import conserved, kinds, outcome, passes, until
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncbatch import (
    Batcher,
    Closed,
    Coalesced,
    DeadlineExceeded,
    EarliestDeadline,
    Fifo,
    FunctionFailed,
    InlineExecutor,
    Keyed,
    Priority,
    QueueFull,
    WouldDeadlock,
    batched,
)
from asyncbatch.testing import RecordingFunction, VirtualClockLoop


def coalescing(function, key=None, cache=None, **options):
    return Coalesced(Batcher(function, **options), key=key, cache=cache)


def told(coalesced):
    s = coalesced.statistics()
    assert s.calls == s.hits + s.shared + s.requests
    return s.hits, s.shared, s.requests


# Sharing


async def test_equal_items_under_way_share_one(anyio_backend):
    function = RecordingFunction(lambda item: item * 2)
    async with coalescing(function) as coalesced:
        assert await asyncio.gather(*map(coalesced, [1, 2, 1, 1, 2])) == [2, 4, 2, 2, 4]
        assert sorted(function.items) == [1, 2]
        assert told(coalesced) == (0, 3, 2)


async def test_one_that_is_in_flight_can_be_joined(anyio_backend):
    gate = asyncio.Event()
    function = RecordingFunction(script=[gate])
    async with coalescing(function) as coalesced:
        first = asyncio.create_task(coalesced("a"))
        await until(lambda: function.batches)
        second = asyncio.create_task(coalesced("a"))
        await passes()
        gate.set()
        assert [await first, await second] == ["a", "a"]
    assert function.batches == [["a"]]


async def test_without_a_cache_nothing_is_remembered(anyio_backend):
    function = RecordingFunction()
    async with coalescing(function) as coalesced:
        assert [await coalesced(1), await coalesced(1)] == [1, 1]
    assert function.items == [1, 1]
    assert told(coalesced) == (0, 0, 2)


async def test_the_key_says_what_counts(anyio_backend):
    function = RecordingFunction(lambda item: item.sum())
    async with coalescing(function, key=lambda item: item.tobytes()) as coalesced:
        assert await asyncio.gather(*map(coalesced, [np.ones(3), np.ones(3), np.zeros(3)])) == [3, 3, 0]
    assert len(function.items) == 2


async def test_a_key_that_is_not_hashable_says_what_to_write(anyio_backend):
    async with coalescing(RecordingFunction()) as coalesced:
        with pytest.raises(TypeError, match="must be hashable, not a ndarray; write for example key=") as caught:
            await coalesced(np.ones(3))
        assert "1." not in str(caught.value)


async def test_a_key_that_raises_fails_its_own_call(anyio_backend):
    async with coalescing(RecordingFunction(), key=lambda item: 1 / item) as coalesced:
        good, bad = await asyncio.gather(outcome(coalesced(2)), outcome(coalesced(0)))
    assert good == 2
    assert isinstance(bad, ZeroDivisionError)


async def test_requests_made_in_one_pass_share_a_batch(anyio_backend):
    function = RecordingFunction()
    async with coalescing(function) as coalesced:
        await asyncio.gather(*map(coalesced, [1, 2, 3, 2]))
    assert function.batches == [[1, 2, 3]]


async def test_map_asks_once_for_equal_items(anyio_backend):
    function = RecordingFunction(lambda item: item * 2)
    async with coalescing(function, cache={7: 14}) as coalesced:
        other = asyncio.create_task(coalesced(3))
        await passes(1)
        assert await coalesced.map([1, 2, 1, 3, 7, 2]) == [2, 4, 2, 6, 14, 4]
        assert await coalesced.map(iter([])) == []
        assert await other == 6
    assert sorted(function.items) == [1, 2, 3]
    assert told(coalesced) == (1, 3, 3)


# Urgency


@pytest.mark.virtual
async def test_who_joins_a_request_that_waits_makes_it_as_urgent_as_need_be(anyio_backend):
    gate = asyncio.Event()
    function = RecordingFunction(script=[gate])
    async with coalescing(function, max_batch_size=1, queue=Priority()) as coalesced:
        calls = [asyncio.create_task(coalesced("first"))]
        await until(lambda: function.running)
        for item, priority in (("a", 3), ("b", 2), ("c", 1), ("a", 0), ("b", 5)):
            calls.append(asyncio.create_task(coalesced(item, priority=priority)))
            await passes()
        assert coalesced.batcher.statistics().queued == 3
        gate.set()
        assert await asyncio.gather(*calls) == ["first", "a", "b", "c", "a", "b"]
        assert function.batches == [["first"], ["a"], ["c"], ["b"]]


@pytest.mark.virtual
@pytest.mark.parametrize("together", [True, False])
async def test_the_nearest_deadline_says_when_it_goes_and_the_latest_when_it_is_too_late(together, anyio_backend):
    function = RecordingFunction(seconds=10)
    async with coalescing(function, max_batch_size=1, queue=EarliestDeadline()) as coalesced:
        calls = []
        for item, timeout in (("first", math.inf), ("a", 100), ("b", 35), ("a", 5), ("a", 90), ("b", math.inf)):
            calls.append(asyncio.create_task(outcome(coalesced(item, timeout=timeout))))
            await passes(0 if together else 6)
        results = await asyncio.gather(*calls)
        assert kinds(results) == ["first", "a", "b", DeadlineExceeded, "a", "b"]
        assert function.items == (["a", "b", "first"] if together else ["first", "a", "b"])
        assert function.times == [0, 10, 20]
        statistics = coalesced.batcher.statistics()
        assert (statistics.expired, statistics.cancelled, conserved(coalesced.batcher)) == (0, 0, True)


@pytest.mark.virtual
@pytest.mark.parametrize("queue", [Fifo(), EarliestDeadline()])
@pytest.mark.parametrize("decorated", [True, False])
async def test_a_scope_around_a_caller_counts_where_deadlines_say_who_goes_next(queue, decorated, anyio_backend):
    async def within(seconds, item):
        with anyio.move_on_after(seconds):
            return await coalesced(item)
        return "left"

    function = RecordingFunction(seconds=10)
    options = {"max_batch_size": 1, "queue": queue}
    batcher = batched(**options)(function) if decorated else Batcher(function, **options)
    async with Coalesced(batcher) as coalesced:
        calls = []
        for seconds, item in ((math.inf, "first"), (90, "a"), (40, "b"), (math.inf, "c"), (15, "c")):
            calls.append(asyncio.create_task(within(seconds, item)))
            await passes()
        assert await asyncio.gather(*calls) == ["first", "a", "b", "c", "left"]
        assert function.items == ["first", *("cba" if queue == EarliestDeadline() else "abc")]


@pytest.mark.virtual
@pytest.mark.parametrize("queue", [Fifo(), EarliestDeadline(), Keyed()])
async def test_a_batch_leaves_early_for_each_of_its_deadlines(queue, anyio_backend):
    function = RecordingFunction(seconds=1)
    async with coalescing(function, max_wait=100, queue=queue) as coalesced:
        await coalesced("how long it takes", timeout=3)
        lone, began = asyncio.create_task(coalesced("a")), asyncio.get_running_loop().time()
        await asyncio.sleep(1)
        assert await coalesced("a", timeout=5) == "a"
        assert await lone == "a"
        assert began + 4 < function.times[-1] < began + 6
        late = [asyncio.create_task(outcome(coalesced("b", timeout=timeout))) for timeout in (0.5, 20)]
        began = asyncio.get_running_loop().time()
        assert kinds(await asyncio.gather(*late)) == [DeadlineExceeded, "b"]
        assert function.times[-1] < began + 19


@pytest.mark.virtual
async def test_the_others_of_its_key_leave_early_with_it(anyio_backend):
    function = RecordingFunction(seconds=1)
    async with coalescing(function, max_wait=100, queue=Keyed(key=str.upper), key=lambda item: item) as coalesced:
        calls = [asyncio.create_task(coalesced("other", timeout=90)), asyncio.create_task(coalesced("a"))]
        calls.append(asyncio.create_task(coalesced("A")))
        await asyncio.sleep(1)
        assert await coalesced("a", timeout=8) == "a"
        assert await asyncio.gather(*calls) == ["other", "a", "A"]
        assert function.batches == [["a", "A"], ["other"]]


@pytest.mark.virtual
async def test_who_joins_a_request_that_waits_for_room_makes_it_urgent_too(anyio_backend):
    function = RecordingFunction(seconds=1)
    async with coalescing(function, max_batch_size=1, queue=Priority(2)) as coalesced:
        calls = []
        for item, priority in (("first", 0), ("a", 1), ("b", 2), ("c", 3), ("c", -1)):
            calls.append(asyncio.create_task(coalesced(item, priority=priority)))
            await passes()
        await asyncio.gather(*calls)
        assert function.batches == [["first"], ["a"], ["c"], ["b"]]
        assert conserved(coalesced.batcher)


@pytest.mark.virtual
@pytest.mark.parametrize("when_full", ["wait", "reject", "evict"])
@pytest.mark.parametrize("seed", range(6))
async def test_whoever_makes_what_more_urgent_each_request_has_one_outcome(seed, when_full, anyio_backend):
    rng = random.Random(seed)
    within = rng.choice([EarliestDeadline(), Priority()])
    make = rng.choice([type(within), partial(Keyed, key=lambda item: item % 3, within=within)])
    function = RecordingFunction(seconds=1)
    options = {"max_wait": rng.choice([0, 2]), "cost": rng.choice([None, lambda item: 1]), "queue": make(8, when_full)}
    async with coalescing(function, max_batch_size=3, **options) as coalesced:
        queue = coalesced.batcher._house.queue

        async def call():
            await asyncio.sleep(20 * rng.random())
            details = {"timeout": rng.choice([math.inf, 1.5, 3, 6]), "priority": rng.randrange(9)}
            return await coalesced(rng.randrange(40), **details)

        tasks = [asyncio.create_task(outcome(call())) for _ in range(300)]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0.3)
            rng.choice(tasks).cancel()
            assert conserved(coalesced.batcher)
            if make is type(within):
                assert len(queue._queue) == queue.qsize() + queue._dead
        assert queue.qsize() == 0
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {each for each in kinds(results) if isinstance(each, type)} <= {
            DeadlineExceeded,
            QueueFull,
            asyncio.CancelledError,
        }
        assert coalesced._under_way == {}


# Leaving


@pytest.mark.parametrize("leaver", [0, 1])
@pytest.mark.parametrize("moment", range(6))
async def test_who_leaves_hurts_nobody(leaver, moment, anyio_backend):
    gate = asyncio.Event()
    function = RecordingFunction(script=[gate])
    async with coalescing(function) as coalesced:
        calls = [asyncio.create_task(coalesced("a")) for _ in range(2)]
        await passes(moment)
        calls[leaver].cancel()
        await passes()
        gate.set()
        assert calls[leaver].cancelled()
        assert await outcome(calls[1 - leaver]) == "a"
    assert function.items == ["a"]


async def test_a_waiting_request_leaves_with_its_last_caller(anyio_backend):
    function = RecordingFunction()
    async with coalescing(function, max_wait=math.inf) as coalesced:
        calls = [asyncio.create_task(coalesced("a")) for _ in range(2)]
        await until(lambda: coalesced.batcher.statistics().queued == 1)
        calls[0].cancel()
        await passes()
        assert coalesced.batcher.statistics().queued == 1
        calls[1].cancel()
        await passes()
        assert coalesced.batcher.statistics().queued == 0
    assert function.batches == []


async def test_a_flight_that_all_left_is_cancelled_and_can_be_asked_for_again(anyio_backend):
    function = RecordingFunction(script=[asyncio.Event()])
    cache = {}
    async with coalescing(function, cache=cache) as coalesced:
        calls = [asyncio.create_task(coalesced("a")) for _ in range(2)]
        await until(lambda: function.batches)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)  # the flight may not have ended yet
        assert await outcome(coalesced("a")) == "a"
        assert function.cancelled == 1
    assert cache == {"a": "a"}


async def test_a_map_that_leaves_hurts_nobody(anyio_backend):
    gate = asyncio.Event()
    async with coalescing(RecordingFunction(script=[gate])) as coalesced:
        many = asyncio.create_task(coalesced.map([1, 2, 3]))
        one = asyncio.create_task(coalesced(2))
        await passes()
        many.cancel()
        await passes()
        assert coalesced.batcher.statistics().cancelled == 2
        gate.set()
        assert await one == 2


@pytest.mark.virtual
async def test_each_caller_has_a_time_of_its_own(anyio_backend):
    loop = asyncio.get_running_loop()
    function = RecordingFunction(seconds=10)

    async def timed(**details):
        return await outcome(coalesced("a", **details)), loop.time()

    async with coalescing(function) as coalesced:
        (short, first), (long, second), (never, third) = await asyncio.gather(timed(timeout=1), timed(timeout=60), timed())
    assert isinstance(short, DeadlineExceeded)
    assert "timeout=" in str(short)
    assert (first, long, second, never, third) == (1, "a", 10, "a", 10)
    assert function.items == ["a"]


@pytest.mark.virtual
async def test_when_the_time_of_all_is_up_the_request_is_cancelled(anyio_backend):
    function = RecordingFunction(seconds=10)
    async with coalescing(function) as coalesced:
        late = await asyncio.gather(*[outcome(coalesced("a", timeout=each)) for each in (1, 2)])
        assert [type(each) for each in late] == [DeadlineExceeded, DeadlineExceeded]
        await passes()
        assert (function.cancelled, asyncio.get_running_loop().time()) == (1, 2)


@pytest.mark.virtual
async def test_the_time_of_a_map_is_for_all_of_it(anyio_backend):
    async with coalescing(RecordingFunction(seconds=1), cache={"kept": 0}, max_batch_size=1) as coalesced:
        with pytest.raises(DeadlineExceeded):
            await coalesced.map(["kept", "a", "b", "c"], timeout=2.5, return_exceptions=True)
        assert await coalesced("kept", timeout=0) == 0


async def test_a_wrong_timeout_says_what_to_write(anyio_backend):
    async with coalescing(RecordingFunction()) as coalesced:
        with pytest.raises(TypeError, match="write for example timeout=0.002"):
            await coalesced(1, timeout="1 s")
    assert told(coalesced) == (0, 0, 0)


# Errors


class Failure(Exception):
    def __init__(self, code):
        super().__init__(f"code {code}")
        self.code = code


async def test_each_caller_has_an_error_of_its_own(anyio_backend):
    async with coalescing(RecordingFunction(script=[Failure(3)])) as coalesced:
        one, two = await asyncio.gather(outcome(coalesced(1)), outcome(coalesced(1)))
    assert one is not two
    assert (type(one), one.code, type(two), two.code) == (Failure, 3, Failure, 3)
    assert "for a batch of 1" in one.__notes__[0]


async def test_an_error_that_cannot_be_copied_reaches_each_caller(anyio_backend):
    class Stubborn(Exception):
        def __init__(self, *, code):
            super().__init__()
            self.code = code

        def __copy__(self):
            raise RuntimeError

        __reduce_ex__ = None

        def __str__(self):
            return str(self.secret)

    async with coalescing(RecordingFunction(script=[Stubborn(code=1)])) as coalesced:
        one, two = await asyncio.gather(outcome(coalesced(1)), outcome(coalesced(1)))
    assert (type(one), type(two)) == (FunctionFailed, FunctionFailed)
    assert one is not two


async def test_errors_are_not_kept(anyio_backend):
    cache = {}
    async with coalescing(RecordingFunction(script=[Failure(1)]), cache=cache) as coalesced:
        assert isinstance(await outcome(coalesced(1)), Failure)
        assert cache == {}
        assert await coalesced(1) == 1
    assert cache == {1: 1}


def odd_fails(items):
    return [Failure(item) if item % 2 else item for item in items]


async def test_the_first_error_of_a_map_is_raised_and_the_rest_is_cancelled(anyio_backend):
    function = RecordingFunction(script=[odd_fails, asyncio.Event()])
    async with coalescing(function, max_batch_size=2) as coalesced:
        with pytest.raises(Failure, match="code 1"):
            await coalesced.map([0, 1, 2, 3, 4])
        await passes()
        assert coalesced.batcher.statistics().queued == 0


async def test_errors_of_a_map_stand_among_its_results(anyio_backend):
    async with coalescing(RecordingFunction(script=[odd_fails])) as coalesced:
        results = await coalesced.map([0, 1, 2, 1], return_exceptions=True)
    assert [results[0], results[2]] == [0, 2]
    assert results[1].code == results[3].code == 1
    assert results[1] is not results[3]


@pytest.mark.parametrize("moment", [1, 2, 3])
async def test_a_request_that_was_cancelled_from_outside_says_so(moment, anyio_backend):
    gate = asyncio.Event()
    async with coalescing(RecordingFunction(script=[gate])) as coalesced:
        call = asyncio.create_task(outcome(coalesced(1)))
        await passes(moment)
        for task in asyncio.all_tasks():
            if "_ask" in repr(task.get_coro()):
                task.cancel()
        assert isinstance(await call, Closed)
        gate.set()
        assert await outcome(coalesced(1)) == 1


async def test_its_repr_is_for_a_glance(anyio_backend):
    async with coalescing(RecordingFunction(script=[asyncio.Event()])) as coalesced:
        call = asyncio.create_task(coalesced("secret"))
        await passes(2)
        assert repr(coalesced).startswith("<Coalesced [1 under way] in front of <Batcher 'RecordingFunction' [")
        call.cancel()


async def test_nobody_complains_of_an_error_that_nobody_waited_for(anyio_backend):
    heard = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))

    async def function(items):
        call.cancel()
        raise Failure(1)

    async with coalescing(function) as coalesced:
        call = asyncio.create_task(coalesced(1))
        await asyncio.wait([call])
    gc.collect()
    assert heard == []


# The cache


@pytest.mark.parametrize(
    "make", [dict, lambda: cachetools.LRUCache(8), lambda: cachetools.TTLCache(8, 60), collections.UserDict]
)
async def test_a_cache_is_any_mutable_mapping(make, anyio_backend):
    cache = make()
    function = RecordingFunction(lambda item: None if item == "none" else item)
    async with coalescing(function, cache=cache) as coalesced:
        for _ in range(3):
            assert await coalesced.map(["a", "none"]) == ["a", None]
    assert function.items == ["a", "none"]
    assert dict(cache) == {"a": "a", "none": None}
    assert told(coalesced) == (4, 0, 2)


async def test_results_are_kept_by_key(anyio_backend):
    cache = {}
    async with coalescing(RecordingFunction(str.upper), key=str.casefold, cache=cache) as coalesced:
        assert [await coalesced("a"), await coalesced("A")] == ["A", "A"]
    assert cache == {"a": "A"}


async def test_what_the_cache_lets_go_of_is_asked_for_again(anyio_backend):
    function = RecordingFunction()
    async with coalescing(function, cache=cachetools.LRUCache(1)) as coalesced:
        await coalesced.map([1, 2, 1, 2])
        await coalesced(1)
    assert function.items == [1, 2, 1]


async def test_a_result_too_large_for_the_cache_is_a_result(anyio_backend):
    async with coalescing(RecordingFunction(), cache=cachetools.LRUCache(3, getsizeof=len)) as coalesced:
        assert await coalesced.map(["long one", "abc"]) == ["long one", "abc"]
        assert told(coalesced) == (0, 0, 2)


async def test_a_cache_that_fails_does_so_for_those_who_need_it(anyio_backend):
    class Broken(dict):
        def __getitem__(self, key):
            if key == "unreadable":
                raise OSError("no disk")
            return super().__getitem__(key)

        def __setitem__(self, key, value):
            if key == "unwritable":
                raise OSError("disk full")
            super().__setitem__(key, value)

    async with coalescing(RecordingFunction(), cache=Broken()) as coalesced:
        calls = [outcome(coalesced(item)) for item in ("good", "unreadable", "unwritable")]
        good, *bad = await asyncio.gather(*calls)
    assert good == "good"
    assert [str(each) for each in bad] == ["no disk", "disk full"]


def test_what_is_no_cache_or_no_batcher_says_so():
    batcher = Batcher(RecordingFunction())
    with pytest.raises(TypeError, match="cache must be a MutableMapping"):
        Coalesced(batcher, cache=100)
    with pytest.raises(TypeError, match="key must be callable, not a str"):
        Coalesced(batcher, key="secret")
    with pytest.raises(TypeError, match="must be callable"):
        Coalesced("secret")


# Its life


async def test_it_shares_the_life_of_what_is_entered_elsewhere(anyio_backend):
    async with Batcher(RecordingFunction()) as batcher:
        assert await Coalesced(batcher)(1) == 1
    with pytest.raises(Closed):
        await Coalesced(batcher)(1)


async def test_leaving_the_block_answers_all_who_wait(anyio_backend):
    async with coalescing(RecordingFunction(), max_wait=math.inf) as coalesced:
        calls = [asyncio.create_task(coalesced(item)) for item in (1, 1, 2)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*calls) == [1, 1, 2]
    with pytest.raises(Closed):
        await coalesced(1)


async def test_closing_without_draining_tells_all_who_wait(anyio_backend):
    async with coalescing(RecordingFunction(), max_wait=math.inf) as coalesced:
        calls = [asyncio.create_task(outcome(coalesced(1))) for _ in range(2)]
        await passes()
        await coalesced.aclose(drain=False)
        assert [type(await call) for call in calls] == [Closed, Closed]


async def test_it_works_in_front_of_a_batched_function(anyio_backend):
    seen = []

    @Coalesced
    @batched
    async def double(items):
        seen.extend(items)
        return [2 * item for item in items]

    assert await double.map([1, 2, 1]) == [2, 4, 2]
    assert seen == [1, 2]
    async with double:
        assert await double(3) == 6


def test_each_event_loop_has_requests_of_its_own():
    @batched
    async def double(items):
        return [2 * item for item in items]

    coalesced = Coalesced(double, cache={})
    for item in (1, 1, 2):
        assert asyncio.run(coalesced(item)) == 2 * item
    assert told(coalesced) == (1, 0, 2)


async def test_a_function_that_asks_for_what_is_aboard_its_own_flight_does_not_wait_for_itself(anyio_backend):
    async def function(items):
        return [await coalesced(item) for item in items]

    async with coalescing(function) as coalesced:
        assert isinstance(await outcome(coalesced(1)), WouldDeadlock)


async def test_a_function_can_share_what_it_asks_for_itself(anyio_backend):
    async def fibonacci(items):
        return [n if n < 2 else sum(await coalesced.map([n - 1, n - 2])) for n in items]

    async with coalescing(fibonacci, cache={}, executor=InlineExecutor(64)) as coalesced:
        assert await outcome(coalesced(8)) == 21


async def test_nothing_is_kept_of_what_is_over(anyio_backend):
    async with coalescing(RecordingFunction(script=[Failure(1)])) as coalesced:
        await asyncio.gather(outcome(coalesced(1)), outcome(coalesced(1)))
        await coalesced(2)
        leaver = asyncio.create_task(coalesced(3))
        await passes(1)
        leaver.cancel()
        await passes()
        assert coalesced._under_way == {}


# Any history: callers come and leave as they like.


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(0, 2)),
        st.tuples(st.just("call late"), st.integers(0, 2)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("pass"), st.integers(1, 3)),
        st.tuples(st.just("time"), st.integers(1, 3)),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=150)
@given(STEPS, st.booleans())
def test_whoever_stays_is_answered(steps, cached):
    async def history():
        function = RecordingFunction(lambda item: item * 10, seconds=2)
        cancelled, calls = set(), []

        async def ask(value, **details):
            return await outcome(coalesced(value, **details))

        async with coalescing(function, cache={} if cached else None, max_batch_size=2) as coalesced:
            for step, value in steps:
                if step == "call":
                    calls.append((value, asyncio.create_task(ask(value))))
                elif step == "call late":
                    calls.append((value, asyncio.create_task(ask(value, timeout=1.5))))
                elif step == "cancel" and value < len(calls):
                    cancelled.add(value)
                    calls[value][1].cancel()
                elif step == "pass":
                    await passes(value)
                elif step == "time":
                    await asyncio.sleep(value)
            await passes(1)  # so that all calls have begun
        for index, (value, call) in enumerate(calls):
            result = (await asyncio.wait([call])) and (None if call.cancelled() else call.result())
            assert result == value * 10 or index in cancelled or isinstance(result, DeadlineExceeded)
        if cached and not cancelled and not any(step == "call late" for step, _ in steps):
            assert len(function.items) == len(set(function.items))
        await passes()
        assert coalesced._under_way == {}
        told(coalesced)

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(history())
