"""The simulation: callers as they come, the real batcher, and what it does beside what is exactly known of it."""

from __future__ import annotations

import asyncio
import math
import random
from functools import partial

import pytest
import references

from asyncbatch import Fifo, InlineExecutor
from asyncbatch.simulate import Outcome, bursts, closed_loop, poisson, simulate


def line(fixed, each, size):
    return fixed + each * size


def test_every_caller_is_accounted_for_with_the_time_it_took():
    outcome = simulate([0, 0, 1, 5.5, 5.5], lambda size: 1.0, max_batch_size=2)
    assert outcome == Outcome((1, 1, 1, 1, 1), 0, (2, 1, 2), 3.0, 6.5)
    assert (outcome.mean, outcome.quantile(0.99), outcome.mean_batch_size) == (1, 1, pytest.approx(5 / 3))
    assert (outcome.goodput(1), outcome.goodput(0.5)) == (1, 0)
    assert outcome.rate == pytest.approx(5 / 6.5)


def test_callers_wait_for_their_turn():
    outcome = simulate([0, 0, 0], lambda size: 1.0, max_batch_size=1)
    assert outcome.latencies == (1, 2, 3)
    assert outcome.quantile(0.5) == 2
    assert simulate([0, 0, 0], lambda size: 1.0, max_batch_size=1, slots=3).latencies == (1, 1, 1)


def test_who_is_refused_has_no_latency_and_counts_for_the_goodput():
    outcome = simulate([0, 0.1, 0.1, 0.1], lambda size: 1.0, max_batch_size=1, queue=Fifo(1, "reject"))
    assert (len(outcome.latencies), outcome.refused) == (2, 2)
    assert outcome.goodput(math.inf) == 0.5
    late = simulate([0, 0.1, 0.1], lambda size: 1.0, max_batch_size=1, timeout=1.5)
    assert (len(late.latencies), late.refused) == (1, 2)


def test_nobody_at_all():
    outcome = simulate([], lambda size: 1.0)
    assert outcome == Outcome((), 0, (), 0.0, 0.0)
    assert all(
        map(math.isnan, (outcome.mean, outcome.quantile(0.5), outcome.goodput(1), outcome.rate, outcome.mean_batch_size))
    )


