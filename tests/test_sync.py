"""The batcher for threads: many threads share batches, nobody hangs, and it ends cleanly."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import gc
import math
import random
import subprocess
import sys
import textwrap
import threading
import time
import warnings
import weakref

import pytest

from asyncbatch import Closed, DeadlineExceeded, Fifo, InlineExecutor, QueueFull, WouldDeadlock
from asyncbatch.sync import Batcher

PATIENCE = 5  # a caller that waits longer hangs

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")


@contextlib.contextmanager
def running(function, **options):
    """A batcher that does not hold up a test that has failed."""
    with Batcher(function, **options) as batcher:
        try:
            yield batcher
        except BaseException:
            batcher.close(drain=False, timeout=0)
            raise


def tens(items):
    return [item * 10 for item in items]


def in_threads(call, items):
    """Call it with each item, in a thread each, and return what came of it in order."""

    def kept(item):
        try:
            return call(item)
        except BaseException as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(len(items)) as pool:
        return [future.result(PATIENCE) for future in [pool.submit(kept, item) for item in items]]


def until(condition):
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + PATIENCE


def error_of(future):
    return future.exception(PATIENCE)


class Gated:
    """A function that tells when it runs, and waits to be let go."""

    def __init__(self):
        self.batches = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()

    def __call__(self, items):
        self.batches.append(list(items))
        self.entered.release()
        assert self.gate.wait(PATIENCE)
        return items

    def wait(self):
        assert self.entered.acquire(timeout=PATIENCE)


def test_a_call_blocks_until_its_result_is_there():
    with running(tens) as batcher:
        assert batcher(1) == 10
        assert batcher.map([1, 2, 3]) == [10, 20, 30]
        assert batcher.map([]) == []
        assert batcher.submit(4).result(PATIENCE) == 40


@pytest.mark.parametrize("kind", ["sync", "async", "class"])
def test_every_kind_of_function_works(kind):
    async def on_the_loop(items):
        await asyncio.sleep(0)
        return tens(items)

    class Model:
        def __call__(self, items):
            return tens(items)

    with running({"sync": tens, "async": on_the_loop, "class": Model}[kind]) as batcher:
        assert batcher(1) == 10


def test_threads_share_a_batch():
    batches = []

    def function(items):
        batches.append(len(items))
        return tens(items)

    with running(function, max_batch_size=8, max_wait=math.inf) as batcher:
        assert in_threads(batcher, range(8)) == tens(range(8))
    assert batches == [8]


def test_many_threads_get_their_own_results():
    def calls(seed):
        dice = random.Random(seed)
        for _ in range(40):
            item = dice.random()
            match dice.randrange(3):
                case 0:
                    assert batcher(item) == item * 10
                case 1:
                    assert batcher.map([item, -item]) == [item * 10, item * -10]
                case _:
                    assert batcher.submit(item).result(PATIENCE) == item * 10
        return "fine"

    with running(tens, max_batch_size=7, queue=Fifo(16)) as batcher:
        assert in_threads(calls, range(12)) == ["fine"] * 12
        statistics = batcher.statistics()
        assert statistics.submitted == statistics.succeeded > 12 * 40
        assert statistics.queued == statistics.in_flight == 0


def test_each_thread_gets_an_exception_of_its_own():
    def function(items):
        raise ValueError("for all")

    with running(function, max_batch_size=3, max_wait=math.inf) as batcher:
        errors = in_threads(batcher, range(3))
        assert [type(error) for error in errors] == [ValueError] * 3
        assert len({id(error) for error in errors}) == 3
        futures = [batcher.submit(item) for item in range(3)]
        assert [type(error_of(future)) for future in futures] == [ValueError] * 3


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, StopIteration])
def test_nothing_that_a_function_raises_gets_past_its_callers(error):
    errors = [error]

    def function(items):
        if errors:
            raise errors.pop()
        return items

    with running(function) as batcher:
        assert isinstance(error_of(batcher.submit(1)), RuntimeError)
        assert batcher.submit(2).result(PATIENCE) == 2


@pytest.mark.parametrize("error", [GeneratorExit, asyncio.CancelledError, StopIteration])
def test_nothing_that_an_async_function_raises_leaves_a_thread_hanging(error):
    async def function(items):
        if items[0] == "bad":
            raise error
        return items

    with running(function) as batcher:
        assert isinstance(error_of(batcher.submit("bad")), RuntimeError)
        assert batcher.submit("good").result(PATIENCE) == "good"


@pytest.mark.parametrize("error", ["SystemExit", "KeyboardInterrupt"])
def test_exit_from_an_async_function_leaves_no_thread_hanging(error):
    script = f"""
        import asyncbatch, asyncbatch.sync

        async def function(items):
            if items[0] == "bad":
                raise {error}
            return items

        batcher = asyncbatch.sync.Batcher(function)
        print(isinstance(batcher.submit("bad").exception({PATIENCE}), RuntimeError))
        try:
            print(batcher.submit("good").result({PATIENCE}) == "good")
        except asyncbatch.AsyncBatchError:
            print(True)
        batcher.close(timeout={PATIENCE})
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=30)
    assert (ran.returncode, ran.stdout.split()) == (0, ["True", "True"])


