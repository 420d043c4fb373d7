"""`python -m asyncbatch tune`: what it reads, measures, plans and says, and the whole of it in a process of its own."""

from __future__ import annotations

import ast
import asyncio
import json
import math
import random
import re
import subprocess
import sys
from collections import Counter
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tuned

from asyncbatch import Batcher, CostObjective, Fifo, LatencyObjective, __main__, tune
from asyncbatch.simulate import Outcome
from asyncbatch.testing import RecordingFunction, VirtualClockLoop
from asyncbatch.tune import chart, code, inputs, options, page, plan, profile, quality, report, trial, words
from asyncbatch.tune.curve import Curve, Step
from asyncbatch.tune.inputs import BadInput
from asyncbatch.tune.plan import Option, Plan, Play, Settings, Traffic, seen
from asyncbatch.tune.profile import Likeness, Profile, sizes_up_to

HERE = Path(__file__).parent


# What it reads.


def test_a_function_is_found_by_its_name():
    assert inputs.function("tuned:embed") is tuned.embed
    assert inputs.function("tuned:Model") is tuned.Model
    assert inputs.function("tuned:Model.__call__") is tuned.Model.__call__
    assert inputs.function("tuned:decorated") is tuned.decorated.__wrapped__


def test_modules_in_the_current_directory_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "lies_here.py").write_text("def shout(words): return words")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert inputs.function("lies_here:shout")(["a"]) == ["a"]


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("tuned", "write module:function"),
        ("tuned:", "write module:function"),
        (":embed", "write module:function"),
        ("no_such_module:embed", "there is no module 'no_such_module'"),
        ("asyncbatch.no_such_module:embed", "there is no module 'asyncbatch.no_such_module'"),
        ("tuned:embedd", "did you mean 'embed'"),
        ("tuned:no_function", "is a int; tune takes a function"),
    ],
)
def test_what_is_no_function_is_told(named: str, told: str):
    with pytest.raises(BadInput, match=told):
        inputs.function(named)


def test_a_module_that_misses_another_is_not_taken_for_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "broken_here.py").write_text("import not_installed_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_installed_at_all"):
        inputs.function("broken_here:shout")


@pytest.mark.parametrize(
    ("name", "text", "items"),
    [
        ("a.txt", "one\n\n two \n", ["one", " two "]),
        ("a", "one", ["one"]),
        ("a.json", '["one", {"two": 2}]', ["one", {"two": 2}]),
        ("a.jsonl", '"one"\n\n{"two": 2}\n', ["one", {"two": 2}]),
        ("a.NDJSON", "1\n", [1]),
    ],
)
def test_items_are_read_as_their_file_is_named(name: str, text: str, items: list, tmp_path: Path):
    (tmp_path / name).write_text(text)
    assert inputs.items(tmp_path / name) == items


def test_the_rows_of_an_array_are_items(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.arange(6).reshape(3, 2))
    assert [row.tolist() for row in inputs.items(tmp_path / "a.npy")] == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", b"\n\n", "holds no items"),
        ("a.txt", b"\xff\xfe", "is not UTF-8 text"),
        ("a.json", b"[1", "one value to a line is called .jsonl"),
        ("a.json", b'{"a": 1}', "holds one dict; it must be a list"),
        ("a.jsonl", b"1\nfoo\n", "line 2 of .* is not JSON"),
        ("a.npy", b"1\n2\n", "is not an array that np.save wrote"),
        (".", b"", "cannot be read"),
        ("missing.txt", None, "cannot be read: No such file"),
    ],
)
def test_a_file_that_holds_no_items_is_told(name: str, content: bytes | None, told: str, tmp_path: Path):
    if content:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=told):
        inputs.items(tmp_path / name)


def test_a_single_number_is_no_rows(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.float32(1))
    with pytest.raises(BadInput, match="has no rows"):
        inputs.items(tmp_path / "a.npy")


def test_a_trace_begins_at_0_and_rises(tmp_path: Path):
    (tmp_path / "trace.txt").write_text("7.5\n7.0\n9\n")
    assert inputs.arrivals(tmp_path / "trace.txt") == [0, 0.5, 2]


@pytest.mark.parametrize(
    ("text", "told"), [("soon\n", "holds no times"), ("nan\n1\n", "no times"), ("1\n1\n", "one moment")]
)
def test_a_trace_without_times_is_told(text: str, told: str, tmp_path: Path):
    (tmp_path / "trace.txt").write_text(text)
    with pytest.raises(BadInput, match=told):
        inputs.arrivals(tmp_path / "trace.txt")


