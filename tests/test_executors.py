"""Where the function runs: on the loop, in threads, in any `concurrent.futures.Executor`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import dataclasses
import gc
import math
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import anyio
from callers import outcome, outcomes, passes, running
import pytest

from asyncbatch import (
    batched,
    AsyncBatchError,
    Batcher,
    Closed,
    FunctionFailed,
    FuturesExecutor,
    InlineExecutor,
    OutputTypeError,
    RayExecutor,
    ThreadExecutor,
)
from asyncbatch.executors import ray as ray_room
from asyncbatch.executors.aside import Aside
from asyncbatch.testing import RecordingFunction

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")


class Gated:
    """A function for threads that tells the loop when it runs, and waits to be let go."""

    def __init__(self):
        self.batches = []
        self.running = self.most_running = 0
        self.gate = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._entered = asyncio.Semaphore(0)
        self._lock = threading.Lock()

    async def entered(self):
        async with asyncio.timeout(10):
            await self._entered.acquire()

    def __call__(self, items):
        with self._lock:
            self.batches.append(list(items))
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        self._loop.call_soon_threadsafe(self._entered.release)
        opened = self.gate.wait(5)
        with self._lock:
            self.running -= 1
        assert opened
        return items


def thread_of(items):
    return [threading.current_thread()] * len(items)


# Which one


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(ray_room, "ray", None)
    with pytest.raises(ImportError, match=r"pip install asyncbatch\[ray\]"):
        RayExecutor()


async def test_async_functions_run_on_the_loop_and_others_in_a_thread():
    async def on_the_loop(items):
        return thread_of(items)

    async with running(on_the_loop) as batcher:
        assert await outcome(batcher(1)) is threading.current_thread()
    async with running(thread_of) as batcher:
        assert await outcome(batcher(1)) is not threading.current_thread()
    async with running(thread_of, executor="inline") as batcher:
        assert await outcome(batcher(1)) is threading.current_thread()
    async with running(thread_of, executor="thread") as batcher:
        assert await outcome(batcher(1)) is not threading.current_thread()


async def test_threads_carry_the_name_of_the_batcher():
    async with running(thread_of, name="embed") as batcher:
        assert "embed" in (await outcome(batcher(1))).name
        assert "asyncbatch" in (await outcome(batcher(1))).name


async def test_an_async_function_is_refused_by_threads_and_pools():
    async def function(items):
        return items

    class Model:
        async def __call__(self, items):
            return items

    with concurrent.futures.ThreadPoolExecutor() as pool:
        for each in (function, Model, Model()):
            for executor in ("thread", ThreadExecutor(), pool, FuturesExecutor(pool)):
                with pytest.raises(TypeError, match="async"):
                    async with Batcher(each, executor=executor):
                        pass


async def test_a_pool_cannot_hold_a_class():
    class Model:
        def __call__(self, items):
            return items

    with concurrent.futures.ThreadPoolExecutor() as pool:
        with pytest.raises(TypeError, match="Model"):
            async with Batcher(Model, executor=pool):
                pass


async def test_an_executor_of_ones_own_needs_a_capacity_and_open():
    class Slot:
        cancellable = True
        available = True

        async def prepare(self):
            raise AssertionError

        async def run(self, items, context):
            return [item * 10 for item in items]

        def close(self):
            closed.append(self)

    class Own:
        capacity = 2

        def open(self, function, name, count):
            return [Slot() for _ in range(count)]

    closed = []
    async with running(lambda items: items, executor=Own()) as batcher:
        assert await outcomes(batcher, 1, 2) == [10, 20]
    assert len(closed) == 2


# Inline


@pytest.mark.virtual
async def test_inline_runs_as_many_batches_at_once_as_it_was_told():
    function = RecordingFunction(seconds=1)
    async with running(function, executor=InlineExecutor(concurrency=3), max_batch_size=2) as batcher:
        await outcome(batcher.map(range(12)))
        assert function.most_running == 3
        assert asyncio.get_running_loop().time() == 2


async def test_a_class_is_built_once_for_each_inline_slot():
    built = []

    class Model:
        def __init__(self):
            built.append(self)

        async def __call__(self, items):
            await asyncio.sleep(0)
            return [id(self)] * len(items)

    async with running(Model, executor=InlineExecutor(2), max_batch_size=1) as batcher:
        assert set(await outcomes(batcher, *range(10))) == {id(model) for model in built}
        assert len(built) == 2


# Threads


async def test_a_class_is_built_once_in_each_thread_before_the_first_call():
    built = []

    class Model:
        def __init__(self):
            built.append(threading.current_thread())

        def __call__(self, items):
            both.wait()
            return thread_of(items)

    both = threading.Barrier(2, timeout=5)
    async with running(Model, executor=ThreadExecutor(2), max_batch_size=1) as batcher:
        for _ in range(3):
            assert set(await outcomes(batcher, 1, 2)) == set(built)
        assert len(built) == 2
        assert threading.current_thread() not in built


@pytest.mark.parametrize("executor", ["inline", "thread"])
async def test_a_class_that_cannot_be_built_fails_its_callers_and_is_tried_again(executor):
    attempts = 0

    class Model:
        def __init__(self):
            nonlocal attempts
            attempts += 1
            if attempts < 3:
                raise OSError(f"attempt {attempts}")

        def __call__(self, items):
            return items

    with pytest.raises(OSError, match="attempt 1"):
        async with Batcher(Model, executor=executor):
            pass
    attempts = 0
    batcher = batched(Model, executor=executor)  # it starts with the first call, so that is where it is told
    async with contextlib.aclosing(batcher):
        one, two = await outcomes(batcher, 1, 2)
        assert isinstance(one, OSError)
        assert isinstance(two, OSError)
        assert one is not two
        await outcome(batcher(3))  # the third attempt at the latest, and the second if the first was made for nobody
        assert await outcome(batcher(4)) == 4
        assert attempts == 3


@pytest.mark.parametrize("executor", ["inline", "thread"])
async def test_a_class_that_cannot_be_built_is_tried_for_nobody_once(executor):
    attempts = []

    class Model:
        def __init__(self):
            attempts.append(1)
            raise OSError

        def __call__(self, items):
            return items

    with pytest.raises(OSError):
        async with Batcher(Model, executor=executor):
            pass
    batcher = batched(Model, executor=executor)
    async with contextlib.aclosing(batcher):
        await outcome(batcher(1))
        tried = len(attempts)
        batcher.flush()
        await passes()
        assert len(attempts) == tried
    await passes()
    assert len(attempts) == tried


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit, StopIteration])
@pytest.mark.parametrize("executor", ["inline", "thread"])
async def test_a_class_that_raises_the_oddest_things_does_not_hang_its_callers(executor, error):
    class Model:
        def __init__(self):
            raise error

        def __call__(self, items):
            return items

    with pytest.raises(RuntimeError, match=error.__name__):
        async with Batcher(Model, executor=executor):
            pass
    batcher = batched(Model, executor=executor)
    async with contextlib.aclosing(batcher):
        for _ in range(3):
            assert isinstance(await outcome(batcher(1)), RuntimeError)


async def test_two_workers_work_at_the_same_time():
    both = threading.Barrier(2, timeout=5)

    def function(items):
        both.wait()
        return items

    async with running(function, executor=ThreadExecutor(workers=2), max_batch_size=1) as batcher:
        assert await outcomes(batcher, *range(6)) == list(range(6))


async def test_no_more_batches_run_than_there_are_workers():
    function = Gated()
    async with running(function, executor=ThreadExecutor(workers=2), max_batch_size=1) as batcher:
        tasks = [asyncio.create_task(batcher(item)) for item in range(6)]
        await function.entered()
        await function.entered()
        await passes()
        assert batcher.statistics().in_flight == 2
        assert batcher.statistics().queued == 4
        function.gate.set()
        assert await outcome(asyncio.gather(*tasks)) == list(range(6))
        assert function.most_running <= 2


async def test_a_thread_is_taken_until_its_work_ends_though_all_callers_left():
    function = Gated()
    async with running(function) as batcher:
        left = asyncio.create_task(batcher("left"))
        await function.entered()
        left.cancel()
        await passes()
        assert batcher.statistics().in_flight == 0
        stays = asyncio.create_task(batcher("stays"))
        await passes(20)
        assert function.batches == [["left"]]
        function.gate.set()
        assert await outcome(stays) == "stays"
        assert function.most_running == 1
        assert function.batches == [["left"], ["stays"]]


@contextlib.asynccontextmanager
async def its_task_cancelled(function):
    """A batcher whose own task was cancelled while its thread runs the function, which it still does."""
    async with running(function) as batcher:
        first = asyncio.create_task(outcome(batcher("first")))
        await function.entered()
        for task in asyncio.all_tasks():
            if task.get_name().startswith("asyncbatch"):
                task.cancel()
        assert isinstance(await first, Closed)
        yield batcher


async def test_a_thread_is_taken_until_its_work_ends_though_its_task_was_cancelled():
    function = Gated()
    async with its_task_cancelled(function) as batcher:
        second = asyncio.create_task(batcher("second"))
        await passes(20)
        third = asyncio.create_task(batcher("third"))
        await passes(20)
        function.gate.set()
        assert await outcome(asyncio.gather(second, third)) == ["second", "third"]
        assert function.batches == [["first"], ["second", "third"]]
        assert function.most_running == 1


@pytest.mark.virtual
async def test_the_virtual_clock_waits_for_a_thread_whose_task_was_cancelled():
    function = Gated()
    async with its_task_cancelled(function) as batcher:
        second = batcher.submit("second", timeout=1)
        function.gate.set()
        assert await outcome(second) == "second"


async def test_one_caller_that_leaves_a_thread_spares_the_other():
    function = Gated()
    async with running(function, max_batch_size=2, max_wait=math.inf) as batcher:
        leaves, stays = asyncio.create_task(batcher("leaves")), asyncio.create_task(batcher("stays"))
        await function.entered()
        leaves.cancel()
        await passes()
        function.gate.set()
        assert await outcome(stays) == "stays"


@pytest.mark.parametrize(
    "error", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, StopIteration, StopAsyncIteration]
)
async def test_nothing_that_a_thread_raises_gets_past_its_callers(error):
    errors = [error]

    def function(items):
        if errors:
            raise errors.pop()
        return items

    async with running(function) as batcher:
        one, two = await outcomes(batcher, 1, 2)
        assert isinstance(one, StopAsyncIteration if error is StopAsyncIteration else RuntimeError)
        assert not isinstance(one, AsyncBatchError)
        assert isinstance(one.__cause__, error) or type(one) is error
        assert one is not two
        assert await outcome(batcher(3)) == 3
        assert batcher.statistics().failed == 2


async def test_an_exhausted_iterator_in_a_thread_is_an_error_and_no_hang():
    async with running(lambda items: [next(iter(())) for _ in items]) as batcher:
        error = await outcome(batcher(1))
        assert isinstance(error, RuntimeError)
        assert isinstance(error.__cause__, StopIteration)


async def test_what_a_thread_raises_shows_where():
    def deep():
        raise ValueError("x")

    def function(items):
        deep()

    async with running(function) as batcher:
        error = await outcome(batcher(1))
        names = []
        trace = error.__traceback__
        while trace:
            names.append(trace.tb_frame.f_code.co_name)
            trace = trace.tb_next
        assert names[-2:] == ["function", "deep"]


async def test_an_awaitable_from_a_thread_is_awaited_on_the_loop():
    async def on_the_loop(items, thread):
        await asyncio.sleep(0)
        return [(threading.current_thread(), thread)] * len(items)

    def function(items):
        return on_the_loop(items, threading.current_thread())

    async with running(function) as batcher:
        loop_thread, first_thread = await outcome(batcher(1))
        assert loop_thread is threading.current_thread()
        assert first_thread is not loop_thread


async def test_each_batch_in_a_thread_has_a_fresh_context():
    seen = []

    def function(items):
        seen.append(variable.get())
        variable.set("of the batch before")
        return [variable.get()] * len(items)

    variable.set("of the caller")
    async with running(function) as batcher:
        for _ in range(3):
            assert await outcome(batcher(1)) == "of the batch before"
    assert seen == ["default"] * 3


async def test_a_thread_and_the_coroutine_it_made_share_one_context():
    async def on_the_loop(items):
        seen.append(variable.get())
        await asyncio.sleep(0)
        seen.append(variable.get())
        return items

    def function(items):
        variable.set("of the thread")
        return on_the_loop(items)

    seen = []
    async with running(function) as batcher:
        assert await outcome(batcher(1)) == 1
    assert seen == ["of the thread"] * 2


def test_work_of_others_in_the_default_executor_holds_nobody_up():
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(2))
        gate = threading.Event()
        others = [loop.run_in_executor(None, gate.wait, 10) for _ in range(4)]
        limiter = anyio.to_thread.current_default_thread_limiter()
        limiter.total_tokens = 1
        others.append(asyncio.ensure_future(anyio.to_thread.run_sync(gate.wait, 10)))
        await passes()
        try:
            async with Batcher(lambda items: items) as batcher:
                return await outcome(batcher("served"))
        finally:
            gate.set()
            await asyncio.gather(*others)

    assert asyncio.run(main()) == "served"


async def test_no_thread_starts_before_there_is_work_for_it():
    before = threading.active_count()
    async with running(lambda items: items, executor=ThreadExecutor(4)) as batcher:
        await passes()
        assert threading.active_count() == before
        await outcome(batcher(1))
        assert threading.active_count() == before + 1


async def test_threads_end_with_their_batcher():
    before = set(threading.enumerate())
    async with running(lambda items: items, executor=ThreadExecutor(2), max_batch_size=1) as batcher:
        await outcomes(batcher, 1, 2, 3, 4)
        started = set(threading.enumerate()) - before
        assert started
    kept = [weakref.ref(thread) for thread in started]
    while started:
        thread = started.pop()
        thread.join(5)
        assert not thread.is_alive()
    del thread
    gc.collect()
    assert [each() for each in kept] == [None] * 2


async def test_a_slot_in_a_thread_tells_for_how_long_its_last_batch_worked():
    def function(items):
        until = time.thread_time() + items[0]
        while time.thread_time() < until:
            pass
        return items

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for executor in (ThreadExecutor(), FuturesExecutor(pool)):
            (slot,) = executor.open(function, "works", 1)
            assert slot.where == "thread"
            await slot.run([0.002], contextvars.Context())
            assert slot.worked >= 0.002
            await slot.run([0], contextvars.Context())
            assert slot.worked < 0.002
            slot.close()


async def test_a_thread_ends_with_its_slot_though_nobody_closed_that():
    (slot,) = ThreadExecutor().open(thread_of, "embed", 1)
    (thread,) = await slot.run([1], contextvars.Context())
    del slot
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


async def test_a_thread_keeps_nothing_of_a_batch_while_it_waits_for_the_next():
    class Thing:
        pass

    async with running(lambda items: [Thing() for _ in items]) as batcher:
        thing = Thing()
        gone = [weakref.ref(thing), weakref.ref(await outcome(batcher(thing)))]
        del thing
        await outcome(batcher(2))  # by then it is done with the first, and may still hold what it gave for this one
        gc.collect()
        assert [each() for each in gone] == [None, None]


async def test_what_a_thread_raised_is_gone_with_whoever_had_it_and_needs_no_collector():
    def function(items):
        if items == ["bad"]:
            raise Unhappy
        return items

    class Unhappy(Exception):
        pass

    (slot,) = ThreadExecutor().open(function, "embed", 1)
    gc.disable()
    try:
        with contextlib.suppress(Unhappy):
            try:
                await slot.run(["bad"], contextvars.Context())
            except Unhappy as error:
                gone = weakref.ref(error)
                raise
        await slot.run(["good"], contextvars.Context())  # by then the thread holds nothing of the first
        assert gone() is None
    finally:
        gc.enable()
        slot.close()


async def test_after_it_was_closed_a_thread_refuses_work_instead_of_leaving_it_undone():
    aside = Aside("of a test")
    assert await aside.run(int, "5") == 5
    assert aside.close(None) is None
    with pytest.raises(RuntimeError, match="closed"):
        aside.submit(int, "6")
    assert aside.close(print) is None


async def test_a_thread_that_was_never_needed_runs_what_it_is_closed_with():
    aside, done = Aside("of a test"), []
    ended = aside.close(lambda: done.append(threading.current_thread()))
    await asyncio.wrap_future(ended)
    assert done != [threading.current_thread()]
    assert len(done) == 1


async def test_what_a_thread_is_closed_with_may_fail():
    aside = Aside("of a test")
    ended = aside.close(lambda: 1 / 0)
    await asyncio.wrap_future(ended)


@pytest.mark.virtual
async def test_the_virtual_clock_stands_still_while_a_thread_works_and_no_longer():
    loop = asyncio.get_running_loop()

    def function(items):
        told = concurrent.futures.Future()
        loop.call_soon_threadsafe(lambda: told.set_result(loop.time()))
        return [told.result(5)] * len(items)

    timer = loop.call_later(3600, print)
    async with running(function) as batcher:
        for now in range(3):
            assert await outcome(batcher(1)) == now
            await asyncio.sleep(1)
    timer.cancel()


def test_a_thread_whose_loop_was_closed_ends_without_noise(capsys):
    entered, let_go = threading.Event(), threading.Event()

    def function(items):
        entered.set()
        let_go.wait(5)
        return thread_of(items)

    loop = asyncio.new_event_loop()
    (slot,) = ThreadExecutor().open(function, "embed", 1)
    working = loop.create_task(slot.run([1], contextvars.Context()))
    loop.run_until_complete(asyncio.sleep(0))
    assert entered.wait(5)
    working.cancel()
    loop.run_until_complete(asyncio.wait([working]))
    loop.close()
    let_go.set()
    slot.close()
    for thread in threading.enumerate():
        if thread.name == "asyncbatch embed":
            thread.join(5)
            assert not thread.is_alive()
    assert capsys.readouterr() == ("", "")


# Any concurrent.futures.Executor


async def test_a_pool_stays_its_owners():
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for _ in range(2):
            async with running(thread_of, executor=pool) as batcher:
                assert await outcome(batcher(1)) in pool._threads
        assert pool.submit(int).result(5) == 0


@pytest.mark.parametrize(("concurrency", "expected"), [(None, 3), (2, 2)])
async def test_a_pool_gets_as_many_batches_as_it_has_workers_or_as_told(concurrency, expected):
    function = Gated()
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        async with running(function, executor=FuturesExecutor(pool, concurrency), max_batch_size=1) as batcher:
            tasks = [asyncio.create_task(batcher(item)) for item in range(6)]
            for _ in range(expected):
                await function.entered()
            await passes(20)
            assert len(function.batches) == expected
            function.gate.set()
            assert await outcome(asyncio.gather(*tasks)) == list(range(6))
            assert function.most_running <= expected


class Minimal(concurrent.futures.Executor):
    """Works in the thread that submits, as some test doubles and debugging executors do."""

    def submit(self, function, /, *args, **kwargs):
        future = concurrent.futures.Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class Failing(concurrent.futures.Executor):
    """The work never gets a chance: `submit` raises, or its future has an error."""

    def __init__(self, error, *, in_future):
        self.error, self.in_future = error, in_future

    def submit(self, function, /, *args, **kwargs):
        if not self.in_future:
            raise self.error
        future = concurrent.futures.Future()
        future.set_running_or_notify_cancel()
        future.set_exception(self.error)
        return future


async def test_the_plainest_executor_will_do():
    async with running(lambda items: [item * 10 for item in items], executor=Minimal()) as batcher:
        assert await outcomes(batcher, 1, 2) == [10, 20]
    async with running(lambda items: [next(iter(()))], executor=Minimal()) as batcher:
        assert isinstance(await outcome(batcher(1)), RuntimeError)


@pytest.mark.parametrize("in_future", [True, False])
@pytest.mark.parametrize(
    "error", [RuntimeError, OSError, concurrent.futures.BrokenExecutor, concurrent.futures.CancelledError]
)
async def test_an_executor_that_fails_tells_the_callers(error, in_future):
    async with running(lambda items: items, executor=Failing(error("x"), in_future=in_future)) as batcher:
        for _ in range(2):
            one, two = await outcomes(batcher, 1, 2)
            assert isinstance(one, (error, RuntimeError))
            assert not isinstance(one, asyncio.CancelledError)
            assert one is not two


async def test_what_an_executor_failed_with_is_not_kept():
    executor = Failing(TwoArguments(5, "x"), in_future=True)
    seen = weakref.ref(executor.error)
    async with running(lambda items: items, executor=executor) as batcher:
        assert isinstance(await outcome(batcher(1)), TwoArguments)
        executor.error = None
        await passes()
        gc.collect()
        assert seen() is None


async def test_a_pool_that_was_shut_down_is_an_error_and_no_hang():
    pool = concurrent.futures.ThreadPoolExecutor(1)
    async with running(lambda items: items, executor=pool) as batcher:
        assert await outcome(batcher(1)) == 1
        pool.shutdown()
        assert isinstance(await outcome(batcher(2)), RuntimeError)


async def test_work_that_the_pool_dropped_is_an_error_and_no_cancellation():
    function = Gated()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    async with running(function, executor=FuturesExecutor(pool, 2), max_batch_size=1) as batcher:
        first, second = asyncio.create_task(batcher(1)), asyncio.create_task(outcome(batcher(2)))
        await function.entered()
        await passes(20)
        pool.shutdown(wait=False, cancel_futures=True)
        error = await second
        assert isinstance(error, RuntimeError)
        function.gate.set()
        assert await outcome(first) == 1
    pool.shutdown()


# Processes: these functions must be importable by name.


def tens(items):
    return [item * 10 for item in items]


def pid(items):
    return [os.getpid()] * len(items)


class TwoArguments(Exception):
    def __init__(self, code, detail):
        super().__init__(f"{code}: {detail}")
        self.code = code


class Locking(Exception):
    def __init__(self):
        super().__init__("x")
        self.lock = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


class BreaksWhenUnpickled(Exception):
    def __reduce__(self):
        return _break, ()


def _break():
    raise ValueError("as told")


def raise_it(items):
    raise items[0]


def raise_value_error(items):
    raise ValueError("x", 5)


def raise_two_arguments(items):
    raise TwoArguments(5, "x")


def raise_locking(items):
    raise Locking


def raise_frozen(items):
    raise Frozen(5)


def raise_breaking(items):
    raise BreaksWhenUnpickled


def raise_system_exit(items):
    raise SystemExit(3)


def raise_stop_iteration(items):
    raise StopIteration


def raise_cancelled(items):
    raise asyncio.CancelledError


def return_none(items):
    return None


def return_locks(items):
    return [threading.Lock() for _ in items]


def return_an_error(items):
    return [items[0], ValueError("x")]


def die(items):
    os._exit(9)


def read_variable(items):
    return [variable.get()] * len(items)


@pytest.fixture(scope="module", params=["forkserver", "spawn"])
def pool(request):
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context(request.param)) as pool:
        pool.submit(int).result(30)  # so that its threads are there before any test begins
        yield pool


async def test_a_process_pool_works_in_another_process(pool):
    async with running(pid, executor=pool) as batcher:
        assert await outcome(batcher(1)) != os.getpid()
    async with running(tens, executor=pool, max_batch_size=4) as batcher:
        assert await outcome(batcher.map(range(10))) == tens(range(10))


ERRORS = {
    raise_value_error: ValueError,
    raise_two_arguments: (TwoArguments, RuntimeError),
    raise_locking: (Locking, RuntimeError),
    raise_frozen: (Frozen, RuntimeError),
    raise_breaking: (BreaksWhenUnpickled, RuntimeError),
    raise_system_exit: RuntimeError,
    raise_stop_iteration: RuntimeError,
    raise_cancelled: RuntimeError,
    return_none: OutputTypeError,
    return_locks: TypeError,
}


@pytest.mark.virtual
@pytest.mark.parametrize("function", ERRORS)
async def test_whatever_happens_in_a_process_its_callers_are_told_and_the_pool_survives(function, pool):
    async with running(function, executor=pool) as batcher:
        one, two = await outcomes(batcher, 1, 2)
        assert isinstance(one, ERRORS[function])
        assert not isinstance(one, concurrent.futures.BrokenExecutor)
        assert one is not two
    async with running(tens, executor=pool) as batcher:
        assert await outcome(batcher(1)) == 10


@pytest.mark.virtual
async def test_an_error_of_a_process_says_where_it_came_from(pool):
    for function in (raise_value_error, raise_two_arguments, raise_frozen):
        async with running(function, executor=pool) as batcher:
            error = await outcome(batcher(1))
            told = "".join(error.__notes__) if not isinstance(error, FunctionFailed) else repr(error.__cause__.__notes__)
            assert function.__name__ in told


@pytest.mark.virtual
async def test_one_result_that_is_an_error_comes_back_from_a_process(pool):
    async with running(return_an_error, executor=pool) as batcher:
        one, two = await outcomes(batcher, 1, 2)
        assert one == 1
        assert isinstance(two, ValueError)


@pytest.mark.virtual
async def test_an_item_that_does_not_pickle_fails_its_batch_only(pool):
    async with running(tens, executor=pool) as batcher:
        assert isinstance(await outcome(batcher(threading.Lock())), TypeError)
        assert await outcome(batcher(2)) == 20


@pytest.mark.virtual
async def test_a_function_that_does_not_pickle_is_an_error_and_no_hang(pool):
    async with running(lambda items: items, executor=pool) as batcher:
        assert isinstance(await outcome(batcher(1)), Exception)


@pytest.mark.virtual
async def test_context_variables_stay_in_this_process(pool):
    variable.set("of the caller")
    async with running(read_variable, executor=pool) as batcher:
        assert await outcome(batcher(1)) == "default"


@pytest.mark.virtual
async def test_a_worker_that_dies_fails_its_callers_and_no_later_one_hangs():
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("forkserver")) as pool:
        async with running(die, executor=pool) as batcher:
            for _ in range(2):
                one, two = await outcomes(batcher, 1, 2)
                assert isinstance(one, concurrent.futures.BrokenExecutor)
                assert one is not two


# Hung work and the end of the process


def test_a_process_with_hung_threads_still_ends_its_loop():
    script = """
        import asyncio, threading
        from asyncbatch import Batcher, Closed

        gate = threading.Event()

        async def main():
            batcher = Batcher(lambda items: gate.wait() and items)
            async with batcher:
                task = asyncio.ensure_future(batcher(1))
                await asyncio.sleep(0.05)
                await batcher.aclose(timeout=0.05)
            try:
                await task
            except Closed:
                print("closed")

        asyncio.run(main())
        print("loop ended")
        gate.set()
    """
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=30
    )
    assert ran.stdout.split("\n") == ["closed", "loop ended", ""]
    assert ran.stderr == ""
