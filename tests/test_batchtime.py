"""The batch time: what is learnt of it, how soon, and what cannot lead it astray."""

from __future__ import annotations

import math
import random

import pytest

from asyncbatch.batchtime import BatchTime


def learnt(batches, quantile=0.9):
    time = BatchTime(quantile)
    for load, seconds in batches:
        time.observe(load, seconds)
    return time


def line(size):
    return 0.010 + 0.0002 * size


def sizes(count, seed=1):
    dice = random.Random(seed)
    return [dice.randint(1, 32) for _ in range(count)]


def test_a_line_is_found_in_three_batches():
    time = learnt((size, line(size)) for size in (1, 4, 16))
    for size in (1, 8, 32, 64):
        assert time(size) == pytest.approx(line(size), rel=1e-9)


def test_after_twenty_batches_it_is_right_within_a_twentieth():
    for seed in range(20):
        dice = random.Random(seed)
        time = learnt(((size, line(size) * dice.gauss(1, 0.03)) for size in sizes(20, seed)), quantile=0.5)
        for size in (1, 16, 32):
            assert time(size) == pytest.approx(line(size), rel=0.05)


@pytest.mark.parametrize("quantile", [0.5, 0.9])
def test_the_quantile_says_how_many_batches_stay_within(quantile):
    dice = random.Random(3)
    batches = [(size, line(size) * dice.lognormvariate(0, 0.2)) for size in sizes(400)]
    time = BatchTime(quantile)
    within = []
    for load, seconds in batches:
        within.append(seconds <= time(load))
        time.observe(load, seconds)
    assert sum(within[50:]) / len(within[50:]) == pytest.approx(quantile, abs=0.06)


def test_batches_of_one_size_say_nothing_of_the_slope_and_do_not_spoil_what_is_known_of_it():
    time = learnt([*[(size, line(size)) for size in sizes(20)], *[(32, line(32))] * 500])
    assert time(1) == pytest.approx(line(1), rel=0.02)
    assert learnt([(32, line(32))] * 5)(32) == pytest.approx(line(32))


def test_a_straggler_bends_nothing():
    time = learnt([(size, line(size)) for size in sizes(30)])
    time.observe(10, 50 * line(10))
    assert time(10) == pytest.approx(line(10), rel=0.01)
    time.observe(10, line(10))
    assert time(10) == pytest.approx(line(10), rel=0.01)


def test_stragglers_now_and_then_bend_nothing():
    batches = [(size, line(size) * (4 if place % 50 == 0 else 1)) for place, size in enumerate(sizes(500))]
    time = learnt(batches)
    assert time(16) == pytest.approx(line(16), rel=0.02)


@pytest.mark.parametrize("factor", [1.5, 3, 10, 0.3])
def test_what_takes_another_time_from_now_on_is_learnt_within_ten_batches(factor):
    time = learnt([*[(size, line(size)) for size in sizes(100)]])
    for size in sizes(10, seed=2):
        time.observe(size, factor * line(size))
    assert time(16) == pytest.approx(factor * line(16), rel=0.35)
    for size in sizes(60, seed=3):
        time.observe(size, factor * line(size))
    assert time(16) == pytest.approx(factor * line(16), rel=0.05)


def test_slow_first_batches_are_forgotten_soon():
    time = learnt([(1, 50 * line(1)), (4, 50 * line(4)), (1, 50 * line(1))])
    for size in (1, 4, 1):
        time.observe(size, line(size))
    assert time(1) < 2 * line(1)


def test_batches_that_take_steps_are_never_thought_to_take_much_less():
    time = BatchTime(0.9)
    for size in sizes(300):
        time.observe(size, line(2 ** math.ceil(math.log2(size))))
    for size in (1, 4, 9, 17, 30):
        assert time(size) >= 0.95 * line(2 ** math.ceil(math.log2(size)))


def test_what_takes_no_time_or_costs_nothing_is_no_trouble():
    assert learnt([(1, 0.0)] * 5)(10) == 0
    assert learnt([(0.0, 0.5)] * 5)(0.0) == pytest.approx(0.5)
    time = learnt([(0.0, 0.0), (5.0, 0.0), (5.0, 1.0), (0.0, 0.0)])
    assert math.isfinite(time(5.0))


def test_smaller_batches_that_take_longer_do_not_make_large_ones_free():
    time = learnt([(32, 0.010), (1, 0.030), (32, 0.010), (1, 0.030)] * 5)
    assert time(32) >= 0.010
    assert time(1) >= 0