# Quality.

ONE = np.float32([1.0, -2.0])


@pytest.mark.parametrize(
    ("alone", "batched", "apart"),
    [
        (1, 1, 0),
        (1, 2, math.inf),
        (1, 1.0, math.inf),
        (1.0, 1.0, 0),
        (2.0, 2.002, 0.001),
        (math.nan, math.nan, 0),
        (math.inf, math.inf, 0),
        (math.inf, 1.0, math.inf),
        (0.0, 1e-30, math.inf),
        ("a", "a", 0),
        ("a", "b", math.inf),
        (None, None, 0),
        ([1, 2.0], [1, 2.02], 0.01),
        ([1], [1, 2], math.inf),
        ([], [], 0),
        ({"a": ONE}, {"a": ONE * np.float32(1.25)}, 0.25),
        ({"a": 1}, {"b": 1}, math.inf),
        (ONE, ONE.copy(), 0),
        (ONE, ONE + np.float32([1.0, 0.0]), 0.5),
        (ONE, ONE.astype(np.float64), math.inf),
        (ONE, ONE[:1], math.inf),
        (np.array([1, 2]), np.array([1, 3]), math.inf),
        (np.array([1.0, np.nan]), np.array([1.5, np.nan]), 0.5),
        (np.array([1.0, np.nan]), np.array([np.nan, 1.0]), math.inf),
        (np.array([np.inf, 1.0]), np.array([-np.inf, 1.5]), math.inf),
        (np.array([], np.float32), np.array([], np.float32), 0),
        (1 + 2j, 1 + 2j, 0),
        (ValueError("a"), ValueError("a"), 0),
        (ValueError("a"), ValueError("b"), math.inf),
        (SimpleNamespace(score=1.0), SimpleNamespace(score=1.5), 0.5),
    ],
    ids=repr,
)
def test_how_far_results_are_apart(alone: object, batched: object, apart: float):
    assert quality.difference(alone, batched) == pytest.approx(apart, rel=1e-4)


def test_the_difference_in_words():
    assert [quality.in_words(each) for each in (0.0, 3e-7, 0.5, math.inf)] == [
        "identical",
        "within 3e-07",
        "different",
        "different",
    ]


# The curve.


def curve(seconds, most=64):
    return Curve({size: (seconds(size),) * 4 for size in sizes_up_to(most)})


LINE = curve(lambda size: 0.010 + 0.0002 * size)


def test_which_sizes_are_measured():
    assert sizes_up_to(64) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]
    assert sizes_up_to(20) == [1, 2, 3, 4, 6, 8, 12, 16, 20]
    assert sizes_up_to(2) == [1, 2]


def test_a_line_is_found_again():
    assert LINE.line.fixed == pytest.approx(0.010)
    assert LINE.line.each == pytest.approx(0.0002)
    assert LINE.line.off < 1e-9
    assert LINE.steps == []


def test_no_part_of_a_line_is_below_0():
    falling, steep = curve(lambda size: 1 / size), curve(lambda size: size**2)
    assert falling.line.each == 0
    assert steep.line.fixed == pytest.approx(0, abs=1e-12)
    assert steep.line.off > 0.5
    assert steep.line.size in steep.medians


def test_between_sizes_the_time_is_between_theirs():
    known = Curve({1: (1.0,), 4: (2.5, 2.5, 9.0), 8: (4.5,)})
    assert [known(size) for size in (1, 2, 4, 6, 8)] == [1.0, 1.5, 2.5, 3.5, 4.5]


def test_the_speedup_is_that_of_theory():
    r = 0.0002 / 0.010
    assert LINE.speedup(64) == pytest.approx(64 * (1 + r) / (1 + 64 * r))
    assert (LINE.pays, LINE.pays_from, LINE.best, LINE.enough) == (True, 2, 64, 64)
    assert LINE.sizes == [1, 2, 4, 8, 16, 32, 64]


def test_batches_that_gain_nothing_do_not_pay():
    straight = curve(lambda size: 0.001 * size)
    assert not straight.pays
    assert straight.sizes == [1]


def test_two_that_are_slower_than_one():
    matrix = curve(lambda size: 0.001 if size == 1 else 0.0035 + 0.0001 * size)
    assert matrix.pays_from == 6  # 4 take 3.9 times as long as one, which is as good as nothing
    assert 2 not in matrix.sizes
    assert "Two items in one batch take 3.70 ms, longer than one after the other, 2.00 ms" in words.about_pay(matrix)


