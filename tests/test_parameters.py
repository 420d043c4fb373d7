"""Every parameter of everything public, given what it should not be given, says so at once and by name."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest

import asyncbatch.sync
from asyncbatch import (
    Batcher,
    ByLength,
    EarliestDeadline,
    Fifo,
    FuturesExecutor,
    InlineExecutor,
    Keyed,
    Priority,
    ThreadExecutor,
    batched,
)
from asyncbatch.testing import RecordingFunction

NAN, INF = math.nan, math.inf

NO_NUMBERS = [True, False, "8", b"8", [], [8], {}, 1j, object(), int]
NO_COUNTS = [0, -1, -5, 2.5, 8.0, NAN, INF, -INF, None, np.float64(8), *NO_NUMBERS]
NO_SECONDS = [-1, -0.001, NAN, -INF, np.float64(NAN), None, *NO_NUMBERS]
NO_AMOUNTS = [0, 0.0, *NO_SECONDS]
NO_SIZES = [size for size in NO_COUNTS if size != INF]
NO_FUNCTIONS = [None, 5, "function", [len], object()]
NO_PRIORITIES = [None, NAN, "", "high", [], object(), 1j]


async def function(items):
    return items


def refused(make, name, value):
    """Whether `make` raises an error that names the setting."""
    try:
        make(function, **{name: value})
    except (TypeError, ValueError) as error:
        return name in str(error)
    return False


def decorate(function, **options):
    return batched(**options)(function)


MAKERS = [Batcher, decorate, asyncbatch.sync.Batcher]

BAD_SETTINGS = {
    "max_batch_size": NO_COUNTS,
    "max_wait": NO_SECONDS,
    "max_batch_cost": NO_AMOUNTS,
    "cost": [5, "len", []],
    "oversized": ["split", None, "", True, 1, ["alone"]],
    "policy": [5, "size", []],
    "queue": [5, "fifo", Fifo, asyncio.Queue, 100, []],
    "executor": [5, "process pool", "", ThreadExecutor, concurrent.futures.ThreadPoolExecutor, [], object(), True],
    "name": [5, b"name", [], True],
    "observers": [5, [5], ["x"], [None], print, [print, 5]],
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
@pytest.mark.parametrize("make", MAKERS)
def test_nothing_is_made_with_settings_that_make_no_sense(make, name):
    assert [value for value in BAD_SETTINGS[name] if not refused(make, name, value)] == []


@pytest.mark.parametrize("make", MAKERS)
def test_what_cannot_be_called_is_no_function(make):
    for value in NO_FUNCTIONS:
        if value is None and make is decorate:
            continue  # this is how a decorator with parentheses is told from one without
        with pytest.raises(TypeError, match="function"):
            make(value)


@pytest.mark.parametrize("make", MAKERS)
def test_a_setting_that_does_not_exist_is_refused(make):
    with pytest.raises(TypeError, match="batch_size"):
        make(function, batch_size=5)


def test_settings_are_given_by_name():
    with pytest.raises(TypeError):
        Batcher(function, 32)
    with pytest.raises(TypeError):
        batched(function, 32)


async def test_a_function_that_the_executor_cannot_run_is_refused_where_the_batcher_is_made():
    with pytest.raises(TypeError, match="async"):
        Batcher(function, executor="thread")
    with pytest.raises(TypeError, match="async"):
        batched(executor="thread")(function)


GOOD_SETTINGS = {
    "max_batch_size": [1, 10**9, np.int64(4)],
    "max_wait": [0, 0.0, 1, 1e-12, INF, 1e300, np.float64(0.1), np.float32(0.1), Fraction(1, 10)],
    "max_batch_cost": [1, 0.5, INF, np.float64(3), Fraction(7, 2)],
    "cost": [None, lambda item: 1, int, lambda item: np.float64(1), lambda item: 0],
    "oversized": ["alone", "reject"],
    "policy": [None, lambda outlook: 0.0],
    "queue": [
        None,
        Fifo(),
        Fifo(2, "reject"),
        EarliestDeadline(INF, "evict"),
        Priority(5, ageing=Fraction(1, 3)),
        Keyed(5),
    ],
    "executor": [None, "inline", InlineExecutor(2)],
    "name": ["x", "", "a name {with} %s"],
    "observers": [(), [], [lambda event: None], {lambda event: None}],
}


@pytest.mark.parametrize("name", GOOD_SETTINGS)
async def test_settings_that_make_sense_are_taken(name):
    for value in GOOD_SETTINGS[name]:
        async with Batcher(function, **{name: value}) as batcher, asyncio.timeout(5):
            futures = [batcher.submit(item) for item in (1, 2)]
            batcher.flush()
            assert [await future for future in futures] == [1, 2], value


# While it runs


async def test_settings_that_make_no_sense_are_refused_while_it_runs_too_and_change_nothing():
    async with Batcher(function, max_batch_size=8, max_wait=0.5, max_batch_cost=16) as batcher:
        before = batcher.max_batch_size, batcher.max_wait, batcher.max_batch_cost
        for name in ("max_batch_size", "max_wait", "max_batch_cost"):
            for value in BAD_SETTINGS[name]:
                with pytest.raises((TypeError, ValueError), match=name):
                    setattr(batcher, name, value)
                assert (batcher.max_batch_size, batcher.max_wait, batcher.max_batch_cost) == before
        batcher.max_batch_size, batcher.max_wait, batcher.max_batch_cost = 4, 0, INF
        assert (batcher.max_batch_size, batcher.max_wait, batcher.max_batch_cost) == (4, 0, INF)
        assert await batcher(1) == 1


async def test_settings_may_be_changed_before_entering_and_after_closing():
    batcher = Batcher(function)
    batcher.max_batch_size = 4
    async with batcher:
        assert await batcher(1) == 1
    batcher.max_wait = 1
    assert (batcher.max_batch_size, batcher.max_wait) == (4, 1)
    with pytest.raises(ValueError, match="max_wait"):
        batcher.max_wait = -1


call_details = [
    *[("timeout", value) for value in NO_SECONDS],
    *[("priority", value) for value in NO_PRIORITIES],
    *[("key", value) for value in ([], {}, {1}, bytearray())],
    ("timeouts", 1),
    ("deadline", 1),
]


@pytest.mark.parametrize("queue", [Fifo(), EarliestDeadline()])
async def test_calls_with_details_that_make_no_sense_are_refused_and_count_for_nothing(queue):
    async def imap(items, **details):
        return [result async for result in batcher.imap(items, **details)]

    recording = RecordingFunction()
    async with Batcher(recording, queue=queue) as batcher:
        for name, value in call_details:
            for call in (batcher, batcher.submit, batcher.map, imap):
                with pytest.raises((TypeError, ValueError)):
                    result = call([1], **{name: value})
                    if not isinstance(result, asyncio.Future):
                        await result
                    pytest.fail(f"{call} took {name}={value!r}")
        assert batcher.statistics().submitted == 0
        assert recording.batches == []
        assert await batcher(1, timeout=np.float64(5), priority=-3, key=(1, "x")) == 1
        assert await batcher(1, timeout=5, priority=Fraction(1, 2), key=None) == 1
        assert await batcher.map([1], timeout=INF, priority=INF, key=frozenset()) == [1]


async def test_the_message_names_the_detail():
    async with Batcher(function) as batcher:
        with pytest.raises(ValueError, match="timeout"):
            await batcher(1, timeout=-1)
        with pytest.raises(TypeError, match="priority"):
            await batcher(1, priority="high")


@pytest.mark.parametrize("way", ["__call__", "submit", "map", "imap"])
async def test_a_detail_that_does_not_exist_is_refused_by_name(way):
    async def make():
        called = getattr(batcher, way)([1], timout=1)
        return await called if way in ("__call__", "map") else called

    async with Batcher(RecordingFunction()) as batcher:
        with pytest.raises(TypeError, match=r"call\(\) got an unexpected keyword argument 'timout'"):
            await make()
        assert batcher.statistics().submitted == 0


async def test_imap_reads_a_whole_number_of_items_ahead():
    async with Batcher(function) as batcher:
        for value in NO_COUNTS:
            if value is not None:
                with pytest.raises((TypeError, ValueError), match="read_ahead"):
                    batcher.imap([1], read_ahead=value)


async def test_map_and_imap_need_something_to_iterate_over():
    async with Batcher(function) as batcher:
        for value in (None, 5, object()):
            with pytest.raises(TypeError):
                await batcher.map(value)
            with pytest.raises(TypeError):
                async for _ in batcher.imap(value):
                    pass
        assert batcher.statistics().submitted == 0


async def test_map_shows_the_way_for_an_async_source():
    async def source():
        yield 1

    async with Batcher(function) as batcher:
        with pytest.raises(TypeError, match="imap"):
            await batcher.map(source())


async def test_closing_takes_seconds():
    for value in NO_SECONDS:
        async with Batcher(function) as batcher:
            with pytest.raises((TypeError, ValueError), match="timeout"):
                await batcher.aclose(timeout=value)
            assert await batcher(1) == 1  # it was not closed
            await batcher.aclose(timeout=np.float64(1))


def test_closing_a_batcher_for_threads_takes_seconds():
    with asyncbatch.sync.Batcher(function) as batcher:
        assert batcher(1) == 1
        for value in NO_SECONDS:
            with pytest.raises((TypeError, ValueError), match="timeout"):
                batcher.close(timeout=value)
        assert batcher(1) == 1


def test_a_batcher_for_threads_refuses_details_that_make_no_sense():
    with asyncbatch.sync.Batcher(function) as batcher:
        for name, value in call_details:
            with pytest.raises((TypeError, ValueError)):
                batcher([1], **{name: value})
            with pytest.raises((TypeError, ValueError)):
                batcher.map([1], **{name: value})
        assert batcher.statistics().submitted == 0


# Configurations


@pytest.mark.parametrize("discipline", [Fifo, EarliestDeadline, Priority, Keyed, ByLength])
def test_a_queue_is_not_made_with_settings_that_make_no_sense(discipline):
    for value in NO_SIZES:
        with pytest.raises((TypeError, ValueError), match="maxsize"):
            discipline(value)
    for value in (None, "drop", "", "WAIT", True, 1, ["wait"]):
        with pytest.raises((TypeError, ValueError), match="when_full"):
            discipline(when_full=value)


@pytest.mark.parametrize("make", [InlineExecutor, ThreadExecutor])
def test_an_executor_is_not_made_with_a_capacity_that_makes_no_sense(make):
    [field] = dataclasses.fields(make)
    for value in NO_COUNTS:
        with pytest.raises((TypeError, ValueError), match=field.name):
            make(value)


def test_a_futures_executor_needs_a_pool_and_a_capacity():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for value in NO_COUNTS:
            if value is not None:
                with pytest.raises((TypeError, ValueError), match="concurrency"):
                    FuturesExecutor(pool, value)
    for value in (None, 5, "thread", object(), concurrent.futures.ThreadPoolExecutor, ThreadExecutor()):
        with pytest.raises(TypeError, match="executor"):
            FuturesExecutor(value)


CONFIGURATIONS = [
    Fifo(5, "reject"),
    EarliestDeadline(5),
    Priority(5),
    Keyed(5, key=len),
    ByLength(5, window=2),
    InlineExecutor(2),
    ThreadExecutor(2),
]


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda each: type(each).__name__)
def test_configurations_are_frozen_and_equal_by_value(configuration):
    twin = dataclasses.replace(configuration)
    assert twin == configuration
    assert hash(twin) == hash(configuration)
    for field in dataclasses.fields(configuration):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(configuration, field.name, 7)
    with pytest.raises((AttributeError, TypeError)):
        configuration.something_else = 7


async def test_one_configuration_may_serve_many_batchers():
    queue, executor = Fifo(2, "reject"), InlineExecutor(1)
    async with (
        Batcher(function, queue=queue, executor=executor) as one,
        Batcher(function, queue=queue, executor=executor) as two,
    ):
        futures = [batcher.submit(item) for batcher in (one, two) for item in (1, 2)]
        async with asyncio.timeout(5):
            assert [await future for future in futures] == [1, 2, 1, 2]


async def test_statistics_are_frozen():
    async with Batcher(function) as batcher:
        await batcher(1)
        statistics = batcher.statistics()
        with pytest.raises(dataclasses.FrozenInstanceError):
            statistics.submitted = 0
        with pytest.raises(TypeError):
            statistics.reasons["idle"] = 0
        await batcher(2)
        assert statistics.submitted == 1
        assert statistics.reasons == {"idle": 1}


def test_a_mistake_with_something_large_or_secret_does_not_print_it():
    secret = "s3cret" * 3
    for name in ("max_batch_size", "max_wait", "max_batch_cost", "cost", "oversized", "policy", "queue", "name"):
        value = [secret] if name == "name" else secret
        with pytest.raises((TypeError, ValueError)) as caught:
            Batcher(function, **{name: value})
        assert "s3cret" not in str(caught.value)