def test_the_same_again_is_the_same():
    first, second = (simulate(bursts(900, 2000, seed=4), partial(line, 0.01, 0.0002)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("traffic", [poisson, bursts])
def test_traffic_has_the_rate_that_was_asked_for(traffic):
    times = list(traffic(rate=200, count=40_000, seed=1))
    assert times == sorted(times)
    assert len(times) / times[-1] == pytest.approx(200, rel=0.06)
    assert times != list(traffic(rate=200, count=40_000, seed=2))


def test_bursts_are_bursts():
    def most(times):
        return max(sum(begin <= time < begin + 0.05 for time in times) for begin in times[::50])

    assert most(list(bursts(200, 3000, seed=1))) > 1.4 * most(list(poisson(200, 3000, seed=1)))
    silent = list(bursts(100, 1000, seed=1, peak=4, share=0.25))  # nobody comes in between
    assert len(silent) == 1000


def test_a_closed_loop_calls_again_after_each_answer():
    outcome = closed_loop(3, lambda dice: 0.0, lambda size: 1.0, duration=10, max_batch_size=3)
    assert set(outcome.sizes) == {3}
    assert outcome.rate == pytest.approx(3)


async def test_inside_a_loop_it_says_what_to_write():
    with pytest.raises(RuntimeError, match="await asyncio.to_thread"):
        simulate([0], lambda size: 1.0)
    outcome = await asyncio.to_thread(simulate, [0.0], lambda size: 1.0)
    assert outcome.latencies == (1,)


def test_settings_are_those_of_the_batcher():
    with pytest.raises(ValueError, match="max_batch_size"):
        simulate([0], lambda size: 1.0, max_batch_size=0)
    with pytest.raises(TypeError, match="executor"):
        simulate([0], lambda size: 1.0, executor=InlineExecutor())
    with pytest.raises(ValueError, match="callers"):
        closed_loop(0, lambda dice: 0.0, lambda size: 1.0, duration=1)


# The default rule, beside the exact law of a server that never idles


def known(fixed, each, most, load):
    seconds = partial(line, fixed / 1000, each / 1000)
    return load * most / seconds(most), seconds


@pytest.mark.parametrize(
    ("point", "mean", "p99", "size"),
    [  # computed elsewhere, to check the reference itself
        ((2, 0.05, 8, 0.5), 3.33, 4.58, 3.665),
        ((5, 0.1, 16, 0.7), 9.19, 12.86, 10.219),
        ((10, 0.2, 32, 0.8), 22.13, 31.26, 22.695),
    ],
)
def test_the_reference_is_right(point, mean, p99, size):
    rate, seconds = known(*point)
    law = references.work_conserving(rate, seconds, point[2], (0.99,))
    assert law.mean * 1000 == pytest.approx(mean, rel=0.002)
    assert law.quantiles[0.99] * 1000 == pytest.approx(p99, rel=0.005)
    assert law.mean_batch_size == pytest.approx(size, rel=0.002)


def test_the_best_that_can_be_done_is_right():
    assert references.clairvoyant([0, 0, 0, 0], lambda size: 1.0, 2, 2.0) == 1
    assert references.clairvoyant([0, 0, 0, 0, 0], lambda size: 1.0, 2, 2.0) == pytest.approx(4 / 5)
    assert references.clairvoyant([0, 0.5], lambda size: 1.0, 2, 1.2) == pytest.approx(1 / 2)
    assert references.clairvoyant([0, 0.5], lambda size: 1.0, 2, 1.5) == 1  # together, once the second is there


def points():
    dice = random.Random(20)
    for _ in range(6):
        most = dice.choice([4, 8, 16, 32])
        yield dice.uniform(1, 20), dice.uniform(0.01, 0.6), most, round(dice.uniform(0.1, 0.75), 2)


@pytest.mark.parametrize("point", [(2, 0.05, 8, 0.1), (10, 0.2, 32, 0.5), (20, 0.5, 64, 0.7), *points()], ids=str)
def test_the_default_rule_is_as_good_as_can_be(point):
    rate, seconds = known(*point)
    law = references.work_conserving(rate, seconds, point[2], (0.99,))
    outcome = simulate(poisson(rate, 30_000, seed=1), seconds, max_batch_size=point[2])
    assert outcome.mean == pytest.approx(law.mean, rel=0.01)
    assert outcome.quantile(0.99) == pytest.approx(law.quantiles[0.99], rel=0.025)
    assert outcome.mean_batch_size == pytest.approx(law.mean_batch_size, rel=0.02)


@pytest.mark.parametrize("rate", [119, 492, 985])
def test_a_wait_does_not_make_the_queue_grow_without_end(rate):
    seconds = partial(line, 0.020, 0.0005)
    exact = references.work_conserving(rate, seconds, 64).mean
    for max_wait in (0, 0.01):
        outcome = simulate(poisson(rate, 12_000, seed=1), seconds, max_batch_size=64, max_wait=max_wait)
        assert outcome.mean <= 1.05 * exact


# Callers who come straight back


@pytest.mark.parametrize("callers", [2, 8, 32])
@pytest.mark.parametrize("think", [(0, 0), (2e-5, 2e-5), (1e-4, 6e-4)], ids=str)
def test_callers_in_a_loop_share_batches(callers, think):
    seconds = partial(line, 0.010, 0.0002)
    outcome = closed_loop(callers, lambda dice: dice.uniform(*think), seconds, duration=10, max_batch_size=32)
    ideal = callers / (seconds(callers) + sum(think) / 2)
    assert outcome.rate >= 0.95 * ideal


def test_who_takes_a_while_to_come_back_is_not_waited_for_long():
    seconds = partial(line, 0.010, 0.0002)
    outcome = closed_loop(8, lambda dice: dice.expovariate(20), seconds, duration=60, max_batch_size=32)
    assert outcome.busy >= 0.85 * outcome.duration * (1 - (1 - 0.01 / 0.06) ** 8)