def test_where_more_stops_paying():
    full = curve(lambda size: 0.010 + 0.0002 * size if size <= 16 else 0.001 * size)
    assert (full.best, full.enough) == (16, 16)
    assert full.sizes[-1] == 16
    assert "in batches of 16" in words.about_pay(full)


def test_a_step_is_seen_and_noise_is_none():
    padded = curve(lambda size: 0.010 + 0.001 * (8 if size <= 8 else 32))
    assert padded.steps[0] == Step(8, 12, pytest.approx(0.024, rel=0.3))
    dice = random.Random(1)
    noisy = Curve({size: [LINE(size) * dice.uniform(0.7, 1.5) for _ in range(9)] for size in sizes_up_to(64)})
    assert noisy.steps == []


def test_simulated_times_are_as_far_off_as_measured_ones():
    known = Curve({1: (1.0, 1.0, 1.5), 2: (2.0, 2.0, 4.0)})
    seconds = known.scattered(seed=3)
    drawn = {size: Counter(seconds(size) for _ in range(300)) for size in (1, 2)}
    assert drawn[1].keys() == {1.0, 1.5}
    assert drawn[2].keys() == {2.0, 4.0}
    assert 60 < drawn[1][1.5] < 140
    assert [known.scattered(1)(2) for _ in range(5)] == [known.scattered(1)(2) for _ in range(5)]


def test_the_scatter_of_the_times():
    assert LINE.scatter(8) == 1
    assert Curve({1: (1.0,) * 8 + (3.0, 3.0)}).scatter(1) == 3
    assert Curve({1: (1.0,) * 9 + (3.0,)}).scatter(1) == 1


# Assess.


def measured(function, items=tuple(range(50)), *, most=16, seconds=20.0, **keywords) -> Profile:
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(profile.measure(function, items, most=most, seconds=seconds, **keywords))


def test_what_is_measured_is_what_the_function_takes():
    function = RecordingFunction(seconds=lambda size: 0.010 + 0.001 * size)
    found = measured(function)
    assert found.curve.medians == {size: pytest.approx(0.010 + 0.001 * size) for size in sizes_up_to(16)}
    assert found.left_out == ""
    assert {len(taken) for taken in found.curve.samples.values()} == {40}


def test_sizes_take_turns_after_each_was_warmed_up():
    function = RecordingFunction(seconds=0.01)
    measured(function)
    sizes = [len(batch) for batch in function.batches]
    warm = len(sizes) - 40 * 8
    assert sorted(set(sizes[:warm])) == sizes_up_to(16)
    rounds = [sizes[begin : begin + 8] for begin in range(warm, len(sizes), 8)]
    assert all(sorted(each) == sizes_up_to(16) for each in rounds)
    assert len(set(map(tuple, rounds))) > 30


def test_a_first_run_that_is_slow_is_not_counted():
    seen = set()

    def seconds(size: int) -> float:
        slow = size not in seen
        seen.add(size)
        return 0.3 if slow else 0.001

    assert max(measured(RecordingFunction(seconds=seconds)).curve.medians.values()) == pytest.approx(0.001)


def test_there_is_an_end_to_the_time():
    function = RecordingFunction(seconds=lambda size: 0.05 * size)
    elapsed = []
    found = measured(function, seconds=10.0, progress=elapsed.append)
    assert elapsed == sorted(elapsed)
    assert elapsed[-1] < 15
    assert min(map(len, found.curve.samples.values())) >= 3


def test_sizes_that_there_is_no_time_for_are_left_out():
    found = measured(RecordingFunction(seconds=lambda size: 0.5 * size), most=64, seconds=10.0)
    assert found.curve.largest < 16
    assert "are left out, as there was no time for them; see --seconds" in found.left_out


def test_sizes_that_fail_are_left_out():
    def too_much(items):
        if len(items) > 6:
            raise MemoryError("all of it")
        return items

    found = measured(RecordingFunction(script=[too_much] * 10_000))
    assert found.curve.largest == 6
    assert "A batch of 8 failed: MemoryError('all of it')" in found.left_out


def test_an_item_that_fails_alone_is_told():
    with pytest.raises(BadInput, match="fails for item 3 alone: ValueError"):
        measured(RecordingFunction(lambda item: ValueError("bad") if item == 2 else item))


def test_a_class_is_measured_as_well():
    class Model:
        async def __call__(self, items):
            await asyncio.sleep(0.01)
            return items

    assert measured(Model, most=2).curve.medians == {1: pytest.approx(0.01), 2: pytest.approx(0.01)}


