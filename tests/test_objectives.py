"""Objectives: who is answered in time, who is told that it cannot be, and when a batch leaves to make both so."""

from __future__ import annotations

import asyncio
import math
import random

import anyio
from callers import conserved, outcome, passes, running
import pytest
import references

from asyncbatch import (
    Batcher,
    ByLength,
    Coalesced,
    CostObjective,
    DeadlineExceeded,
    EarliestDeadline,
    Fifo,
    InlineExecutor,
    Keyed,
    LatencyObjective,
    Priority,
)
from asyncbatch.objectives import Aim
from asyncbatch.simulate import bursts, poisson, simulate
from asyncbatch.testing import RecordingFunction

pytestmark = pytest.mark.virtual

INSTANT = 1e-6


def now():
    return asyncio.get_running_loop().time()


def start(batcher, *items, **details):
    return [asyncio.create_task(timed(batcher(item, **details))) for item in items]


async def timed(awaitable):
    """What became of it, and when."""
    return await outcome(awaitable), now()


async def acquainted(batcher, function, times=6):
    """Let it learn how long one item takes."""
    for _ in range(times):
        await batcher("known")
        await asyncio.sleep(10)
    function.batches.clear()
    function.times.clear()


def line(fixed, each):
    return lambda size: fixed + each * size


A = line(0.010, 0.0002)


# Never idle, never too large, never late (the guarantees G1 to G8 of the theory)


@pytest.mark.parametrize("policy", [None, LatencyObjective(0.05)])
@pytest.mark.parametrize("rate", [40, 400, 1500])
async def test_the_slot_is_never_idle_while_somebody_waits(policy, rate):
    function = RecordingFunction(seconds=A)
    arrived = []
    async with running(function, policy=policy, max_batch_size=32) as batcher:
        calls = []
        for at in poisson(rate, 500, seed=3):
            await asyncio.sleep(at - now())
            arrived.append(at)
            calls += start(batcher, at)
        await asyncio.gather(*calls)
    free = 0.0
    for items, began in zip(function.batches, function.times, strict=True):
        assert began == pytest.approx(max(free, items[0]), abs=INSTANT)
        free = began + A(len(items))


def test_batches_are_never_too_large_and_grow_by_steps_until_their_time_is_known():
    outcome = simulate([*[0.0] * 100, *poisson(5000, 3000)], A, max_batch_size=64, policy=LatencyObjective(0.05))
    assert outcome.sizes[:3] == (4, 32, 64)
    outcome = simulate(poisson(5000, 3000), A, max_batch_size=64, policy=LatencyObjective(0.05))
    assert outcome.sizes[:3] == (1, 8, 64)
    assert max(outcome.sizes) == 64


async def test_who_cannot_be_answered_in_time_is_told_at_the_first_look_that_shows_it():
    function = RecordingFunction(seconds=1)
    async with running(function, policy=LatencyObjective(2.5), max_batch_size=2) as batcher:
        await acquainted(batcher, function)
        began = now()
        answers = await asyncio.gather(*start(batcher, *range(8)))
    assert [answer for answer, _ in answers[:4]] == [0, 1, 2, 3]
    for answer, at in answers[4:]:
        assert isinstance(answer, DeadlineExceeded)
        assert isinstance(answer, TimeoutError)
        assert at - began == pytest.approx(2)  # a batch that starts now takes until 3; a second before, there was hope
    assert function.batches == [[0, 1], [2, 3]]
    assert batcher.statistics().expired == 4
    assert conserved(batcher)


async def test_two_batches_are_enough_to_go_by():
    function = RecordingFunction(seconds=1)
    async with running(function, policy=LatencyObjective(1.5), max_batch_size=1) as batcher:
        answers = await asyncio.gather(*start(batcher, *range(5)))
    assert [type(answer) for answer, _ in answers] == [int, int, *[DeadlineExceeded] * 3]
    assert [at for _, at in answers] == [1, 2, 2, 2, 2]


