"""Priorities and keys: who goes next where the order of arrival does not decide alone."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import math
import random
import sys
import types

import anyio
import pytest
from callers import busy, harried, kinds, conserved, outcome, passes, running, until

from asyncbatch import ByLength, DeadlineExceeded, EarliestDeadline, Fifo, Keyed, Priority, QueueFull, batched
from asyncbatch.deadlines import Deadlines
from asyncbatch.flight import Flight
from asyncbatch.keyed import KeyedDepartures
from asyncbatch.metrics.statistics import Tally
from asyncbatch.policies import Limits
from asyncbatch.request import DetailedRequest
from asyncbatch.testing import RecordingFunction

pytestmark = pytest.mark.virtual

INF = math.inf


def submit(batcher, *items, **details):
    return [batcher.submit(item, **details) for item in items]


async def results(futures):
    return await asyncio.gather(*map(outcome, futures))


# Priority


async def test_the_smallest_priority_goes_first_and_equals_in_their_order():
    async with busy(max_batch_size=2, queue=Priority()) as (batcher, function):
        futures = [batcher.submit((p, n), priority=p) for n, p in enumerate([0, 1, -1, 0, 1, -1, 0.5, -INF, INF])]
        batcher.release()
        await results(futures)
        order = list(itertools.chain(*function.batches))
        assert order == [(-INF, 7), (-1, 2), (-1, 5), (0, 0), (0, 3), (0.5, 6), (1, 1), (1, 4), (INF, 8)]


@pytest.mark.parametrize("ageing", [0.5, 2.0])
async def test_nobody_is_overtaken_by_who_comes_later_than_the_bound_says(ageing):
    async with busy(max_batch_size=1, queue=Priority(ageing=ageing)) as (batcher, function):
        futures = [batcher.submit("patient", priority=3)]
        await asyncio.sleep(3 * ageing - 0.01)
        futures.append(batcher.submit("within the bound", priority=0))
        await asyncio.sleep(0.02)
        futures.append(batcher.submit("past the bound", priority=0))
        batcher.release()
        await results(futures)
        assert function.batches == [["within the bound"], ["patient"], ["past the bound"]]


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
    async with busy(max_batch_size=1, queue=Priority(ageing=INF)) as (batcher, function):
        futures = [batcher.submit("patient", priority=1)]
        await asyncio.sleep(1e6)
        futures += submit(batcher, "urgent", "next") + submit(batcher, "least", priority=1e300)
        batcher.release()
        await results(futures)
        assert function.batches == [["urgent"], ["next"], ["patient"], ["least"]]


async def test_urgency_counts_up_to_the_last_moment_for_maps_too():
    async with busy(max_batch_size=2, queue=Priority()) as (batcher, function):
        mapped = asyncio.create_task(batcher.map(range(4), priority=1))
        await passes()
        single = batcher.submit("single")
        batcher.release()
        assert await mapped == [0, 1, 2, 3]
        await single
        assert function.batches == [["single", 0], [1, 2], [3]]


async def test_the_oldest_is_known_though_it_goes_last():
    async with running(RecordingFunction(), max_wait=1.0, max_batch_size=9, queue=Priority()) as batcher:
        submit(batcher, "patient", priority=5)
        await asyncio.sleep(0.75)
        later = batcher.submit("urgent")
        began = asyncio.get_running_loop().time()
        await later
        assert asyncio.get_running_loop().time() - began == pytest.approx(0.25)


async def test_the_least_urgent_is_evicted_which_may_be_the_newcomer():
    async with busy(queue=Priority(3, "evict")) as (batcher, function):
        futures = [batcher.submit(p, priority=p) for p in (2, 3, 1)]
        futures += [batcher.submit(p, priority=p) for p in (0, 9)]
        batcher.release()
        assert kinds(await results(futures)) == [2, QueueFull, 1, 0, QueueFull]
        assert function.batches == [[0, 1, 2]]


async def test_among_equals_the_oldest_is_evicted():
    async with busy(queue=Priority(2, "evict", ageing=INF)) as (batcher, _):
        futures = submit(batcher, 1, 2, 3)
        batcher.release()
        assert kinds(await results(futures)) == [QueueFull, 2, 3]


async def test_rooms_freed_by_those_who_leave_are_taken_in_order_of_arrival():
    async with busy(max_batch_size=1, queue=Priority(1)) as (batcher, function):
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


# Keys


async def test_a_batch_holds_items_of_one_key_and_keys_take_turns():
    async with busy(max_batch_size=2, queue=Keyed()) as (batcher, function):
        futures = submit(batcher, 1, 2, 3, 4, key="a") + submit(batcher, 5, key="b") + submit(batcher, 6, 7, 8)
        batcher.release()
        assert await results(futures) == [1, 2, 3, 4, 5, 6, 7, 8]
        assert function.batches == [[1, 2], [5], [6, 7], [3, 4], [8]]


async def test_the_key_is_that_of_the_call_or_what_the_function_says():
    async with busy(queue=Keyed(key=len)) as (batcher, function):
        futures = submit(batcher, "a", "bb", "c", "dd") + submit(batcher, "e", key=2)
        mapped = asyncio.create_task(batcher.map(["f", "gg", "h", "iii"]))
        other = asyncio.create_task(batcher.map(["jj", "k"], key=3))
        await passes()
        batcher.release()
        assert await results([*futures, mapped, other]) == [
            *("a", "bb", "c", "dd", "e"),
            ["f", "gg", "h", "iii"],
            ["jj", "k"],
        ]
        assert function.batches == [["a", "c", "f", "h"], ["bb", "dd", "e", "gg"], ["iii", "jj", "k"]]


async def test_a_batched_function_may_have_keys_too():
    seen = []

    @batched(queue=Keyed(key=type), max_wait=1.0)
    async def echo(items):
        seen.append(items)
        return items

    async with echo:
        assert await asyncio.gather(*map(echo, [1, "a", 2, "b"]), echo.map(["c", 3])) == [1, "a", 2, "b", ["c", 3]]
    assert seen == [[1, 2, 3], ["a", "b", "c"]]


@pytest.mark.parametrize("cost", [None, lambda item: 1])
async def test_keys_fill_by_themselves_and_wait_by_themselves(cost):
    function = RecordingFunction()
    async with running(function, max_batch_size=2, max_wait=1.0, queue=Keyed(), cost=cost) as batcher:
        clock = asyncio.get_running_loop().time
        early = batcher.submit("early", key="early")
        await asyncio.sleep(0.5)
        pair = submit(batcher, 1, 2, key="pair")
        late = batcher.submit("late", key="late")
        await results(pair)
        assert (clock(), early.done()) == (0.5, False)
        await early
        assert clock() == pytest.approx(1.0)
        await late
        assert clock() == pytest.approx(1.5)
        assert function.batches == [[1, 2], ["early"], ["late"]]
        assert batcher.statistics().reasons == {"full": 1, "wait": 2}


async def test_a_deadline_lets_only_its_own_key_leave():
    async with running(RecordingFunction(), max_wait=100.0, queue=Keyed()) as batcher:
        other = batcher.submit("other", key="other")
        urgent = submit(batcher, 1, key="urgent") + submit(batcher, 2, key="urgent", timeout=2.0)
        assert await results(urgent) == [1, 2]
        assert (asyncio.get_running_loop().time() < 2.0, other.done()) == (True, False)
        batcher.flush()
        assert await other == "other"


async def test_a_policy_sees_each_key_for_itself():
    seen = []

    def policy(outlook):
        seen.append((outlook.count, outlook.cost, outlook.oldest, outlook.nearest_deadline))
        return 0.0 if outlook.count == 2 else INF

    async with running(RecordingFunction(), policy=policy, queue=Keyed()) as batcher:
        lone = batcher.submit("lone", key="lone", timeout=50.0)
        await asyncio.sleep(1)
        assert await results(submit(batcher, 1, 2, key="pair")) == [1, 2]
        assert not lone.done()
        assert {(1, 1.0, 0.0, 50.0), (2, 2.0, 1.0, INF)} <= set(seen)
        batcher.flush()
        await lone


async def test_limits_that_are_changed_and_flushes_hold_for_all_keys_at_once():
    async with running(RecordingFunction(), max_wait=INF, queue=Keyed(key=abs)) as batcher:
        futures = submit(batcher, 1, -1, 2, 3)
        await passes()
        batcher.max_batch_size = 2
        assert await results(futures[:2]) == [1, -1]
        batcher.max_wait = 5.0
        assert await results(futures[2:]) == [2, 3]
        assert asyncio.get_running_loop().time() == pytest.approx(5.0)
        batcher.max_wait = INF
        futures = submit(batcher, 4, 5, 6)
        batcher.flush()
        assert await results(futures) == [4, 5, 6]


async def test_a_static_batcher_whose_queue_is_full_of_different_keys_goes_on():
    async with running(RecordingFunction(), max_wait=INF, queue=Keyed(3, key=lambda item: item)) as batcher:
        tasks = [asyncio.create_task(outcome(batcher(item))) for item in range(6)]
        await asyncio.gather(*tasks[:3])
        batcher.flush()
        assert await asyncio.gather(*tasks) == list(range(6))
        assert conserved(batcher)


async def test_each_key_gets_its_share_of_the_cost():
    """Deficit round robin: keys that always have some waiting are never further apart than two of the dearest batches."""
    prices = {"dear": 9, "cheap": 1, "odd": 4, "first": 0}
    queue = Keyed(INF, key=lambda item: item)
    async with busy(max_batch_size=4, queue=queue, cost=prices.get) as (batcher, function):
        futures = [future for key in ("dear", "cheap", "odd") for future in submit(batcher, *[key] * (720 // prices[key]))]
        batcher.release()
        await results(futures)
    spent = collections.Counter()
    for batch in function.batches:
        spent[batch[0]] += sum(map(prices.get, batch))
        if max(spent.values()) < 720:
            assert max(spent.values()) - min(spent[key] for key in ("dear", "cheap", "odd")) <= 2 * 4 * 9
    assert spent == {"dear": 720, "cheap": 720, "odd": 720}


async def test_a_key_that_comes_and_goes_is_not_ahead_of_who_waits():
    async with running(RecordingFunction(seconds=1.0), max_batch_size=2, queue=Keyed()) as batcher:
        steady = submit(batcher, *range(40), key="steady")
        for _ in range(8):
            done = sum(each.done() for each in steady)
            await results(submit(batcher, "x", "y", key="again"))
            assert 2 <= sum(each.done() for each in steady) - done <= 4
        await results(steady)


async def test_one_noisy_key_does_not_take_all_the_room():
    async with busy(max_batch_size=2, queue=Keyed(4)) as (batcher, function):
        noise = [asyncio.create_task(batcher.map(range(n * 100, n * 100 + 50), key="noisy")) for n in range(3)]
        await passes()
        quiet = [asyncio.create_task(batcher(name, key=name)) for name in "ab"]
        await passes()
        batcher.release()
        assert await asyncio.gather(*quiet) == ["a", "b"]
        assert function.batches.index(["b"]) <= 4
        await asyncio.gather(*noise)
        assert list(itertools.chain(*(each for each in function.batches if each[0] not in ("a", "b")))) == [
            *range(50),
            *range(100, 150),
            *range(200, 250),
        ]


async def test_the_oldest_of_the_key_that_has_the_most_is_evicted():
    async with busy(queue=Keyed(4, "evict")) as (batcher, _):
        futures = submit(batcher, 1, 2, 3, key="noisy") + submit(batcher, 4, key="quiet")
        futures += submit(batcher, 5, key="noisy") + submit(batcher, 6, key="new")
        futures[2].cancel()
        futures += submit(batcher, 7, 8, key="quiet")
        batcher.release()
        left = [QueueFull, QueueFull, asyncio.CancelledError, QueueFull, 5, 6, 7, 8]
        assert kinds(await asyncio.gather(*futures, return_exceptions=True)) == left
        assert conserved(batcher)


async def test_a_queue_of_keys_that_rejects_takes_no_part_of_a_map():
    async with busy(queue=Keyed(2, "reject", key=len)) as (batcher, _):
        futures = submit(batcher, "a", "bb")
        with pytest.raises(QueueFull):
            await batcher.map(["c", "dd"])
        batcher.release()
        assert await results(futures) == ["a", "bb"]
        assert (batcher.statistics().rejected, conserved(batcher)) == (2, True)


async def test_a_map_of_many_keys_has_one_outcome():
    gate = asyncio.Event()
    function = RecordingFunction(script=[None, ValueError("no"), gate])
    async with running(function, max_batch_size=1, queue=Keyed(key=abs)) as batcher:
        first = await outcome(batcher.map([1, -2, 3, 4]))
        assert type(first) is ValueError
        assert (batcher.statistics().succeeded, batcher.statistics().failed, batcher.statistics().cancelled) == (1, 1, 2)
        late = asyncio.create_task(outcome(batcher.map([5, 6, 7], timeout=1.0)))
        assert type(await late) is DeadlineExceeded
        assert (batcher.statistics().expired, conserved(batcher)) == (3, True)
        gate.set()
        left = asyncio.create_task(batcher.map([8, 9]))
        await passes(1)
        left.cancel()
        await passes()
        assert conserved(batcher)
        closed = asyncio.create_task(outcome(batcher.map([8, 9, 10])))
        await passes(1)
        await batcher.aclose(drain=False)
        assert type(await closed).__name__ == "Closed"
        assert conserved(batcher)


@pytest.mark.parametrize("cost", [None, lambda item: item % 4])
@pytest.mark.parametrize("seed", range(12))
async def test_whatever_comes_and_goes_each_item_has_one_outcome(cost, seed):
    rng = random.Random(seed)
    most = rng.choice([1, 2, INF])
    when_full = rng.choice(["wait", "reject", "evict"])
    within = rng.choice([Fifo(), Priority(), EarliestDeadline()])
    queue = Keyed(rng.choice([2, 5, INF]), when_full, key=lambda item: item % 5, max_per_key=most, within=within)
    function = RecordingFunction(seconds=1.0)
    limits = {"max_batch_size": 3, "max_wait": rng.choice([0, 0.7, INF]), "max_batch_cost": rng.choice([4, INF])}
    async with running(function, queue=queue, cost=cost, **limits) as batcher:

        async def stream(items):
            return [each async for each in batcher.imap(items, ordered=rng.random() < 0.5, return_exceptions=True)]

        async def call(n):
            await asyncio.sleep(rng.random() * 9)
            details = {"timeout": rng.choice([INF, INF, 2.5]), "key": rng.choice([None, None, "other"])}
            details["priority"] = rng.randrange(3)
            if n % 7 == 0:
                return await batcher.map(range(n * 100, n * 100 + rng.randrange(12)), **details)
            return await (stream(range(n * 100, n * 100 + 9)) if n % 9 == 0 else batcher(n * 100, **details))

        def no_key_has_more():
            return all(group.admitted <= most for group in batcher._house.queue._groups.values())

        await harried(batcher, function, call, rng, no_key_has_more)
        assert (batcher.statistics().queued, batcher.statistics().waiting_for_room) == (0, 0)


async def test_a_key_that_is_full_keeps_nobody_else_waiting():
    async with busy(max_batch_size=2, queue=Keyed(4, max_per_key=2)) as (batcher, function):
        noise = [asyncio.create_task(outcome(batcher(n, key="noisy"))) for n in range(6)]
        mapped = asyncio.create_task(batcher.map(range(10, 15), key="noisy"))
        await passes()
        quiet = [asyncio.create_task(batcher("quiet", key="quiet")) for _ in range(2)]
        late = asyncio.create_task(outcome(batcher("late", key="late")))
        await passes()
        assert (batcher.statistics().queued, batcher.statistics().waiting_for_room) == (4, 6)
        noise[4].cancel()
        noise[0].cancel()  # its place is for whoever waited longer for a turn
        await passes()
        assert (batcher.statistics().queued, batcher.statistics().waiting_for_room) == (4, 4)
        batcher.release()
        await asyncio.gather(*noise[1:4], noise[5], *quiet, late, mapped)
        assert function.batches[:3] == [[1], ["quiet", "quiet"], ["late"]]
        assert function.batches[3:] == [[2, 3], [5, 10], [11, 12], [13, 14]]
        assert conserved(batcher)


async def test_a_key_that_is_full_turns_away_its_own():
    async with busy(queue=Keyed(9, "reject", key=lambda item: str(item)[0], max_per_key=2)) as (batcher, _):
        futures = submit(batcher, 1, 10, 2)
        for refused in (batcher(1), batcher.map([3, 1]), batcher.map([4, 5], key="1")):
            assert type(await outcome(refused)) is QueueFull
        mapped = asyncio.create_task(batcher.map([3, 2, 20, 3]))
        await passes()
        assert (batcher.statistics().queued, batcher.statistics().waiting_for_room) == (6, 1)
        others = [batcher.submit(6), asyncio.create_task(batcher.map([7, 8]))]  # nobody of their keys waits for room
        await passes()
        batcher.release()
        assert await results([*futures, mapped, *others]) == [1, 10, 2, [3, 2, 20, 3], 6, [7, 8]]
        assert (batcher.statistics().rejected, conserved(batcher)) == (5, True)


async def test_a_key_that_is_full_turns_out_its_oldest():
    async with busy(queue=Keyed(9, "evict", max_per_key=2)) as (batcher, _):
        futures = submit(batcher, 1, key="a") + submit(batcher, 2, key="b") + submit(batcher, 3, 4, key="a")
        batcher.release()
        assert kinds(await results(futures)) == [QueueFull, 2, 3, 4]
        assert (batcher.statistics().rejected, conserved(batcher)) == (1, True)


async def test_a_static_batcher_does_not_wait_for_more_of_a_key_than_may_come():
    async with running(RecordingFunction(), max_wait=INF, max_batch_size=8, queue=Keyed(max_per_key=2)) as batcher:
        assert await outcome(batcher.map(range(4), key="a")) == [0, 1, 2, 3]
        assert batcher.statistics().reasons == {"full": 2}


async def test_within_a_key_the_most_urgent_go_first_and_keys_take_turns_all_the_same():
    queue = Keyed(key=lambda item: item[0], within=Priority())
    async with busy(max_batch_size=2, queue=queue) as (batcher, function):
        futures = [batcher.submit(("a", n), priority=-n) for n in range(4)]
        futures += [batcher.submit(("b", n), priority=9 - n % 2) for n in range(3)]
        mapped = asyncio.create_task(batcher.map([("a", 8), ("b", 8)], priority=-1.5))
        await passes()
        batcher.release()
        await results([*futures, mapped])
        assert [[n for _, n in batch] for batch in function.batches] == [[3, 2], [8, 1], [8, 1], [0, 2], [0]]
        assert [batch[0][0] for batch in function.batches] == ["a", "b", "a", "b", "a"]
        assert conserved(batcher)


async def test_within_a_key_the_nearest_deadline_goes_first_those_of_scopes_included():
    async with busy(max_batch_size=1, queue=Keyed(within=EarliestDeadline())) as (batcher, function):

        async def under_a_scope():
            with anyio.fail_after(20):
                return await batcher("scope", key="a")

        futures = submit(batcher, "whenever", key="a") + submit(batcher, "later", key="a", timeout=30)
        scoped = asyncio.create_task(under_a_scope())
        await passes()
        futures += submit(batcher, "soon", key="a", timeout=10) + submit(batcher, "other", key="b")
        batcher.release()
        await results([*futures, scoped])
        assert [batch for batch in function.batches if batch != ["other"]] == [["soon"], ["scope"], ["later"], ["whenever"]]


async def test_the_least_urgent_of_a_key_is_evicted():
    async with busy(queue=Keyed(4, "evict", max_per_key=3, within=Priority())) as (batcher, _):
        futures = [batcher.submit(p, priority=p, key="a") for p in (2, 3, 1)] + submit(batcher, "b", key="b")
        futures += [batcher.submit(0, priority=0, key="a"), batcher.submit("c", key="c")]
        batcher.release()
        assert kinds(await results(futures)) == [QueueFull, QueueFull, 1, "b", 0, "c"]
        assert conserved(batcher)


async def test_within_a_key_the_oldest_says_how_long_to_wait_though_it_goes_last():
    function = RecordingFunction()
    async with running(function, max_wait=1.0, max_batch_size=2, queue=Keyed(within=Priority())) as batcher:
        futures = submit(batcher, "patient", key="a", priority=9)
        await asyncio.sleep(0.5)
        futures += submit(batcher, "other", key="b")
        futures.append(batcher.submit("urgent", key="a"))
        await results(futures)
        assert function.batches == [["urgent", "patient"], ["other"]]
        assert function.times == [0.5, 1.5]
        lone = batcher.submit("lone", key="a", priority=9)
        await lone
        assert function.times[-1] == pytest.approx(2.5)


@pytest.mark.parametrize("within", [None, "priority", Priority, Keyed(), ByLength(), Priority(5), Fifo(when_full="reject")])
def test_what_cannot_be_the_order_within_a_key_is_refused(within):
    with pytest.raises((TypeError, ValueError), match="within"):
        Keyed(within=within)


@pytest.mark.parametrize("most", [0, -1, 1.5, "2", None, True, math.nan])
def test_a_bound_for_each_key_that_makes_no_sense_is_refused(most):
    with pytest.raises((TypeError, ValueError), match="max_per_key"):
        Keyed(max_per_key=most)


async def test_errors_stand_in_their_places_of_a_map_of_many_keys():
    function = RecordingFunction(script=[None, ValueError("no")])
    async with running(function, queue=Keyed(key=lambda item: item % 2)) as batcher:
        mapped = await batcher.map(range(5), return_exceptions=True)
        assert kinds(mapped) == [0, ValueError, 2, ValueError, 4]
        assert mapped[1] is not mapped[3]


@pytest.mark.parametrize("key", [len, lambda item: [item], lambda item: 1 / 0])
async def test_a_key_that_cannot_be_had_fails_its_own_call(key):
    async with busy(queue=Keyed(key=lambda item: key(item) if item == 5 else item)) as (batcher, _):
        with pytest.raises((TypeError, ZeroDivisionError)):
            batcher.submit(5)
        with pytest.raises((TypeError, ZeroDivisionError)):
            await batcher.map([4, 5])
        assert batcher.statistics().queued == 0
        assert conserved(batcher)
        future = batcher.submit(6)
        batcher.release()
        assert await future == 6


async def test_nothing_is_kept_of_a_key_that_nobody_waits_with():
    async with busy(queue=Keyed(INF, "evict")) as (batcher, _):
        batcher.max_wait = INF
        for n in range(500):
            (future,) = submit(batcher, n, key=n)
            if n % 2:
                future.cancel()
        assert len(batcher._house.queue._groups) == 250
        batcher.flush()
        batcher.release()
        await until(lambda: not batcher.statistics().queued)
        queue = batcher._house.queue
        turns = queue.turns
        assert not any([queue._groups, queue._by_size, turns._fresh, turns._ring, turns._late])


def test_keys_that_cannot_be_called_are_refused():
    with pytest.raises(TypeError, match="key"):
        Keyed(key="tenant")


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
    rest = {"cost": 1.0, "told": False, "deadline": INF, "scoped": False, "priority": 0, "key": None}
    return DetailedRequest("item", Caller(), 0.0, queue, **(rest | details))


@contextlib.contextmanager
def counted_lines():
    """Count the lines of Python that run."""
    lines = 0

    def trace(frame, event, arg):
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lambda: lines
    finally:
        sys.settrace(before)


NOWHERE = types.SimpleNamespace(tally=Tally(None))


def make_queue(discipline):
    tally, costed = Tally(None), discipline.costed
    return discipline.queue_class(discipline, tally, lambda: None, lambda: QueueFull("full"), costed=costed)


@contextlib.contextmanager
def at_most(comparisons):
    before = Counted.compared
    yield
    assert Counted.compared - before <= comparisons


@pytest.mark.parametrize("discipline", [Priority, EarliestDeadline])
def test_with_100_000_waiting_a_request_costs_few_comparisons(discipline, monkeypatch):
    rng, each = random.Random(7), 8 * math.log2(MANY)  # two for each row, in three heaps
    rank = discipline.rank
    monkeypatch.setattr(discipline, "rank", lambda *of: Counted(rank(*of)))

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
        flight = Flight(NOWHERE, None)
        with at_most(each * 1000):
            queue.board(flight, 1000)
        assert len(flight.items) == 1000

    asyncio.run(main())


@pytest.mark.parametrize("within", [Fifo(), Priority()])
@pytest.mark.parametrize("keys", [1, 1000, MANY])
def test_with_100_000_waiting_under_many_keys_a_request_costs_few_steps(keys, within):
    """Counted are the lines of Python that run: each does little."""
    rng = random.Random(7)

    async def main():
        queue = make_queue(Keyed(MANY, "evict", within=within))
        limits, deadlines = Limits(64, 1.0, INF), Deadlines(asyncio.get_running_loop(), "it", lambda _: True)
        rule = KeyedDepartures("it", limits, None, queue, deadlines, Tally(None), costed=False)
        requests = [waiting(queue, key=n % keys) for n in range(MANY)]
        for request in requests:
            queue.put_nowait(request)
        rule.decide(0.5)

        def turn():
            for _ in range(3):  # one of them turns out another
                queue.put_nowait(waiting(queue, key=rng.randrange(keys), priority=rng.random()))
            requests.pop().leave("cancelled")
            assert rule.decide(2.0)[1]
            queue.board(flight := Flight(NOWHERE, None), 1)
            assert flight.items

        turn()  # the first one after a long time settles what has come due since
        with counted_lines() as lines:
            for _ in range(100):
                turn()
        assert lines() / 100 < 1000

    asyncio.run(main())


def test_with_100_000_waiting_a_batch_of_one_length_costs_few_steps():
    """Counted are the lines of Python that run: a few for each of the window, whatever waits behind it."""
    rng = random.Random(7)

    async def main():
        queue = make_queue(ByLength(MANY, "evict", window=4))
        requests = [waiting(queue, cost=rng.random()) for _ in range(MANY)]
        for request in requests:
            queue.put_nowait(request)

        def turn():
            for _ in range(33):  # all but one turn out another
                queue.put_nowait(waiting(queue, cost=rng.random()))
            requests.pop().leave("cancelled")
            queue.board(flight := Flight(NOWHERE, None), 32, 16.0)
            assert len(flight.items) >= 16

        with counted_lines() as lines:
            for _ in range(20):
                turn()
        assert lines() / 20 < 32 * 4 * 50

    asyncio.run(main())