def test_results_are_compared_with_those_alone():
    def unlike(items):
        return [item if len(items) < 8 else item + 1e-3 for item in items]

    found = measured(RecordingFunction(script=[unlike] * 10_000), [1.0, 2.0, 4.0])
    assert {size for size, each in found.likeness.items() if each.worst} == {8, 12, 16}
    assert found.likeness[8].worst == pytest.approx(1e-3)
    assert found.likeness[6] == Likeness(found.likeness[6].compared, 0, 0.0)
    assert found.likeness[1].compared > 0


def test_a_function_that_answers_as_it_likes_is_seen():
    dice = random.Random(0)
    found = measured(RecordingFunction(lambda item: dice.random()))
    assert found.likeness[1].worst > 0.01
    assert "does not answer the same item alike twice" in words.about_results(found.likeness)


# Design.


def play(mean=0.01, goodput=1.0, busy=1.0, rate=100.0) -> Play:
    return Play(rate, mean, 2 * mean, goodput, 600.0, busy)


def option(rule, size, mean=0.01, goodput=1.0, busy=1.0, bursts=1.0) -> Option:
    policy = LatencyObjective(0.05) if rule == "latency objective" else None
    return Option(
        Settings(rule, size, policy=policy), {"Poisson": play(mean, goodput, busy), "bursts": play(mean, bursts, busy)}
    )


def chosen(*options: Option, by="mean", speed=lambda settings: settings.max_batch_size) -> Option:
    return plan.choose(options, "Poisson", by, {each.settings: speed(each.settings) for each in options})


def test_the_quickest_of_those_in_time_is_chosen():
    late, quick, slow = option("a", 8, mean=0.001, goodput=0.9), option("b", 8, mean=0.01), option("c", 8, mean=0.02)
    assert chosen(late, quick, slow) is quick
    assert chosen(late) is late


def test_or_the_one_with_the_least_work():
    quick, thrifty = option("a", 8, mean=0.01, busy=2.0), option("b", 8, mean=0.03, busy=0.5)
    assert chosen(quick, thrifty) is quick
    assert chosen(quick, thrifty, by="busy") is thrifty


def test_who_stands_bursts_is_preferred():
    quick, steady = option("a", 8, mean=0.01, bursts=0.7), option("b", 8, mean=0.03, bursts=0.95)
    assert chosen(quick, steady) is steady


def test_of_those_alike_the_fast_one_with_an_objective_and_small_batches():
    small, fast, faster = option("a", 8), option("a", 32), option("a", 64)
    assert chosen(small, fast, faster, speed=lambda settings: min(settings.max_batch_size, 32)) is fast
    told = option("latency objective", 32)
    assert chosen(fast, told) is told


def test_the_highest_rate_is_searched_for():
    asked = []

    def goodput(rate: float) -> float:
        asked.append(rate)
        return 1.0 if rate <= 333 else 0.5

    assert plan.highest_rate(goodput, [100, 200, 400, 800]) == pytest.approx(333, rel=0.03)
    assert 800 not in asked
    assert plan.highest_rate(goodput, [400, 800]) == pytest.approx(333, rel=0.05)
    assert plan.highest_rate(goodput, [100, 200]) == 200
    assert plan.highest_rate(lambda rate: 0.0, [100, 200]) == 0


def traffic(objective=0.05, recorded=()) -> Traffic:
    return Traffic(objective, recorded, thorough=0.1)


@pytest.fixture(scope="module")
def planned() -> Plan:
    return plan.design(LINE, traffic(), 500.0)


def test_a_plan_has_every_rule_that_makes_sense(planned: Plan):
    assert planned.slots == 1
    assert planned.kind == "Poisson"
    rules = {each.settings.rule for each in planned.options}
    assert (
        rules
        == {"one by one", "fixed wait", "at once", "latency objective", "cost objective"}
        == {s.rule for s in planned.ladder}
    )
    assert {each.settings.max_batch_size for each in planned.options} == {1, 8, 16, 32, 64}
    assert all(set(each.plays) == {"Poisson", "bursts"} for each in planned.options)


def test_limits_that_are_too_slow_for_the_rate_are_not_tried():
    assert {each.settings.max_batch_size for each in plan.design(LINE, traffic(), 2500.0).options} == {1, 64}


def test_what_is_planned_for_latency_is_quick_and_for_a_price_is_thrifty(planned: Plan):
    kind = planned.kind
    assert planned.chosen.plays[kind].mean == pytest.approx(
        min(each.plays[kind].mean for each in planned.options), rel=0.03
    )
    assert isinstance(planned.chosen.settings.policy, LatencyObjective)
    assert isinstance(planned.other.settings.policy, CostObjective)
    assert planned.other.plays[kind].busy < 0.5 * planned.chosen.plays[kind].busy
    priced = plan.design(LINE, traffic(), 500.0, priced=True)
    assert (priced.chosen.settings, priced.other.settings) == (planned.other.settings, planned.chosen.settings)