async def test_the_error_says_what_was_seen_and_what_to_do():
    function = RecordingFunction(seconds=1)
    async with running(function, policy=LatencyObjective(1.5), max_batch_size=1, name="embed") as batcher:
        await acquainted(batcher, function)
        late = (await asyncio.gather(*start(batcher, 1, 2)))[1][0]
    assert str(late) == (
        "batcher 'embed' could not answer this request in time any more: it waited 1.000 s, and a batch takes 1.000 s by now; "
        "let fewer requests come, or give the batcher more capacity or a larger objective"
    )


@pytest.mark.parametrize("load", [0.5, 0.9, 1.2, 3])
@pytest.mark.parametrize("traffic", [poisson, bursts])
def test_whoever_is_served_is_served_in_time(load, traffic):
    outcome = simulate(traffic(load * 1951, 4000, seed=5), A, max_batch_size=32, policy=LatencyObjective(0.05))
    learnt = sum(latency > 0.05 + INSTANT for latency in outcome.latencies)
    assert learnt <= 64  # of the first batches
    assert len(outcome.latencies) + outcome.refused == 4000


async def test_the_earliest_deadline_goes_first_and_the_objective_is_one():
    function = RecordingFunction(seconds=1)
    policy = LatencyObjective(20)
    async with running(function, policy=policy, queue=EarliestDeadline(), max_batch_size=1) as batcher:
        await acquainted(batcher, function)
        calls = start(batcher, "first")
        await asyncio.sleep(0.5)
        calls += start(batcher, "objective")
        calls += start(batcher, "in a hurry", timeout=5)
        calls += start(batcher, "patient", timeout=30)
        mapped = asyncio.create_task(batcher.map(["a", "b"]))
        await asyncio.gather(*calls, mapped)
    assert [batch[0] for batch in function.batches] == ["first", "in a hurry", "objective", "patient", "a", "b"]


def test_evenly_spaced_callers_are_all_served_up_to_the_rate_that_can_be_kept_up():
    tau = line(0.020, 0.0005)
    best = max(size for size in range(1, 65) if 2 * tau(size) <= 0.06)
    rate = best / tau(best)
    known = [second for second, size in enumerate((1, 4, 16, 64)) for _ in range(size)]
    evenly = [10 + count / (0.98 * rate) for count in range(5000)]
    outcome = simulate([*known, *evenly], tau, max_batch_size=64, policy=LatencyObjective(0.06))
    assert outcome.refused == 0
    assert outcome.goodput(0.06) == 1