def test_a_timeout_includes_the_time_in_the_queue():
    function = Gated()
    with running(function) as batcher:
        first = batcher.submit(1)
        function.wait()
        with pytest.raises(DeadlineExceeded):
            batcher(2, timeout=0)
        with pytest.raises(TimeoutError):
            batcher(2, timeout=0.001)
        with pytest.raises(DeadlineExceeded):
            batcher.map([2, 3], timeout=0.001)
        function.gate.set()
        assert first.result(PATIENCE) == 1
        assert batcher(4, timeout=PATIENCE) == 4
        assert function.batches == [[1], [4]]


def test_a_future_that_is_cancelled_leaves_the_queue():
    function = Gated()
    with running(function) as batcher:
        first = batcher.submit(1)
        function.wait()
        left, stays = batcher.submit(2), batcher.submit(3)
        assert left.cancel()
        until(lambda: batcher.statistics().queued == 1)
        function.gate.set()
        assert [first.result(PATIENCE), stays.result(PATIENCE)] == [1, 3]
        assert function.batches == [[1], [3]]
        assert batcher.statistics().cancelled == 1


def test_a_full_queue_keeps_threads_waiting_or_turns_them_away():
    function = Gated()
    with running(function, max_batch_size=1, queue=Fifo(1)) as batcher:
        futures = [batcher.submit(item) for item in range(4)]
        function.wait()
        assert batcher.statistics().waiting_for_room == 2
        function.gate.set()
        assert [future.result(PATIENCE) for future in futures] == [0, 1, 2, 3]
    function = Gated()
    with running(function, max_batch_size=1, queue=Fifo(1, "reject")) as batcher:
        first = batcher.submit(0)
        function.wait()
        second = batcher.submit(1)
        with pytest.raises(QueueFull):
            batcher(2)
        function.gate.set()
        assert [first.result(PATIENCE), second.result(PATIENCE)] == [0, 1]


def test_flush_lets_all_leave_that_wait():
    with running(tens, max_wait=math.inf) as batcher:
        futures = [batcher.submit(item) for item in range(3)]
        batcher.flush()
        assert [future.result(PATIENCE) for future in futures] == [0, 10, 20]
        assert batcher.statistics().reasons == {"flush": 1}


def test_no_thread_starts_before_the_first_call():
    before = threading.active_count()
    batcher = Batcher(tens)
    assert threading.active_count() == before
    batcher.close()
    assert threading.active_count() == before


def test_no_batch_runs_in_the_context_of_a_calling_thread():
    seen = []

    def function(items):
        seen.append(variable.get())
        variable.set("of an earlier batch")
        return items

    async def on_the_loop(items):
        return function(items)

    variable.set("of the caller")
    for each in (function, on_the_loop):
        with running(each) as batcher:
            batcher(1)
            batcher(2)
            batcher.map([3])
    assert seen == ["default"] * 6


# In the wrong place


def test_an_event_loop_is_not_blocked_and_the_item_does_not_run():
    seen = []

    def function(items):
        seen.extend(items)
        return items

    async def main():
        for item in range(50):
            with pytest.raises(WouldDeadlock, match="await"):
                batcher(item)
            with pytest.raises(WouldDeadlock):
                batcher.map([item])
            with pytest.raises(WouldDeadlock):
                batcher.flush()

    with running(function) as batcher:
        assert batcher("warm") == "warm"
        asyncio.run(main())
        assert batcher("after") == "after"
        assert seen == ["warm", "after"]


def test_a_future_may_be_awaited_in_an_event_loop():
    async def main():
        return await asyncio.wait_for(asyncio.wrap_future(batcher.submit(1)), PATIENCE)

    with running(tens) as batcher:
        assert asyncio.run(main()) == 10


@pytest.mark.parametrize("how", ["call", "submit", "map"])
def test_a_function_that_waits_for_its_own_batcher_is_told_instead_of_hanging(how):
    def function(items):
        if items[0] == "inner":
            return items
        if how == "call":
            return [batcher("inner")]
        if how == "submit":
            return [batcher.submit("inner").result(PATIENCE)]
        return batcher.map(["inner"])

    with running(function) as batcher:
        assert isinstance(error_of(batcher.submit("outer")), WouldDeadlock)
        assert batcher("inner") == "inner"