def test_what_cannot_keep_up_is_said_to_grow(planned: Plan):
    one_by_one = planned.options[0]
    assert one_by_one.settings == Settings("one by one", 1)
    assert one_by_one.plays["Poisson"].grows
    assert one_by_one.plays["Poisson"].goodput < 0.4
    assert not planned.chosen.plays["Poisson"].grows


def test_the_capacity_is_near_what_theory_allows(planned: Plan):
    most = LINE.rate(64)
    assert 0.8 * most < planned.capacity <= most


def test_load_rises_up_to_where_it_is_hopeless(planned: Plan):
    for plays in planned.ladder.values():
        assert [each.rate for each in plays] == sorted({each.rate for each in plays})
        assert all(each.goodput >= 0.02 for each in plays[:-1])
    rates = [each.rate for each in planned.ladder[planned.chosen.settings]]
    assert 500.0 in rates
    assert rates[-1] == pytest.approx(2 * LINE.rate(64))


def test_where_one_slot_is_not_enough_there_are_more():
    assert plan.design(LINE, traffic(), 1.5 * LINE.rate(64)).slots == 2


def test_slots_that_are_of_no_use_are_not_taken():
    stragglers = Curve({1: (0.01, 0.01, 0.09), 2: (0.01, 0.01, 0.09)})
    assert plan.design(stragglers, traffic(), 20.0).slots <= 4


def test_where_batching_does_not_pay_only_the_objective_is_left():
    straight = plan.design(curve(lambda size: 0.005 * size), traffic(), 100.0)
    assert {each.settings.max_batch_size for each in straight.options} == {1}
    assert {each.settings.rule for each in straight.options} == {"one by one", "latency objective"}


def test_a_trace_comes_first_and_is_sped_up():
    recorded = [0.01 * each for each in range(1, 501)]
    slow = traffic(recorded=recorded)
    assert slow.kinds == ["recorded", "Poisson", "bursts"]
    assert slow.recorded_rate == pytest.approx(100)
    assert slow.times("recorded", 200.0) == [pytest.approx(each / 2) for each in recorded]


def test_callers_come_at_the_rate_that_was_asked_for():
    for kind in ("Poisson", "bursts"):
        times = Traffic(0.05).times(kind, 3000.0)
        assert len(times) / times[-1] == pytest.approx(3000)
    assert len(Traffic(0.05).times("Poisson", 10.0)) == 2000
    assert len(Traffic(0.05).times("Poisson", 1e6)) == 12_000


# Monitor.


def virtually(coroutine):
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(coroutine)


def test_all_items_are_answered_one_by_one_and_in_batches():
    def rounded(items):
        return [item if len(items) == 1 else item + 1e-6 for item in items]

    function = RecordingFunction(seconds=0.01)
    one_by_one, batched = virtually(trial.compare(partial(Batcher, function), [1.0] * 10, {"max_batch_size": 4}))
    assert one_by_one == trial.Row("One by one", 10, pytest.approx(0.1), pytest.approx(0.1), 10, Likeness(10))
    assert batched == trial.Row("asyncbatch", 10, pytest.approx(0.03), pytest.approx(0.03), 3, Likeness(10))
    unlike = partial(Batcher, RecordingFunction(script=[rounded] * 99))
    one_by_one, batched = virtually(trial.compare(unlike, [1.0] * 8, {"max_batch_size": 4}))
    assert (one_by_one.likeness, batched.likeness) == (Likeness(8), Likeness(8, 8, pytest.approx(1e-6)))


def test_callers_come_when_they_are_to():
    function = RecordingFunction(seconds=0.01)
    make = partial(Batcher, function, queue=Fifo(1, "reject"))
    seen = virtually(trial.live(make, ["a", "b"], [0.0, 0.5, 0.5, 0.505, 0.506], {"max_batch_size": 1}))
    assert function.batches == [["a"], ["b"], ["b"]]
    assert function.times == [0.0, 0.5, pytest.approx(0.51)]
    assert seen.latencies == (pytest.approx(0.01), pytest.approx(0.01), pytest.approx(0.015))
    assert (seen.refused, seen.sizes, seen.busy) == (2, (1, 1, 1), pytest.approx(0.03))


# Integrate.


def partly(texts, factor):
    return texts


