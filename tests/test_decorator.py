"""@batched: functions, methods and classes that take one item, in whatever loop calls them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import functools
import gc
import inspect
import math
import threading
import weakref

import anyio
from callers import outcome, passes
import pytest

from asyncbatch import Closed, ThreadExecutor, batched
from asyncbatch.testing import RecordingFunction


def make_tens(**options):
    @batched(**options)
    async def tens(items: list[int]) -> list[int]:
        """Times ten."""
        return [item * 10 for item in items]

    return tens


def threads_of(name):
    return [thread for thread in threading.enumerate() if name in thread.name]


# What it is


async def test_it_works_with_and_without_parentheses():
    @batched
    async def bare(items):
        return items

    @batched()
    async def empty(items):
        return items

    @batched(max_batch_size=2)
    async def with_options(items):
        return [len(items)] * len(items)

    assert await outcome(bare(1)) == 1
    assert await outcome(empty(2)) == 2
    assert await outcome(asyncio.gather(with_options(1), with_options(2), with_options(3))) == [2, 2, 1]


def test_it_keeps_what_the_function_is_known_by():
    tens = make_tens()
    assert tens.__name__ == "tens"
    assert tens.__qualname__.endswith("make_tens.<locals>.tens")
    assert tens.__doc__ == "Times ten."
    assert tens.__module__ == __name__
    assert inspect.iscoroutinefunction(tens.__wrapped__)
    assert "tens" in repr(tens)


async def test_the_original_function_is_still_there():
    assert await make_tens().__wrapped__([1, 2]) == [10, 20]


class Callable:
    async def __call__(self, items):
        return [item * 10 for item in items]


async def times(factor, items):
    return [item * factor for item in items]


KINDS = {
    "function": lambda items: [item * 10 for item in items],
    "class": Callable,
    "object": Callable(),
    "partial": functools.partial(times, 10),
    "recording": RecordingFunction(lambda item: item * 10),
}


@pytest.mark.parametrize("function", KINDS.values(), ids=KINDS.keys())
async def test_every_kind_of_function_can_be_decorated(function):
    decorated = batched(function)
    assert repr(decorated).startswith("<batched ")
    assert await outcome(decorated(1)) == 10
    assert await outcome(decorated.map([1, 2])) == [10, 20]
    await decorated.aclose()


async def test_it_has_what_a_batcher_has():
    tens = make_tens(max_wait=math.inf)
    future = tens.submit(1)
    tens.flush()
    assert await outcome(future) == 10
    mapped = asyncio.ensure_future(tens.map([1, 2]))
    await passes()
    tens.flush()
    assert await outcome(mapped) == [10, 20]
    assert tens.statistics().succeeded == 3
    await tens.aclose()
    tens = make_tens()
    assert [result async for result in tens.imap([1, 2, 3])] == [10, 20, 30]
    with pytest.raises(TimeoutError):
        await tens(1, timeout=0)
    assert tens.statistics().expired == 1


async def test_task_groups_take_it():
    tens = make_tens()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(tens(item)) for item in range(3)]
    assert [task.result() for task in tasks] == [0, 10, 20]
    async with anyio.create_task_group() as group:
        group.start_soon(tens, 4)
    assert tens.statistics().succeeded == 4


def test_wrong_options_are_told_where_it_is_decorated():
    with pytest.raises(ValueError, match="max_batch_size"):
        make_tens(max_batch_size=0)
    with pytest.raises(TypeError, match="max_batch"):
        make_tens(max_batch=5)


async def test_a_function_is_not_called_before_somebody_calls_it():
    made = []

    @batched
    class Model:
        def __init__(self):
            made.append(self)

        def __call__(self, items):
            return items

    await passes()
    assert made == []
    assert await outcome(Model(1)) == 1
    assert len(made) == 1
    await Model.aclose()


# Its life


async def test_after_closing_it_says_closed_until_it_is_entered_again():
    tens = make_tens()
    assert await outcome(tens(1)) == 10
    await tens.aclose()
    await tens.aclose()
    for call in (tens, tens.map):
        assert isinstance(await outcome(call([1])), Closed)
    with pytest.raises(Closed):
        tens.submit(1)
    assert tens.statistics().succeeded == 1
    async with tens:
        assert await outcome(tens(2)) == 20
    assert isinstance(await outcome(tens(3)), Closed)


async def test_it_may_be_closed_before_it_was_called():
    tens = make_tens()
    await tens.aclose()
    assert isinstance(await outcome(tens(1)), Closed)


async def test_a_block_bounds_its_life():
    tens = make_tens(max_wait=math.inf)
    for _ in range(2):
        async with tens as inside:
            assert inside is tens
            future = tens.submit(1)
        assert future.result() == 10
        with pytest.raises(Closed):
            tens.submit(2)


async def test_a_block_may_be_entered_after_the_first_call():
    tens = make_tens()
    assert await outcome(tens(1)) == 10
    async with tens:
        assert await outcome(tens(2)) == 20
        assert tens.statistics().succeeded == 2
    with pytest.raises(Closed):
        tens.submit(3)


async def test_a_block_that_fails_tells_those_who_wait():
    tens = make_tens(max_wait=math.inf)
    with pytest.raises(KeyError):
        async with tens:
            future = tens.submit(1)
            raise KeyError
    assert isinstance(future.exception(), Closed)


def test_it_serves_one_loop_after_another_closed_or_not():
    closing, tens = make_tens(), make_tens()

    async def main():
        assert await outcome(closing(1)) == 10
        await closing.aclose()
        assert isinstance(await outcome(closing(1)), Closed)
        assert await outcome(tens(1)) == 10
        assert tens.statistics().submitted == 1

    for _ in range(3):
        asyncio.run(main())


def test_it_serves_loops_in_many_threads_at_once():
    batches = []

    @batched
    async def function(items):
        batches.append((threading.get_ident(), items))
        await asyncio.sleep(0)
        return [(threading.get_ident(), item) for item in items]

    async def main():
        barrier.wait()
        results = []
        for item in range(20):
            results += await asyncio.gather(function(item), function(-item))
        return {thread for thread, _ in results} == {threading.get_ident()}

    barrier = threading.Barrier(4, timeout=5)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert [future.result(10) for future in [pool.submit(asyncio.run, main()) for _ in range(4)]] == [True] * 4


def test_threads_of_a_loop_that_ended_are_let_go_by_the_next():
    @batched(name="let-go")
    def function(items):
        return items

    for item in range(3):
        assert asyncio.run(function(item)) == item
        gc.collect()
        assert len([thread for thread in threads_of("let-go") if thread.is_alive()]) <= 2
    del function
    gc.collect()
    for thread in threads_of("let-go"):
        thread.join(5)
        assert not thread.is_alive()


async def test_a_function_that_is_dropped_lets_its_tasks_and_threads_go():
    def function(items):
        return items

    decorated = batched(name="dropped")(function)
    assert await outcome(decorated(1)) == 1
    threads = threads_of("dropped")
    seen = weakref.ref(decorated)
    del decorated
    await passes()
    gc.collect()
    await passes()
    assert seen() is None
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


async def test_nobody_is_warned_of_one_that_is_not_closed(recwarn):
    tens = make_tens()
    assert await outcome(tens(1)) == 10
    del tens
    gc.collect()
    await passes()
    assert [str(warning.message) for warning in recwarn] == []


# Methods


class Service:
    def __init__(self, factor):
        self.factor = factor
        self.batches = []

    @batched
    async def times(self, items):
        self.batches.append(list(items))
        return [(self.factor, item * self.factor) for item in items]

    @batched(max_batch_size=2)
    def in_a_thread(self, items):
        return [item * self.factor for item in items]


async def test_each_instance_has_batches_of_its_own():
    one, two = Service(10), Service(100)
    results = await outcome(asyncio.gather(one.times(1), two.times(2), one.times(3), two.times(4)))
    assert results == [(10, 10), (100, 200), (10, 30), (100, 400)]
    assert one.batches == [[1, 3]]
    assert two.batches == [[2, 4]]
    assert one.times.statistics().succeeded == 2


async def test_two_methods_of_one_instance_do_not_mix():
    service = Service(10)
    assert await outcome(asyncio.gather(service.times(1), service.in_a_thread(2))) == [(10, 10), 20]
    assert await outcome(service.times.map([1])) == [(10, 10)]
    assert [result async for result in service.in_a_thread.imap([1, 2, 3])] == [10, 20, 30]


async def test_a_static_method_is_shared():
    class Shared:
        @staticmethod
        @batched
        async def sizes(items):
            return [len(items)] * len(items)

    async with Shared.sizes:
        assert await outcome(asyncio.gather(Shared.sizes(1), Shared().sizes(2))) == [2, 2]


async def test_closing_one_instances_method_leaves_the_others_open():
    one, two = Service(10), Service(100)
    assert await outcome(one.times(1)) == (10, 10)
    assert await outcome(two.times(1)) == (100, 100)
    await one.times.aclose()
    assert isinstance(await outcome(one.times(1)), Closed)
    assert await outcome(two.times(1)) == (100, 100)
    async with one.times:
        assert await outcome(one.times(1)) == (10, 10)


async def test_on_the_class_a_method_is_still_the_method():
    assert Service.times.__name__ == "times"
    assert await Service.times.__wrapped__(Service(10), [1]) == [(10, 10)]
    assert Service(10).times.__name__ == "times"
    assert Service(10).times.__doc__ == Service.times.__doc__
    assert "Service.times" in repr(Service.times)
    assert "Service.times" in repr(Service(10).times)


@pytest.mark.parametrize("use", ["nothing", "call", "map", "imap", "submit", "thread", "error", "cancelled"])
async def test_an_instance_is_collected_with_its_batcher(use):
    service = Service(10)
    seen = weakref.ref(service)
    match use:
        case "call":
            await outcome(service.times(1))
        case "map":
            await outcome(service.times.map([1]))
        case "imap":
            [_ async for _ in service.times.imap([1])]
        case "submit":
            await outcome(service.times.submit(1))
        case "thread":
            await outcome(service.in_a_thread(1))
        case "error":
            await outcome(service.times(None))
        case "cancelled":
            service.times.submit(1).cancel()
    threads = threads_of("in_a_thread")
    del service
    await passes()
    gc.collect()
    assert seen() is None
    await passes()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert Service.times._instances == {}
    assert Service.in_a_thread._instances == {}


async def test_an_instance_needs_no_collection_to_go():
    service = Service(10)
    seen = weakref.ref(service)
    await service.times(1)
    gc.disable()
    try:
        del service
        await passes()
        assert seen() is None
    finally:
        gc.enable()


async def test_an_instance_lives_as_long_as_its_calls():
    assert await outcome(Service(10).times(1)) == (10, 10)
    assert await outcome(Service(10).times.map([1, 2])) == [(10, 10), (10, 20)]
    assert [result async for result in Service(10).times.imap([1, 2])] == [(10, 10), (10, 20)]
    future = Service(10).times.submit(1)
    gc.collect()
    assert await outcome(future) == (10, 10)
    future = Service(10).in_a_thread.submit(2)
    gc.collect()
    assert await outcome(future) == 20
    task = asyncio.create_task(Service(10).times(3))
    gc.collect()
    assert await outcome(task) == (10, 30)
    gc.collect()
    await passes()
    for thread in threads_of("in_a_thread"):
        thread.join(5)


async def test_instances_need_neither_hash_nor_equality():
    class Unhashable:
        __hash__ = None

        def __eq__(self, other):
            raise AssertionError

        @batched
        async def who(self, items):
            return [id(self)] * len(items)

    class AllEqual(Unhashable):
        def __eq__(self, other):
            return True

        def __hash__(self):
            return 1

    for kind in (Unhashable, AllEqual):
        one, two = kind(), kind()
        assert await outcome(asyncio.gather(one.who(1), two.who(2))) == [id(one), id(two)]


async def test_data_classes_may_have_batched_methods():
    @dataclasses.dataclass
    class Data:
        factor: int

        @batched
        async def times(self, items):
            return [item * self.factor for item in items]

    assert await outcome(asyncio.gather(Data(10).times(1), Data(10).times(2), Data(3).times(3))) == [10, 20, 9]


async def test_slots_are_fine_as_long_as_there_can_be_weak_references():
    class Slotted:
        __slots__ = ("__weakref__", "factor")

        @batched
        async def times(self, items):
            return [item * self.factor for item in items]

    class TooSlotted:
        __slots__ = ()

        @batched
        async def times(self, items):
            return items

    instance = Slotted()
    instance.factor = 10
    assert await outcome(instance.times(1)) == 10
    with pytest.raises(TypeError, match="__weakref__"):
        TooSlotted().times  # noqa: B018


async def test_methods_are_inherited_and_overridden():
    class Base:
        @batched
        async def f(self, items):
            return [("base", type(self).__name__, item) for item in items]

    class Child(Base):
        pass

    class Other(Base):
        @batched
        async def f(self, items):
            return [("other", *result) for result in await super().f.map(items)]

    assert await outcome(Child().f(1)) == ("base", "Child", 1)
    assert await outcome(Other().f(2)) == ("other", "base", "Other", 2)


async def test_a_method_may_call_another_batched_method_of_its_instance():
    class Pipeline:
        @batched
        async def first(self, items):
            return [item + 1 for item in items]

        @batched
        async def second(self, items):
            return [item * 10 for item in await asyncio.gather(*map(self.first, items))]

    pipeline = Pipeline()
    assert await outcome(asyncio.gather(*map(pipeline.second, range(3)))) == [10, 20, 30]


async def test_a_new_instance_at_the_place_of_an_old_one_is_a_new_one():
    for factor in range(1, 30):
        assert await outcome(Service(factor).times(1)) == (factor, factor)
        gc.collect(0)


def test_methods_serve_one_loop_after_another():
    service = Service(10)

    async def main(item):
        return await asyncio.gather(service.times(item), service.in_a_thread(item))

    for item in range(3):
        assert asyncio.run(main(item)) == [(10, item * 10), item * 10]
    del service
    gc.collect()
    for thread in threads_of("in_a_thread"):
        thread.join(5)
        assert not thread.is_alive()


@pytest.mark.virtual
async def test_an_instance_whose_callers_all_left_is_collected():
    class Slow:
        @batched
        async def hang(self, items):
            await asyncio.Event().wait()

    slow = Slow()
    seen = weakref.ref(slow)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            await slow.hang(1)
    del slow
    await passes(10)
    gc.collect()
    gc.collect()
    assert seen() is None


async def test_options_hold_for_every_instance():
    class Limited:
        @batched(max_batch_size=3, executor=ThreadExecutor(2), name="limited")
        def sizes(self, items):
            return [len(items)] * len(items)

    one = Limited()
    assert max(await outcome(one.sizes.map(range(9)))) == 3
    await one.sizes.aclose()