@pytest.mark.parametrize(("rate", "most"), [(3000, 32), (1700, 64), (1334, 64), (900, 64)])
def test_under_overload_batches_settle_at_the_size_that_serves_the_most(rate, most):
    fixed, each, objective = (0.010, 0.0002, 0.05) if most == 32 else (0.020, 0.0005, 0.06)
    arrivals = list(poisson(rate, 3000, seed=2))
    outcome = simulate(arrivals, line(fixed, each), max_batch_size=most, policy=LatencyObjective(objective))
    size = min(most, rate * (objective - fixed) / (1 + rate * each))
    settled = outcome.sizes[len(outcome.sizes) // 3 :]
    assert sum(settled) / len(settled) == pytest.approx(size, rel=0.08)
    best = references.clairvoyant(arrivals, line(fixed, each), most, objective)
    assert outcome.goodput(objective) >= 0.97 * best  # with what it takes to learn


async def test_a_batch_runs_at_once_where_nobody_could_be_in_time_by_what_was_learnt():
    slow = [5.0] * 8
    function = RecordingFunction(seconds=lambda size: slow.pop() if slow else 0.01)
    async with running(function, policy=LatencyObjective(0.1), max_batch_size=8) as batcher:
        calls = []
        for count in range(2100):
            calls += start(batcher, count)
            await asyncio.sleep(0.02)
        answers = await asyncio.gather(*calls)
    assert function.times[:9] == pytest.approx([5 * batch for batch in range(9)])
    assert not any(
        isinstance(answer, Exception) for answer, _ in answers[-90:]
    )  # so it finds out that they are fast by now


async def test_a_batch_runs_now_and_then_whatever_was_learnt():
    slow = [1.0] * 4
    function = RecordingFunction(seconds=lambda size: slow.pop() if slow else 0.01)
    async with running(function, policy=LatencyObjective(2), max_batch_size=8) as batcher:
        answers = []
        for count in range(10):
            answers += [await timed(batcher(count, timeout=0.5 if count > 3 else 2))]
            await asyncio.sleep(0.5 - now() % 0.5)
    assert [type(answer) for answer, _ in answers] == [*[int] * 4, *[DeadlineExceeded] * 4, int, int]
    assert function.times == pytest.approx([0, 1.5, 3, 4.5, 8, 8.5])


@pytest.mark.parametrize("rate", [800, 1600, 2400])
def test_batches_that_now_and_then_take_long_cost_nobody_a_place_that_is_free(rate):
    def served(seed, **settings):
        dice = random.Random(seed)
        often = lambda size: (0.001 + 0.0002 * size) * (5 if dice.random() < 0.2 else 1)
        return simulate(poisson(rate, 2000, seed), often, max_batch_size=64, **settings).goodput(0.05)

    runs = range(10)  # of chance
    objective = sum(served(seed, policy=LatencyObjective(0.05)) for seed in runs)
    assert objective >= sum(served(seed) for seed in runs) - 0.005 * len(runs)


def test_in_a_full_batch_one_must_be_rather_sure_of_it():
    aim = Aim(LatencyObjective(1.0), costed=False)
    for number in range(60):
        aim.landed(0.0, 10, 0.5 if number % 5 else 1.0)
    assert aim.misses(0.0, 0.7, 10, full=True)
    assert not aim.misses(0.0, 0.7, 10, full=False)
    assert aim.misses(0.0, 0.4, 10, full=False)


# What counts as in time


async def test_an_earlier_timeout_of_the_caller_counts():
    function = RecordingFunction(seconds=1)
    async with running(function, policy=LatencyObjective(100), max_batch_size=1) as batcher:
        await acquainted(batcher, function)
        calls = start(batcher, "flies")
        await passes()
        calls += start(batcher, "cannot", timeout=1.5) + start(batcher, "can", timeout=2.5)
        answers = await asyncio.gather(*calls)
        assert [type(answer) for answer, _ in answers] == [str, DeadlineExceeded, str]
        assert answers[1][1] - answers[0][1] == pytest.approx(0, abs=0.01)  # half a second before its time is up


async def test_who_waits_in_a_scope_of_anyio_is_left_to_it():
    function = RecordingFunction(seconds=1)
    async with running(function, policy=LatencyObjective(100), queue=EarliestDeadline(), max_batch_size=1) as batcher:
        await acquainted(batcher, function)
        flying = start(batcher, "flies")
        await passes()
        began = now()
        with anyio.move_on_after(1.5) as scope:
            await batcher("cannot")
        assert scope.cancelled_caught
        assert now() - began == pytest.approx(1.5)
        await asyncio.gather(*flying)
        assert function.batches == [["flies"]]
        assert conserved(batcher)


async def test_a_map_and_an_imap_are_in_no_hurry():
    function = RecordingFunction(seconds=1)
    async with running(function, policy=LatencyObjective(1.5), max_batch_size=2, queue=Fifo(8)) as batcher:
        await acquainted(batcher, function)
        assert await batcher.map(range(20)) == list(range(20))
        assert [result async for result in batcher.imap(range(20))] == list(range(20))
        assert isinstance(await outcome(batcher.map(range(20), timeout=3)), DeadlineExceeded)


async def test_a_result_that_comes_late_is_still_a_result():
    function = RecordingFunction(seconds=1, script=[1, 1, 1, 5])
    async with running(function, policy=LatencyObjective(2)) as batcher:
        for _ in range(3):
            await batcher("known")
        answer, _ = await timed(batcher("late"))
        assert answer == "late"


async def test_a_batch_that_fails_says_nothing_of_how_long_batches_take():
    function = RecordingFunction(seconds=1, script=[1, 1, 1, *[ValueError] * 20])
    async with running(function, policy=LatencyObjective(1.5), max_batch_size=1) as batcher:
        for _ in range(3):
            await batcher("known")
        for _ in range(20):
            assert isinstance(await outcome(batcher("fails")), ValueError)
        answers = await asyncio.gather(*start(batcher, "served", "late"))
        assert [type(answer) for answer, _ in answers] == [str, DeadlineExceeded]


@pytest.mark.parametrize(
    ("queue", "cost_of", "costs"),
    [
        (Fifo(), sum, (120, 70, 60)),  # 2.5 s for all, 1.3 s for two
        (ByLength(), lambda batch: len(batch) * max(batch), (100, 90, 20)),  # 3 s for all, padding included, 1.8 s for two
    ],
)
async def test_what_is_learnt_is_learnt_over_cost(queue, cost_of, costs):
    function = RecordingFunction()
    function._work = lambda size, seconds: asyncio.sleep(cost_of(function.batches[-1]) / 100)
    settings = {"queue": queue, "cost": lambda item: item, "max_batch_cost": 1000, "max_batch_size": 100}
    async with running(function, policy=LatencyObjective(2.0), **settings) as batcher:
        for cost in (10, 20, 40, 80, 10, 20, 40, 80):
            await batcher(cost)
            await asyncio.sleep(10)
        function.batches.clear()
        answers = await asyncio.gather(*start(batcher, *costs))
        assert [type(answer) for answer, _ in answers] == [DeadlineExceeded, int, int]
        assert function.batches == [[*costs[1:]]]


async def test_each_key_keeps_the_objective():
    function = RecordingFunction(seconds=1)
    async with running(function, policy=LatencyObjective(2.5), queue=Keyed(), max_batch_size=2) as batcher:
        await acquainted(batcher, function)
        calls = [call for item in range(8) for call in start(batcher, item, key=item % 2)]
        answers = await asyncio.gather(*calls)
    assert function.batches == [[0, 2], [1, 3]]
    assert [type(answer) for answer, _ in answers] == [int] * 4 + [DeadlineExceeded] * 4


async def test_under_a_key_the_earlier_timeout_counts_as_well():
    function = RecordingFunction(seconds=1)
    async with running(function, policy=LatencyObjective(100), queue=Keyed(), max_batch_size=1) as batcher:
        await acquainted(batcher, function)
        calls = start(batcher, "flies", key=1)
        await passes()
        calls += start(batcher, "can", key=1) + start(batcher, "cannot", key=1, timeout=1.5)
        answers = await asyncio.gather(*calls)
        assert [type(answer) for answer, _ in answers] == [str, str, DeadlineExceeded]


async def test_priority_says_who_goes_first_and_whoever_is_too_late_is_told():
    function = RecordingFunction(seconds=1)
    policy = LatencyObjective(2.5)
    async with running(function, policy=policy, queue=Priority(ageing=math.inf), max_batch_size=1) as batcher:
        await acquainted(batcher, function)
        calls = start(batcher, "low") + start(batcher, "high", priority=-1) + start(batcher, "next", priority=-1)
        answers = await asyncio.gather(*calls)
        assert function.batches == [["high"], ["next"]]
        assert isinstance(answers[0][0], DeadlineExceeded)


async def test_several_slots_share_what_is_learnt():
    function = RecordingFunction(seconds=1)
    async with running(function, policy=LatencyObjective(1.5), max_batch_size=1, executor=InlineExecutor(3)) as batcher:
        await acquainted(batcher, function)
        answers = await asyncio.gather(*start(batcher, *range(5)))
        assert [type(answer) for answer, _ in answers] == [int] * 3 + [DeadlineExceeded] * 2


@pytest.mark.parametrize("slots", [2, 4])
def test_several_slots_serve_as_many_times_what_one_does(slots):
    arrivals = poisson(slots * 3000, 6000)  # half again what can be served
    outcome = simulate(arrivals, A, slots=slots, max_batch_size=32, policy=LatencyObjective(0.05))
    assert outcome.goodput(0.05) == pytest.approx(1951 / 3000, rel=0.06)


# The fewest batches


async def test_a_batch_is_held_to_the_last_moment_that_is_safe():
    function = RecordingFunction(seconds=1)
    async with running(function, policy=CostObjective(10), max_batch_size=8) as batcher:
        await acquainted(batcher, function)
        began = now()
        calls = start(batcher, 1)
        await asyncio.sleep(3)
        calls += start(batcher, 2)
        answers = await asyncio.gather(*calls)
        assert function.batches == [[1, 2]]
        assert function.times[0] - began == pytest.approx(10 - 1 - 10 / 50)
        assert all(at - began <= 10 for _, at in answers)
        assert batcher.statistics().reasons["deadline"] == 1 + 4  # and those it was made acquainted with


async def test_a_full_batch_is_not_held():
    function = RecordingFunction(seconds=1)
    async with running(function, policy=CostObjective(10), max_batch_size=4) as batcher:
        await acquainted(batcher, function)
        began = now()
        await asyncio.gather(*start(batcher, *range(4)))
        assert function.times == [began]


async def test_nothing_is_held_before_anything_is_known():
    function = RecordingFunction(seconds=1)
    async with running(function, policy=CostObjective(10)) as batcher:
        await batcher(1)
        assert function.times == [0]


async def test_an_earlier_timeout_is_not_held_past_its_own_safe_start():
    function = RecordingFunction(seconds=1)
    async with running(function, policy=CostObjective(10), max_batch_size=8) as batcher:
        await acquainted(batcher, function)
        began = now()
        calls = start(batcher, 1) + start(batcher, 2, timeout=5)
        await asyncio.gather(*calls)
        assert function.times[0] - began == pytest.approx(5 - 1 - 10 / 50)
        assert function.batches == [[1, 2]]


async def test_a_map_is_not_held_for_ever():
    function = RecordingFunction(seconds=1)
    async with running(function, policy=CostObjective(10), max_batch_size=8) as batcher:
        await acquainted(batcher, function)
        began = now()
        assert await batcher.map([1, 2, 3]) == [1, 2, 3]
        assert now() - began <= 10


async def test_a_flush_and_a_close_hold_nothing():
    function = RecordingFunction(seconds=1)
    async with running(function, policy=CostObjective(100), max_batch_size=8) as batcher:
        await acquainted(batcher, function)
        began = now()
        call = start(batcher, 1)
        await passes()
        batcher.flush()
        await asyncio.gather(*call)
        last = start(batcher, 2)
        await passes()
    assert [at - began for at in function.times] == [0, 1]
    assert (await last[0])[0] == 2


@pytest.mark.parametrize("rate", [39, 195, 976])
def test_few_batches_are_made_and_nobody_is_late(rate):
    arrivals = list(poisson(rate, 3000, seed=4))
    thrifty = simulate(arrivals, A, max_batch_size=32, policy=CostObjective(0.05))
    eager = simulate(arrivals, A, max_batch_size=32)
    assert thrifty.goodput(0.05) >= 0.995
    assert len(thrifty.sizes) <= 0.5 * len(eager.sizes)
    if rate == 195:
        assert len(thrifty.sizes) <= 0.14 * 3000


# Settings


@pytest.mark.parametrize(
    ("build", "kind", "words"),
    [
        (lambda: LatencyObjective(0), ValueError, "seconds must be a number above 0"),
        (lambda: LatencyObjective("50ms"), TypeError, "seconds must be a number above 0"),
        (lambda: CostObjective(-1), ValueError, "seconds"),
        (lambda: LatencyObjective(1, quantile=1), ValueError, "quantile must be a number between 0 and 1"),
        (lambda: LatencyObjective(1, quantile=90), ValueError, "quantile must be a number between 0 and 1"),
        (lambda: Batcher(len, policy=0.05), TypeError, "policy must be callable"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_what_to_write(build, kind, words):
    with pytest.raises(kind, match=words):
        build()


async def test_one_objective_serves_any_number_of_batchers():
    objective = LatencyObjective(1.5)
    slow, fast = RecordingFunction(seconds=1), RecordingFunction(seconds=0.001)
    async with (
        running(slow, policy=objective, max_batch_size=1) as first,
        running(fast, policy=objective, max_batch_size=1) as second,
    ):
        await acquainted(first, slow)
        await acquainted(second, fast)
        answers = await asyncio.gather(*start(second, *range(10)))
        assert [answer for answer, _ in answers] == list(range(10))
        assert isinstance((await asyncio.gather(*start(first, 1, 2)))[1][0], DeadlineExceeded)


async def test_everybody_has_one_outcome_whatever_happens():
    dice = random.Random(11)
    function = RecordingFunction(seconds=lambda size: dice.uniform(0.5, 2))
    policies = (LatencyObjective(3), CostObjective(3), LatencyObjective(3, quantile=0.5))
    for policy in policies:
        for queue in (Fifo(6), EarliestDeadline(6), Priority(6), Keyed(6), Fifo(6, "evict"), Fifo(6, "reject")):
            async with running(function, policy=policy, queue=queue, max_batch_size=3) as batcher:
                calls = []
                for item in range(150):
                    details = {"key": item % 3, "priority": dice.randint(0, 2), "timeout": dice.choice([math.inf, 2, 4])}
                    if dice.random() < 0.1:
                        calls.append(asyncio.create_task(timed(batcher.map([item] * 4, **details))))
                    calls += start(batcher, item, **details)
                    if dice.random() < 0.2:
                        await passes()
                        dice.choice(calls).cancel()
                    await asyncio.sleep(dice.choice([0, 0.1, 1]))
                    assert conserved(batcher)
                await asyncio.gather(*calls, return_exceptions=True)
                assert conserved(batcher)
                assert batcher.statistics().queued == 0


# Together with other disciplines


async def test_a_shared_request_is_not_dropped_for_one_of_its_callers():
    function = RecordingFunction(seconds=1)
    async with running(function, policy=LatencyObjective(100), queue=EarliestDeadline(), max_batch_size=1) as batcher:
        await acquainted(batcher, function)
        coalesced = Coalesced(batcher)
        calls = start(batcher, "flies")
        await passes()
        calls += start(coalesced, "shared", timeout=1.5) + start(coalesced, "shared", timeout=50)
        await passes()
        calls += start(batcher, "cannot", timeout=1.5)
        answers = await asyncio.gather(*calls)
        assert [type(answer) for answer, _ in answers] == [str, DeadlineExceeded, str, DeadlineExceeded]
        assert function.batches == [["flies"], ["shared"]]


async def test_a_shared_request_that_is_too_late_is_too_late_for_all_who_share_it():
    function = RecordingFunction(seconds=1)
    for queue in (Fifo(), EarliestDeadline(), Keyed()):
        async with running(function, policy=LatencyObjective(1.5), queue=queue, max_batch_size=1) as batcher:
            await acquainted(batcher, function)
            coalesced = Coalesced(batcher)
            calls = start(batcher, "flies")
            await passes()
            calls += start(coalesced, "late") + start(coalesced, "late", timeout=50)
            answers = await asyncio.gather(*calls)
            assert [type(answer) for answer, _ in answers] == [str, DeadlineExceeded, DeadlineExceeded]
            assert conserved(batcher)


async def test_keys_with_an_order_within_keep_the_objective():
    function = RecordingFunction(seconds=1)
    queue = Keyed(within=EarliestDeadline())
    async with running(function, policy=LatencyObjective(10), queue=queue, max_batch_size=1) as batcher:
        await acquainted(batcher, function)
        calls = start(batcher, "flies", key=1)
        await passes()
        calls += start(batcher, "objective", key=1) + start(batcher, "patient", key=1, timeout=50)
        calls += start(batcher, "in a hurry", key=1, timeout=3) + start(batcher, "cannot", key=1, timeout=1.5)
        answers = await asyncio.gather(*calls)
        assert isinstance(answers[-1][0], DeadlineExceeded)
        assert function.batches == [["flies"], ["in a hurry"], ["objective"], ["patient"]]