@pytest.mark.parametrize(
    ("named", "function", "settings", "keywords", "expected"),
    [
        (
            "tuned:embed",
            tuned.embed,
            Settings("at once", 32),
            {},
            "from asyncbatch import batched\n\n@batched(max_batch_size=32)\ndef embed(items):  # yours, as it is\n    ...",
        ),
        (
            "tuned:remote",
            tuned.remote,
            Settings("latency objective", 8, policy=LatencyObjective(0.05)),
            {"slots": 2},
            "from asyncbatch import InlineExecutor, LatencyObjective, batched\n\n"
            "@batched(max_batch_size=8, policy=LatencyObjective(0.05), executor=InlineExecutor(concurrency=2))\n"
            "async def remote(items):  # yours, as it is\n    ...",
        ),
        (
            "tuned:Model",
            tuned.Model,
            Settings("fixed wait", 8, max_wait=0.01),
            {"executor": "process"},
            "from asyncbatch import batched\n\n"
            '@batched(max_batch_size=8, max_wait=0.01, executor="process")\nclass Model:  # yours, as it is\n    ...',
        ),
        (
            "tuned:shout",
            partial(partly, factor=2),
            Settings("cost objective", 8, policy=CostObjective(1.5)),
            {"slots": 3, "executor": "process"},
            "from asyncbatch import CostObjective, ProcessExecutor, batched\nfrom tuned import shout\n\n"
            "shout = batched(max_batch_size=8, policy=CostObjective(1.5), executor=ProcessExecutor(workers=3))(shout)",
        ),
    ],
)
def test_the_code_to_copy(named: str, function, settings: Settings, keywords: dict, expected: str):
    written = code.as_code(named, function, settings, **keywords)
    assert written == expected
    ast.parse(written)


# What is said.


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0123, "12.3 ms"),
        (1.5, "1.50 s"),
        (0.0000451, "45.1 us"),
        (0.99999, "1.00 s"),
        (0.00099999, "1.00 ms"),
        (123.4, "123 s"),
        (math.nan, "-"),
    ],
)
def test_durations(seconds: float, told: str):
    assert words.duration(seconds) == told


def test_numbers():
    assert [words.share(each) for each in (1.0, 0.9999, 0.5, 0.0)] == ["100 %", "99.9 %", "50.0 %", "0 %"]
    assert [words.three(each) for each in (0.0001234, 12.34, 99.99, 1234.0, 0.0, math.nan)] == [
        "0.000123", "12.3", "100", "1,234", "0", "-",
    ]  # fmt: skip
    assert words.money(3600.0, 1.2) == "$1.20"
    assert words.money(0.0123, None) == "12.3 ms"


def test_that_batching_does_not_pay_is_said():
    told = words.about_pay(curve(lambda size: 0.001 * size))
    assert told.startswith("Batching does not pay")


def test_what_the_time_is_made_of_is_said():
    assert words.about_time(LINE) == "A batch takes about 10.0 ms and 200 us an item; the medians are at most 0 % off that."
    padded = words.about_time(curve(lambda size: 0.010 + 0.001 * (8 if size <= 8 else 32)))
    assert "From 8 to 12 items it jumps by" in padded
    assert "of the batches of 2 one in ten takes 3.0 times the median" in words.about_time(
        Curve({1: (1.0,), 2: (1.0,) * 8 + (3.0,) * 2})
    )


@pytest.mark.parametrize(
    ("worst", "told"), [(0.0, "identical"), (1e-7, "within 1e-07"), (math.inf, "see to that before you batch")]
)
def test_the_quality_is_said(worst: float, told: str):
    assert told in words.about_results({1: Likeness(3), 8: Likeness(8, 1, worst)})
    assert words.results(Likeness(8, 2, math.inf)) == "2 of 8 differ"
    assert words.results(None) == words.results(Likeness()) == "-"


ROWS = [
    trial.Row("One by one", 100, 2.0, 1.9, 100, Likeness(100)),
    trial.Row("asyncbatch", 100, 0.5, 0.4, 4, Likeness(100, 3, 1e-7)),
]
LIVE = seen(Outcome((0.010, 0.020, 0.060), 1, (2, 1), 0.006, 1.0), 4.0, math.inf, 0.05)


def sections(planned: Plan) -> list[report.Section]:
    measured = Profile(LINE, {size: Likeness(size) for size in LINE.medians})
    expected = planned.chosen.plays[planned.kind]
    return [
        report.assess("tuned:embed", measured),
        report.design(planned, ["No --rate was given."]),
        report.integrate(planned, "import this", "import that"),
        report.monitor(ROWS, None, expected, LIVE),
        report.iterate(measured, planned, expected, LIVE),
    ]