def test_an_async_function_that_calls_its_own_batcher_is_told_instead_of_hanging():
    async def function(items):
        return [batcher("inner")]

    with running(function, executor=InlineExecutor(2)) as batcher:
        assert isinstance(error_of(batcher.submit("outer")), WouldDeadlock)


def test_a_function_may_close_its_own_batcher():
    def function(items):
        batcher.close()
        return items

    with running(function) as batcher:
        assert batcher.submit(1).result(PATIENCE) == 1
        with pytest.raises(Closed):
            batcher(2)


def test_a_function_the_executor_cannot_run_is_refused_and_no_thread_is_left():
    async def function(items):
        return items

    before = set(threading.enumerate())
    with pytest.raises(TypeError, match="async"):
        with running(function, executor="thread") as batcher:
            batcher(1)
    assert set(threading.enumerate()) == before


# Closing


def test_leaving_the_block_answers_all_who_wait():
    function = Gated()
    with running(function, max_batch_size=1, queue=Fifo(2)) as batcher:
        futures = [batcher.submit(item) for item in range(5)]
        function.wait()
        function.gate.set()
    assert [future.result(0) for future in futures] == [0, 1, 2, 3, 4]
    for call in (batcher, batcher.submit, batcher.map, lambda _: batcher.flush()):
        with pytest.raises(Closed):
            call([1])


def test_a_block_that_fails_tells_those_who_wait():
    function = Gated()
    with pytest.raises(KeyError):
        with Batcher(function, max_batch_size=1) as batcher:
            futures = [batcher.submit(item) for item in range(3)]
            function.wait()
            # Lets go only once the others were told: a batch that runs is waited for.
            futures[1].add_done_callback(lambda _: function.gate.set())
            raise KeyError
    assert futures[0].result(0) == 0
    assert [type(error_of(future)) for future in futures[1:]] == [Closed] * 2


def test_past_its_timeout_closing_tells_everybody():
    function = Gated()
    with running(function, max_batch_size=1, queue=Fifo(1)) as batcher:
        futures = [batcher.submit(item) for item in range(4)]
        function.wait()
        batcher.close(timeout=0.01)
        assert [type(future.exception(0)) for future in futures] == [Closed] * 4
        function.gate.set()


def test_every_thread_that_waits_is_told_when_it_closes():
    function = Gated()
    with running(function, max_batch_size=1, queue=Fifo(2)) as batcher:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            waiting = [pool.submit(batcher, item) for item in range(6)]
            waiting += [pool.submit(batcher.map, [7]), pool.submit(batcher.map, [8])]
            function.wait()
            until(lambda: batcher.statistics().waiting_for_room == 5)
            batcher.close(drain=False, timeout=0)
            assert [type(error_of(future)) for future in waiting] == [Closed] * 8
        function.gate.set()


def test_closing_twice_or_from_many_threads_is_harmless():
    with running(tens) as batcher:
        assert batcher(1) == 10
        assert in_threads(lambda _: batcher.close(), range(8)) == [None] * 8
        batcher.close()
        batcher.close(drain=False, timeout=0)


def test_calls_that_race_with_closing_are_answered_or_told():
    def calls(_):
        barrier.wait()
        for item in range(1000):
            try:
                assert batcher(item) == item * 10
            except Closed:
                return "told"
        return "answered"

    def close(_):
        barrier.wait()
        batcher.close()
        return "told"

    barrier = threading.Barrier(5, timeout=PATIENCE)
    with running(tens) as batcher:
        assert batcher(0) == 0
        results = in_threads(lambda each: (close if each == 4 else calls)(each), range(5))
        assert set(results) <= {"told", "answered"}


def test_its_threads_end_with_it():
    before = set(threading.enumerate())
    with running(tens) as batcher:
        batcher(1)
        started = set(threading.enumerate()) - before
        assert started
    for thread in started:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_one_that_is_dropped_ends_its_threads():
    before = set(threading.enumerate())
    batcher = Batcher(tens)
    assert batcher(1) == 10
    started = set(threading.enumerate()) - before
    seen = weakref.ref(batcher)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del batcher
        gc.collect()
        assert seen() is None
        for thread in started:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        gc.collect()


def test_a_batcher_that_was_never_used_closes():
    with Batcher(tens):
        pass
    Batcher(tens).close(timeout=0)


def test_it_is_known_by_the_name_of_its_function():
    assert Batcher(tens).name == "tens"
    assert Batcher(tens, name="other").name == "other"