def test_the_report_fits_a_terminal_and_has_the_five_words(planned: Plan):
    told = "\n".join(map(report.as_text, sections(planned)))
    assert [line for line in told.splitlines() if len(line) > 100] == []
    for word in ("Assess", "Design", "Integrate", "Monitor", "Iterate"):
        assert f"{word}\n{'=' * len(word)}\n" in told
    assert "    import this" in told
    assert "    import that" in told
    assert len(re.findall(r" \* +\|", told)) == 1
    assert "one slot can take" in " ".join(told.split())


def test_the_table_of_the_mission(planned: Plan):
    told = report.as_text(sections(planned)[3])
    assert (
        "| Method     | Requests | Processing time |   Cost |      Quality |\n"
        "| ---------- | -------: | --------------: | -----: | -----------: |\n"
        "| One by one |      100 |          2.00 s | 1.90 s |    identical |\n"
        "| asyncbatch |      100 |          500 ms | 400 ms | within 1e-07 |\n"
    ) in told
    assert "75 % less time and 79 % less work" in told
    assert "50.0 %" in told  # two of four within the objective
    assert "Cost at $1.20/h" in report.as_text(report.monitor(ROWS, 1.2, play(), LIVE))


def test_what_to_do_next(planned: Plan):
    measured = Profile(LINE, {})
    told = report.as_text(report.iterate(measured, planned, play(busy=1.0), LIVE))
    assert "--max-batch-size 256" in told
    assert "--trace" in told
    assert "Work took 2.0 times as long" in told
    assert "Work took" not in report.as_text(report.iterate(measured, planned, play(busy=2.0), LIVE))


def test_the_other_way_is_told_too(planned: Plan):
    assert "Or, where the work, which somebody pays for, is what counts:" in report.as_text(sections(planned)[2])
    priced = plan.design(LINE, traffic(), 500.0, priced=True)
    assert "Or, where latency is what counts:" in report.as_text(report.integrate(priced, "this", "that"))


def test_settings_that_are_late_are_not_praised(planned: Plan):
    late = plan.design(Curve({1: (0.01, 0.01, 0.09), 2: (0.01, 0.01, 0.09)}), traffic(), 20.0)
    assert "Nothing answers 99 % within 50.0 ms; this comes nearest" in words.reason(late, late.chosen.settings)
    assert "100 % in time" in words.reason(planned, planned.chosen.settings)
    assert "held for as long as 50.0 ms allow" in words.reason(planned, planned.other.settings)


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.loads, self.open = Counter(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        self.loads += [value for name, value in attributes if name in ("src", "href") and not value.startswith("#")]
        if tag not in ("meta", "br", "path", "use", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in ("meta", "br", "path", "use", "rect"):
            assert self.open.pop() == tag


def test_the_page_loads_nothing_and_is_well_formed(planned: Plan):
    text = page.as_page("a <title>", sections(planned), chart.drawn(planned))
    seen = Page(text)
    assert seen.open == []
    assert seen.loads == []
    assert "@import" not in text
    assert seen.tags["svg"] == seen.tags["h1"] == 1
    assert seen.tags["h2"] == 5
    assert seen.tags["table"] == 7
    assert "a &lt;title&gt;" in text
    assert "<code>statistics()</code>" in text
    assert text.count("class=chosen") == 1
    assert "prefers-color-scheme: dark" in text
    assert "currentColor" in text


def test_what_is_on_the_page_is_text():
    cells = report.Section("<a>", ["<b>", report.Table(["<c>"], [["<d>"]]), report.Code("<e>")])
    text = page.as_page("<f>", [cells])
    assert [each for each in "abcdef" if f"&lt;{each}&gt;" not in text or f"<{each}>" in text] == []


def test_without_a_chart_the_page_has_the_rest(planned: Plan):
    assert Page(page.as_page("tune", sections(planned))).tags["svg"] == 0


def test_the_chart_is_a_png(planned: Plan, tmp_path: Path):
    chart.draw(planned, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_a_time_is_rounded_up_to_a_plain_one():
    assert [tune.round_up(each) for each in (0.011, 0.02, 0.021, 0.3, 7.0)] == [
        pytest.approx(each) for each in (0.02, 0.02, 0.05, 0.5, 10)
    ]


# The command line.


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    file = tmp_path / "texts.txt"
    file.write_text("".join(f"{number}\n" for number in range(30)))
    return file


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--objective", "50"], "must be a time with its unit"),
        (["--objective", "0ms"], "must be a number above 0"),
        (["--rate", "0"], "must be a number above 0"),
        (["--rate", "inf"], "must be a number above 0"),
        (["--rate", "1", "--trace", "x"], "not allowed with"),
        (["--max-batch-size", "1"], "must be a whole number from 2"),
        (["--executor", "ray"], "invalid choice"),
        (["--html", "no/such/folder/a.html"], "there is no folder"),
        (["--trace", "no_such_file.txt"], "no_such_file.txt cannot be read"),
    ],
)
def test_a_bad_option_is_told_in_a_line(arguments: list[str], told: str, texts: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as raised:
        __main__.main(["tune", "tuned:embed", "--items", str(texts), *arguments])

    assert raised.value.code == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.startswith("usage: python -m asyncbatch tune module:function --items FILE [options]\n")


def test_help_lists_every_option(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as raised:
        __main__.main(["tune", "--help"])

    assert raised.value.code == 0
    told = capsys.readouterr().out
    for option in "items objective rate trace max-batch-size executor seconds price html png".split():
        assert f"--{option} " in told


def test_a_function_that_fails_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "words.txt").write_text("1\ntwo\n")
    assert tune.main(["tuned:picky", "--items", str(tmp_path / "words.txt")]) == 1
    assert capsys.readouterr().err.startswith("error: the function fails for item ")


def test_an_objective_that_nobody_can_meet_is_told(texts: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["tuned:embed", "--items", str(texts), "--seconds", "0.2", "--max-batch-size", "2", "--objective", "1ms"]
    assert tune.main(arguments) == 1
    told = capsys.readouterr()
    assert "Assess" in told.out
    assert "so nobody can be answered within 1.00 ms; write for example --objective " in told.err


def test_without_matplotlib_it_says_what_to_install(texts: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    arguments = ["tuned:remote", "--items", str(texts), "--seconds", "0.2", "--max-batch-size", "2"]
    assert tune.main([*arguments, "--png", str(tmp_path / "chart.png"), "--html", str(tmp_path / "page.html")]) == 0
    assert "pip install 'asyncbatch[tune]'" in capsys.readouterr().err
    assert not (tmp_path / "chart.png").exists()
    assert Page((tmp_path / "page.html").read_text()).tags["table"] == 7


# What is told of it elsewhere.


@pytest.mark.parametrize("file", ["README.md", "examples/tuning.md"])
def test_what_is_said_to_be_printed_was_printed(file: str):
    root = HERE.parent
    printed = (root / "bench" / "results" / "tune.txt").read_text(encoding="utf-8").splitlines()
    text = (root / file).read_text(encoding="utf-8")
    cuts = re.findall(r"^```text\n(.*?)^```\n", text[text.index("asyncbatch tune model:embed") :], re.M | re.S)
    cuts = cuts if file.startswith("examples") else cuts[:1]
    assert cuts
    assert [line for cut in cuts for line in cut.splitlines() if line not in printed] == []


@pytest.mark.parametrize("file", ["README.md", "examples/tuning.md"])
def test_the_command_that_is_told_is_one(file: str):
    text = (HERE.parent / file).read_text(encoding="utf-8").replace("\\\n", " ")
    command = re.search(r"python -m asyncbatch tune (.*)", text)[1].split()
    chosen = options.parser().parse_args(command)
    assert (chosen.rate, chosen.objective, chosen.price) == (2000, 0.05, 1.2)


def test_all_of_it_for_real(texts: Path, tmp_path: Path):
    (tmp_path / "trace.json").write_text(json.dumps([number / 400 for number in range(400)]))
    command = [sys.executable, "-W", "error", "-m", "asyncbatch", "tune", "tuned:embed", "--items", str(texts)]
    options = (
        "--objective 50ms --trace trace.json --max-batch-size 8 --seconds 1 --price 1.2 --png chart.png --html page.html"
    )

    ran = subprocess.run(
        [*command, *options.replace("trace.json", str(tmp_path / "trace.json")).split()[:-4],
         "--png", str(tmp_path / "chart.png"), "--html", str(tmp_path / "page.html")],
        capture_output=True, text=True, timeout=120, cwd=HERE,
    )  # fmt: skip

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "Batching pays from 2 items on" in ran.stdout
    assert "the recorded traffic" in " ".join(ran.stdout.split())
    assert "policy=CostObjective(0.05))\n    def embed(items):" in ran.stdout
    assert "Cost at $1.20/h" in ran.stdout
    assert ran.stdout.count("identical") >= 7
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    assert Page((tmp_path / "page.html").read_text()).tags["svg"] == 1
