"""From entering to closing: loops, threads, forks, sweeps, contexts, re-entrancy, and what is left afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import math
import os
import subprocess
import sys
import textwrap
import threading
import warnings
import weakref

import anyio
from callers import conserved, outcome, passes, running, until
import pytest
import uvloop

from asyncbatch import Batcher, Closed, Fifo, InlineExecutor, NotRunning, ThreadExecutor, WouldDeadlock, batched
from asyncbatch.testing import RecordingFunction, VirtualClockLoop

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")


class Thing:
    """Something that can be weakly referenced."""


def sweep():
    """What test frameworks and servers do as they end: cancel all that is not the current task."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        if "TestRunner" not in repr(task.get_coro()):
            task.cancel()


def run_script(script, *flags):
    ran = subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=30
    )
    return ran.returncode, ran.stdout.split(), ran.stderr


# Entering


async def test_a_batcher_that_was_not_entered_says_so():
    batcher = Batcher(RecordingFunction())
    assert "not entered" in repr(batcher)
    for call in (batcher.submit, lambda _: batcher.flush(), lambda _: batcher.statistics(), batcher.imap):
        with pytest.raises(NotRunning, match="async with"):
            call([1])
    for call in (batcher, batcher.map):
        with pytest.raises(NotRunning, match="async with"):
            await call([1])
    await batcher.aclose()
    with pytest.raises(NotRunning):
        await batcher(1)


def test_a_batcher_may_be_made_where_no_loop_runs():
    batcher = Batcher(RecordingFunction())

    async def main():
        async with batcher:
            return await batcher(1)

    assert asyncio.run(main()) == 1


async def test_a_batcher_cannot_be_entered_twice_at_once():
    async with running(RecordingFunction()) as batcher:
        with pytest.raises(RuntimeError, match="already"):
            await batcher.__aenter__()
        assert await outcome(batcher(1)) == 1


async def test_a_closed_batcher_may_be_entered_again_and_counts_anew():
    batcher = Batcher(RecordingFunction())
    for _ in range(3):
        async with batcher:
            assert await outcome(batcher(1)) == 1
            assert batcher.statistics().submitted == 1
        assert batcher.statistics().succeeded == 1


async def test_importing_brings_in_no_numpy_and_starts_nothing():
    script = """
        import sys, threading, asyncbatch, asyncbatch.sync, asyncbatch.testing
        print("numpy" in sys.modules, threading.active_count())
    """
    assert run_script(script) == (0, ["False", "1"], "")


# Closing


async def test_leaving_the_block_answers_all_who_wait():
    gate = asyncio.Event()
    function = RecordingFunction(script=[gate])
    async with running(function, max_batch_size=1, queue=Fifo(2)) as batcher:
        tasks = [asyncio.create_task(batcher(item)) for item in range(6)]
        await until(lambda: function.running)
        assert batcher.statistics().waiting_for_room == 3
        gate.set()
    assert all(task.done() for task in tasks)
    assert [task.result() for task in tasks] == list(range(6))
    assert conserved(batcher)


@pytest.mark.virtual
async def test_closing_does_not_wait_for_a_batch_to_fill():
    function = RecordingFunction()
    async with running(function, max_wait=math.inf) as batcher:
        future = batcher.submit(1)
        await asyncio.sleep(1)
    assert future.result() == 1
    assert asyncio.get_running_loop().time() == 1
    assert batcher.statistics().reasons == {"close": 1}


async def test_after_the_block_everything_says_closed():
    async with running(RecordingFunction()) as batcher:
        assert await outcome(batcher(1)) == 1
    assert batcher.closed
    assert "closed" in repr(batcher)
    for call in (batcher.submit, lambda _: batcher.flush(), batcher.imap):
        with pytest.raises(Closed, match="closed"):
            call([1])
    for call in (batcher, batcher.map):
        with pytest.raises(Closed, match="closed"):
            await call([1])
    assert batcher.statistics().succeeded == 1
    assert batcher.statistics().submitted == 1


async def test_a_block_that_fails_tells_those_who_wait_and_raises_its_own_error():
    gate = asyncio.Event()
    function = RecordingFunction(script=[gate])
    with pytest.raises(KeyError):
        async with Batcher(function, max_batch_size=1, queue=Fifo(1)) as batcher:
            tasks = [asyncio.create_task(outcome(batcher(item))) for item in range(3)]
            await until(lambda: function.running)
            asyncio.get_running_loop().call_soon(gate.set)
            raise KeyError
    results = [await task for task in tasks]
    assert results[0] == 0
    assert [type(result) for result in results[1:]] == [Closed, Closed]
    assert results[1] is not results[2]
    assert function.items == [0]
    assert batcher.statistics().closed == 2
    assert conserved(batcher)


async def test_closing_without_draining_still_waits_for_what_runs():
    gate = asyncio.Event()
    function = RecordingFunction(script=[gate])
    async with running(function, max_batch_size=1) as batcher:
        tasks = [asyncio.create_task(outcome(batcher(item))) for item in range(3)]
        await until(lambda: function.running)
        closing = asyncio.create_task(batcher.aclose(drain=False))
        await passes()
        assert not closing.done()
        assert [type(await task) for task in tasks[1:]] == [Closed, Closed]
        gate.set()
        await outcome(closing)
        assert await tasks[0] == 0
        assert conserved(batcher)


@pytest.mark.virtual
@pytest.mark.parametrize("drain", [True, False])
async def test_past_its_timeout_closing_tells_everybody_and_stops_what_runs(drain):
    function = RecordingFunction(script=[asyncio.Event()])
    async with running(function, max_batch_size=1, queue=Fifo(2)) as batcher:
        futures = [batcher.submit(0)]
        await until(lambda: function.running)
        futures += [batcher.submit(1), batcher.submit(2)]
        mapped = asyncio.create_task(outcome(batcher.map(range(4))))
        await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()
        await batcher.aclose(drain, timeout=2)
        assert asyncio.get_running_loop().time() == began + 2
        assert all(future.done() for future in futures)
        assert [type(future.exception()) for future in futures] == [Closed] * 3
        assert len({id(future.exception()) for future in futures}) == 3
        assert isinstance(await mapped, Closed)
        assert function.cancelled == 1
        assert batcher.statistics().in_flight == 0
        assert conserved(batcher)


async def test_every_caller_has_its_outcome_before_closing_ends():
    for drain in (True, False):
        function = RecordingFunction()
        async with running(function, max_batch_size=2, queue=Fifo(4)) as batcher:
            futures = [batcher.submit(item) for item in range(4)]
            mapped = asyncio.ensure_future(batcher.map(range(8)))
            await asyncio.sleep(0)
            await batcher.aclose(drain)
            assert all(future.done() for future in futures)
            await outcome(mapped)
            assert (
                batcher.statistics().queued == batcher.statistics().in_flight == batcher.statistics().waiting_for_room == 0
            )
            assert conserved(batcher)
        gc.collect()
        for future in futures:
            future.exception()


@pytest.mark.virtual
async def test_closing_twice_or_by_many_at_once_is_harmless():
    function = RecordingFunction(seconds=1)
    async with running(function, max_batch_size=1) as batcher:
        futures = [batcher.submit(item) for item in range(3)]
        await asyncio.gather(*[batcher.aclose() for _ in range(4)])
        assert [future.result() for future in futures] == [0, 1, 2]
        await batcher.aclose()
        await batcher.aclose(drain=False, timeout=0)
        assert asyncio.get_running_loop().time() == 3


@pytest.mark.virtual
async def test_a_second_close_may_be_less_patient():
    async with running(RecordingFunction(script=[asyncio.Event()])) as batcher:
        future = batcher.submit(1)
        await asyncio.sleep(1)
        patient = asyncio.create_task(batcher.aclose())
        await asyncio.sleep(1)
        await batcher.aclose(timeout=1)
        await asyncio.wait_for(patient, 1)
        assert isinstance(future.exception(), Closed)
        assert asyncio.get_running_loop().time() == 3


@pytest.mark.virtual
async def test_a_close_that_is_cancelled_tells_everybody_at_once():
    function = RecordingFunction(script=[asyncio.Event()])
    async with running(function, max_batch_size=1) as batcher:
        futures = [batcher.submit(item) for item in range(3)]
        with anyio.move_on_after(1) as scope:
            await batcher.aclose()
        assert scope.cancelled_caught
        await passes()
        assert [type(future.exception()) for future in futures] == [Closed] * 3
        assert function.cancelled == 1
        assert conserved(batcher)


@pytest.mark.virtual
async def test_a_block_in_a_cancelled_scope_closes_without_waiting():
    function = RecordingFunction(script=[asyncio.Event()])
    with anyio.move_on_after(1) as scope:
        async with Batcher(function) as batcher:
            future = batcher.submit(1)
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    await passes()
    assert isinstance(future.exception(), Closed)
    assert batcher.closed


async def test_the_function_may_close_its_own_batcher():
    async def function(items):
        await batcher.aclose()
        return items

    async with running(function, max_batch_size=2) as batcher:
        futures = [batcher.submit(item) for item in range(5)]
        await outcome(asyncio.gather(*futures))
        assert [future.result() for future in futures] == list(range(5))
        with pytest.raises(Closed):
            batcher.submit(6)


async def test_a_task_of_the_function_may_close_its_batcher():
    async def function(items):
        async with asyncio.TaskGroup() as group:
            group.create_task(batcher.aclose(drain=False))
        return items

    async with running(function, max_batch_size=2) as batcher:
        futures = [batcher.submit(item) for item in range(3)]
        await outcome(asyncio.wait(futures))
        assert [future.result() for future in futures[:2]] == [0, 1]
        assert isinstance(futures[2].exception(), Closed)


@pytest.mark.virtual
async def test_closing_an_idle_batcher_takes_no_time_and_few_passes():
    async with running(RecordingFunction(), max_wait=10) as batcher:
        batcher.submit(1)
        await asyncio.sleep(20)
        closing = asyncio.create_task(batcher.aclose())
        await passes(10)
        assert closing.done()


async def test_a_hung_thread_does_not_hold_up_a_close_with_a_timeout():
    gate, entered = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def function(items):
        loop.call_soon_threadsafe(entered.set)
        assert gate.wait(5)
        return items

    async with running(function, max_batch_size=1) as batcher:
        futures = [batcher.submit(item) for item in range(3)]
        await asyncio.wait_for(entered.wait(), 5)
        await batcher.aclose(timeout=0)
        assert [type(future.exception()) for future in futures] == [Closed] * 3
        assert conserved(batcher)
        gate.set()


async def test_callers_that_leave_while_it_closes_do_no_harm():
    async def function(items):
        await passes(2)
        return items

    for k in range(12):
        async with running(function, max_batch_size=2, queue=Fifo(3)) as batcher:
            tasks = [asyncio.create_task(outcome(batcher(item))) for item in range(6)]
            await passes(2)
            closing = asyncio.create_task(batcher.aclose())
            await passes(k)
            for task in tasks[::2]:
                task.cancel()
            await outcome(closing)
            for item, task in enumerate(tasks):
                with contextlib.suppress(asyncio.CancelledError):
                    result = await task
                    assert result == item or isinstance(result, Closed | asyncio.CancelledError), k
            assert conserved(batcher), k


async def test_an_imap_ends_when_the_batcher_closes():
    async with running(RecordingFunction(), max_batch_size=2) as batcher:
        results = batcher.imap(iter(int, 1))
        assert await anext(results) == 0
        await batcher.aclose(drain=False)
        with pytest.raises(Closed):
            async with asyncio.timeout(5):
                async for _ in results:
                    pass


# What a sweep of all tasks leaves


@pytest.mark.parametrize("executor", ["inline", InlineExecutor(3), "thread"])
async def test_a_sweep_of_an_idle_batcher_goes_unnoticed(executor):
    async with running(lambda items: items, executor=executor) as batcher:
        for _ in range(3):
            sweep()
            await passes()
            assert await outcome(batcher(1)) == 1
            assert await outcome(batcher.map([1, 2])) == [1, 2]
        assert conserved(batcher)


async def test_a_sweep_of_a_batcher_that_has_not_begun_goes_unnoticed():
    async with running(RecordingFunction()) as batcher:
        sweep()  # in the step that entered it: its tasks never get to run
        await passes()
        for _ in range(3):
            assert await outcome(batcher(1)) == 1
        sweep()
        await passes()
        future = batcher.submit(2)
        sweep()
        assert await outcome(future) == 2 or isinstance(future.exception(), Closed)
    assert batcher.closed


async def test_whoever_calls_as_a_sweep_is_under_way_is_served_or_told():
    async with running(RecordingFunction()) as batcher:
        await passes()
        for call in (batcher, lambda item: batcher.map([item]), batcher.submit):
            sweep()
            result = await outcome(call(1))
            assert result in (1, [1]) or isinstance(result, Closed)
        assert conserved(batcher)


async def test_a_sweep_tells_who_waits_and_the_next_call_is_served():
    function = RecordingFunction(script=[asyncio.Event()])
    async with running(function, max_batch_size=1, queue=Fifo(2)) as batcher:
        flying = batcher.submit("flying")
        await until(lambda: function.running)
        queued = batcher.submit("queued")
        mapped = asyncio.shield(batcher.map("ab"))
        await asyncio.sleep(0)
        for task in asyncio.all_tasks():
            if task.get_name().startswith("asyncbatch"):
                task.cancel()
        for future in (flying, queued, mapped):
            error = await outcome(future)
            assert isinstance(error, Closed)
            assert "again" in str(error)
        assert await outcome(batcher("next")) == "next"
        assert batcher.statistics().closed == 4
        assert conserved(batcher)
        assert function.items == ["flying", "next"]


@pytest.mark.parametrize("slots", [1, 2])
async def test_a_sweep_at_whatever_pass_leaves_nobody_hanging(slots):
    async def function(items):
        await passes(2)
        return items

    for k in range(14):
        async with running(function, max_batch_size=2, queue=Fifo(4), executor=InlineExecutor(slots)) as batcher:
            futures = [batcher.submit(item) for item in range(4)]
            await passes(k)
            sweep()
            for item, future in enumerate(futures):
                result = await outcome(future)
                assert result == item or isinstance(result, Closed), k
            await passes()
            assert await outcome(batcher("next")) == "next", k
            assert conserved(batcher), k


async def test_a_swept_batcher_closes():
    async with running(RecordingFunction()) as batcher:
        assert await outcome(batcher(1)) == 1
        sweep()
        await passes()
    assert batcher.closed


async def test_a_function_that_survives_a_sweep_does_not_confuse_the_batcher_later():
    calls = 0

    async def function(items):
        nonlocal calls
        calls += 1
        if calls == 1:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        if calls == 2:
            raise asyncio.CancelledError
        return items

    async with running(function) as batcher:
        first = batcher.submit(1)
        await until(lambda: calls)
        sweep()
        assert await outcome(first) == 1
        leaked = await outcome(batcher(2))
        assert isinstance(leaked, RuntimeError)
        assert not isinstance(leaked, Closed)
        assert await outcome(batcher(3)) == 3


async def test_a_function_that_cancels_its_own_task_tells_its_callers_and_is_called_again():
    async def function(items):
        if items[0] == "bad":
            asyncio.current_task().cancel()
            await asyncio.sleep(0)
        return items

    async with running(function) as batcher:
        assert isinstance(await outcome(batcher("bad")), RuntimeError)
        assert await outcome(batcher("good")) == "good"


# Loops, threads, processes


def test_a_decorated_function_serves_one_loop_after_another():
    @batched
    async def function(items):
        return items

    @batched
    def in_a_thread(items):
        return items

    async def main(item):
        return await asyncio.gather(outcome(function(item)), outcome(in_a_thread(item)))

    for item in range(3):
        assert asyncio.run(main(item)) == [item, item]
    del function, in_a_thread


def test_a_batcher_left_open_by_another_loop_says_so_and_may_be_entered_again():
    batcher = Batcher(RecordingFunction())

    async def leave_open():
        await batcher.__aenter__()
        return await batcher(1)

    async def use():
        for call in (batcher, batcher.map):
            error = await outcome(call([2]))
            assert isinstance(error, NotRunning)
        with pytest.raises(NotRunning, match="loop"):
            batcher.submit(3)
        async with batcher:
            return await outcome(batcher(4))

    assert asyncio.run(leave_open()) == 1
    assert asyncio.run(use()) == 4
    assert batcher._function.items == [1, 4]


def test_a_batcher_left_open_by_another_loop_may_be_closed():
    batcher = Batcher(lambda items: items)

    async def leave_open():
        await batcher.__aenter__()
        return await batcher(1)

    assert asyncio.run(leave_open()) == 1
    asyncio.run(batcher.aclose())
    assert batcher.closed


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_batcher_whose_loop_was_closed_under_it_may_be_closed_and_entered_again():
    batcher = Batcher(RecordingFunction(), max_wait=100)

    async def leave_open():
        await batcher.__aenter__()
        batcher.submit(1)
        await passes()

    async def use():
        async with batcher:
            batcher.max_wait = 0
            return await outcome(batcher(2))

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave_open())
    resident = asyncio.all_tasks(loop)
    loop.close()
    try:
        asyncio.run(batcher.aclose())
        assert asyncio.run(use()) == 2
    finally:
        for task in resident:
            task._log_destroy_pending = False  # a loop that is closed under its tasks always says so


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("loop_factory", [VirtualClockLoop, uvloop.new_event_loop])
def test_another_loop_of_the_same_thread_is_refused_before_anything_is_queued(busy, loop_factory):
    async def enter():
        gates.append(asyncio.Event())
        batcher = Batcher(RecordingFunction(script=[gates[0]] if busy else []))
        await batcher.__aenter__()
        future = batcher.submit("first")
        await passes()
        return batcher, future

    async def elsewhere():
        assert isinstance(await outcome(batcher("elsewhere")), NotRunning)
        assert isinstance(await outcome(batcher.map(["elsewhere"])), NotRunning)
        with pytest.raises(NotRunning):
            batcher.submit("elsewhere")
        with pytest.raises(NotRunning):
            await batcher.aclose()

    async def leave():
        gates[0].set()
        assert await outcome(first) == "first"
        await batcher.aclose()

    gates = []
    one, two = loop_factory(), loop_factory()
    try:
        batcher, first = one.run_until_complete(enter())
        try:
            two.run_until_complete(elsewhere())
        finally:
            one.run_until_complete(leave())
        assert batcher.statistics().submitted == 1
    finally:
        one.close()
        two.close()


@pytest.mark.parametrize("state", ["new", "closed"])
def test_who_calls_without_any_loop_is_refused_as_elsewhere(state):
    async def close():
        async with batcher:
            pass

    batcher = Batcher(RecordingFunction())
    if state == "closed":
        asyncio.run(close())
    with pytest.raises(Closed if state == "closed" else NotRunning):
        batcher("no loop").send(None)
    with pytest.raises(Closed if state == "closed" else NotRunning):
        batcher.submit("no loop")


def test_a_loop_that_makes_futures_of_its_own_is_asked_for_them():
    class Own(asyncio.Future):
        """What some loops make, to tell more of it."""

    class Loop(VirtualClockLoop):
        def create_future(self):
            return Own(loop=self)

    async def serve():
        async with Batcher(RecordingFunction()) as batcher:
            future = batcher.submit("one")
            assert type(future) is Own
            return await future, await batcher("other")

    with asyncio.Runner(loop_factory=Loop) as runner:
        assert runner.run(serve()) == ("one", "other")


async def test_another_thread_is_refused_and_shown_the_way():
    errors = []

    async def with_a_loop():
        for call in (batcher, batcher.map):
            errors.append(await outcome(call([1])))
        errors.append(await outcome(batcher.aclose()))

    def without_a_loop():
        for call in (batcher.submit, lambda _: batcher.flush(), batcher.imap):
            try:
                call([1])
            except Exception as error:
                errors.append(error)

    async with running(RecordingFunction()) as batcher:
        for target in (lambda: asyncio.run(with_a_loop()), without_a_loop):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join(5)
        assert [type(error) for error in errors] == [NotRunning] * 6
        assert all("asyncbatch.sync" in str(error) for error in errors if "closed in" not in str(error))
        assert batcher.statistics().submitted == 0
        assert await outcome(batcher(1)) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_a_fork_the_child_begins_anew_and_the_parent_goes_on():
    script = """
        import asyncio, os, sys
        import asyncbatch, asyncbatch.sync

        @asyncbatch.batched
        def tens(items):
            return [item * 10 for item in items]

        batcher = asyncbatch.Batcher(lambda items: items)
        threads = asyncbatch.sync.Batcher(lambda items: [item * 100 for item in items])

        async def child():
            print(await tens(2))
            try:
                await batcher(2)
            except asyncbatch.NotRunning as error:
                print("forked" in str(error))
            await batcher.aclose()
            async with batcher:
                print(await batcher(2))

        async def main():
            print(await tens(1), await asyncio.to_thread(threads, 1))
            await batcher.__aenter__()
            print(await batcher(1))
            sys.stdout.flush()
            if not os.fork():
                asyncio.run(child())
                print(threads(2))
                threads.close()
                sys.stdout.flush()
                os._exit(0)
            os.wait()
            print(await tens(3), await asyncio.to_thread(threads, 3), await batcher(3))
            await batcher.aclose()

        asyncio.run(main())
        threads.close()
    """
    code, printed, errors = run_script(script, "-W", "ignore::DeprecationWarning")
    assert printed == ["10", "100", "1", "20", "True", "2", "200", "30", "300", "3"]
    assert (code, errors) == (0, "")


# Context variables


async def test_no_batch_runs_in_the_context_of_a_caller():
    seen = []

    async def function(items):
        seen.append(variable.get())
        await asyncio.sleep(0)
        seen.append(variable.get())
        return items

    async def caller(value):
        variable.set(value)
        await batcher(value)

    variable.set("of the one who entered")
    async with running(function) as batcher:
        await outcome(asyncio.gather(caller("a"), caller("b")))
        await outcome(caller("c"))
        await outcome(batcher.map("de"))
    assert set(seen) == {"default"}


async def test_each_batch_has_a_fresh_context():
    seen = []

    async def function(items):
        seen.append(variable.get())
        variable.set("of an earlier batch")
        await asyncio.sleep(0)
        assert variable.get() == "of an earlier batch"
        return items

    async with running(function, max_batch_size=1, executor=InlineExecutor(2)) as batcher:
        await outcome(asyncio.gather(*map(batcher, range(6))))
    assert seen == ["default"] * 6


async def test_flights_side_by_side_do_not_share_their_context():
    async def function(items):
        variable.set(items[0])
        await passes(3)
        return [variable.get()]

    async with running(function, max_batch_size=1, executor=InlineExecutor(3)) as batcher:
        assert await outcome(asyncio.gather(*map(batcher, "abcdef"))) == list("abcdef")


async def test_a_function_may_set_and_reset_variables_across_awaits():
    async def function(items):
        token = variable.set("inside")
        try:
            await asyncio.sleep(0)
            async with asyncio.timeout(5):
                await asyncio.sleep(0)
        finally:
            variable.reset(token)
        return [variable.get()] * len(items)

    async with running(function) as batcher:
        assert await outcome(batcher(1)) == "default"


@pytest.mark.virtual
async def test_a_function_may_reset_variables_when_it_is_cancelled():
    undone = []

    async def function(items):
        token = variable.set("inside")
        try:
            await asyncio.sleep(100)
        finally:
            variable.reset(token)
            undone.append(variable.get())

    async with running(function) as batcher:
        with anyio.move_on_after(1):
            await batcher(1)
        await passes()
    assert undone == ["default"]


async def test_a_class_is_built_in_no_callers_context():
    class Model:
        def __init__(self):
            self.seen = variable.get()

        async def __call__(self, items):
            return [self.seen] * len(items)

    variable.set("of the one who entered")
    async with running(Model) as batcher:
        assert await outcome(batcher(1)) == "default"


# Re-entrancy


@pytest.mark.parametrize("how", ["call", "submit", "map", "imap"])
async def test_a_function_that_waits_for_its_own_batcher_is_told_instead_of_hanging(how):
    async def function(items):
        if items[0] == "inner":
            return items
        if how == "call":
            return [await batcher("inner")]
        if how == "submit":
            return [await batcher.submit("inner")]
        if how == "map":
            return await batcher.map(["inner"])
        return [result async for result in batcher.imap(["inner"])]

    async with running(function) as batcher:
        error = await outcome(batcher("outer"))
        assert isinstance(error, WouldDeadlock)
        assert "slot" in str(error)
        assert await outcome(batcher("inner")) == "inner"
    async with running(function, executor=InlineExecutor(2)) as batcher:
        assert await outcome(batcher("outer")) == "inner"


async def test_a_function_may_call_another_batcher():
    async with running(RecordingFunction(lambda item: item * 10)) as inner:

        async def function(items):
            return await asyncio.gather(*map(inner, items))

        async with running(function) as outer:
            assert await outcome(asyncio.gather(outer(1), outer(2))) == [10, 20]


async def test_a_task_that_the_function_left_behind_may_call_the_batcher_later():
    later = []

    async def call_later():
        await ended.wait()
        return await batcher("later")

    async def function(items):
        if items == ["first"]:
            later.append(asyncio.create_task(call_later()))
        return items

    ended = asyncio.Event()
    async with running(function) as batcher:
        assert await outcome(batcher("first")) == "first"
        ended.set()
        assert await outcome(later[0]) == "later"


# Warnings and noise


async def test_an_open_batcher_that_is_dropped_warns_and_ends():
    batcher = Batcher(RecordingFunction(), name="embed")
    await batcher.__aenter__()
    assert await outcome(batcher(1)) == 1
    with pytest.warns(ResourceWarning, match="'embed'.*async with"):
        del batcher
        gc.collect()
    await passes()


async def test_an_open_batcher_that_is_dropped_still_answers():
    batcher = Batcher(RecordingFunction(), max_wait=math.inf)
    await batcher.__aenter__()
    future = batcher.submit(1)
    with pytest.warns(ResourceWarning):
        del batcher
        gc.collect()
    assert await outcome(future) == 1


async def test_nobody_is_warned_of_batchers_that_are_new_or_closed():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        new, closed = Batcher(RecordingFunction()), Batcher(RecordingFunction())
        async with closed:
            await closed(1)
        with contextlib.suppress(TypeError):
            Batcher(None)
        del new, closed
        gc.collect()
    assert caught == []


LEFT_OPEN = {
    "batcher": """
        batcher = asyncbatch.Batcher(lambda items: items)
        async def main():
            await batcher.__aenter__()
            print(await batcher(1))
        asyncio.run(main())
    """,
    "inline batcher": """
        async def function(items):
            return items
        batcher = asyncbatch.Batcher(function)
        async def main():
            await batcher.__aenter__()
            print(await batcher(1))
        asyncio.run(main())
    """,
    "decorated": """
        @asyncbatch.batched
        def function(items):
            return items
        async def main():
            print(await function(1))
        asyncio.run(main())
    """,
    "decorated, loop not closed": """
        @asyncbatch.batched
        async def function(items):
            return items
        loop = asyncio.new_event_loop()
        print(loop.run_until_complete(function(1)))
    """,
    "sync": """
        batcher = asyncbatch.sync.Batcher(lambda items: items)
        print(batcher(1))
    """,
    "sync, async function": """
        async def function(items):
            return items
        batcher = asyncbatch.sync.Batcher(function)
        print(batcher(1))
    """,
    "sync, dropped": """
        batcher = asyncbatch.sync.Batcher(lambda items: items)
        print(batcher(1))
        del batcher
    """,
    "sync, in a function": """
        def main():
            batcher = asyncbatch.sync.Batcher(lambda items: items)
            print(batcher(1))
        main()
    """,
}


@pytest.mark.parametrize("script", LEFT_OPEN.values(), ids=LEFT_OPEN.keys())
def test_the_interpreter_exits_without_noise(script):
    script = "import asyncio, asyncbatch, asyncbatch.sync\n" + textwrap.dedent(script)
    assert run_script(script) == (0, ["1"], "")


WORKS_AS_THE_PROGRAM_ENDS = """
    import asyncio, asyncbatch, atexit, os, sys, threading

    begun, ending = threading.Event(), threading.Event()
    atexit.register(ending.set)

    def function(items):
        begun.set()
        ending.wait()
        print("done")
        return items

    async def main():
        batcher = asyncbatch.Batcher(function)
        await batcher.__aenter__()
        caller = asyncio.ensure_future(batcher(1))
        await asyncio.to_thread(begun.wait)

    asyncio.run(main())
"""


def test_a_batch_in_a_thread_that_runs_as_the_program_ends_comes_to_its_end():
    assert run_script(WORKS_AS_THE_PROGRAM_ENDS) == (0, ["done"], "")


def test_a_batch_that_comes_to_a_thread_after_the_program_has_ended_fails_and_does_not_hang():
    script = """
    import atexit

    def call_late():
        try:
            print(asyncio.run_coroutine_threadsafe(batcher(2), loop).result(10))
        except RuntimeError as error:
            print(type(error).__name__)

    atexit.register(call_late)
    import asyncio, asyncbatch, threading

    batcher = asyncbatch.Batcher(lambda items: items)
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    asyncio.run_coroutine_threadsafe(batcher.__aenter__(), loop).result(10)
    print(asyncio.run_coroutine_threadsafe(batcher(1), loop).result(10))
    """
    assert run_script(script) == (0, ["1", "RuntimeError"], "")


def test_a_fork_that_ends_does_not_wait_for_threads_which_it_does_not_have():
    forks = """
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        print("ended")
    else:
        sys.exit()
    """
    flags = "-W", "ignore::DeprecationWarning"  # that of a fork among threads
    assert run_script(WORKS_AS_THE_PROGRAM_ENDS + forks, *flags) == (0, ["ended", "done"], "")


def test_exit_from_an_inline_function_ends_the_process_with_its_code_and_no_noise():
    script = """
        import asyncio, asyncbatch

        async def function(items):
            raise SystemExit(3)

        async def main():
            async with asyncbatch.Batcher(function) as batcher:
                await batcher(1)

        asyncio.run(main())
    """
    assert run_script(script) == (3, [], "")


# What is left


@contextlib.contextmanager
def without_collection():
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize("executor", ["inline", "thread"])
async def test_nothing_of_a_batch_is_kept_once_its_callers_have_it(executor):
    seen = []

    def function(items):
        outputs = [Thing() for _ in items]
        seen.extend(map(weakref.ref, [*items, *outputs]))
        return outputs

    async with running(function, executor=executor) as batcher:
        with without_collection():
            await batcher(Thing())
            await asyncio.gather(*[batcher(Thing()) for _ in range(3)])
            await batcher.map([Thing(), Thing()])
            await batcher.map([Thing(), Thing()], timeout=3600)
            await batcher(Thing(), timeout=3600)
            await batcher.submit(Thing())
            async for result in batcher.imap([Thing(), Thing()]):
                del result
            await passes()
            if executor == "thread":
                await batcher(Thing())  # a worker thread lets go of its last work as it takes the next
            assert len(seen) >= 20
            assert [ref for ref in seen[:20] if ref() is not None] == []


async def test_nothing_of_a_batch_is_kept_while_others_wait_with_their_deadlines():
    seen, gate = [], asyncio.Event()

    async def function(items):
        seen.extend(map(weakref.ref, items))
        if len(seen) == 10:
            await gate.wait()
        return [None] * len(items)

    async with running(function, max_batch_size=1) as batcher:
        with without_collection():
            tasks = [asyncio.create_task(batcher(Thing(), timeout=3600)) for _ in range(20)]
            await asyncio.gather(*tasks[:9])
            await until(lambda: len(seen) == 10)
            assert [ref for ref in seen[:9] if ref() is not None] == []
        gate.set()
        await asyncio.gather(*tasks)


async def test_a_future_that_is_kept_does_not_keep_its_item():
    async with running(RecordingFunction(lambda item: None)) as batcher:
        item = Thing()
        seen = weakref.ref(item)
        future = batcher.submit(item)
        del item
        await outcome(future)
        batcher._function.batches.clear()
        await passes()
        gc.collect()
        assert seen() is None


@pytest.mark.parametrize("executor", ["inline", "thread"])
async def test_nothing_of_a_failed_batch_is_kept_once_its_callers_have_dealt_with_it(executor):
    seen = []

    def function(items):
        local = Thing()
        seen.extend(map(weakref.ref, [*items, local]))
        raise ValueError

    async with running(function, executor=executor) as batcher:
        for call in (batcher, lambda item: batcher.map([item]), lambda item: batcher.map([item], return_exceptions=True)):
            with contextlib.suppress(ValueError):
                await call(Thing())
        await passes()
        with contextlib.suppress(ValueError):
            await batcher(Thing())
        gc.collect()
        assert [ref for ref in seen[:6] if ref() is not None] == []


@pytest.mark.parametrize("executor", ["inline", "thread"])
async def test_a_closed_batcher_does_not_keep_what_the_user_built(executor):
    seen = []

    class Model:
        def __init__(self):
            seen.append(weakref.ref(self))

        def __call__(self, items):
            return items

    async with running(Model, executor=executor) as batcher:
        assert await outcome(batcher(1)) == 1
    await passes()
    if executor == "thread":
        for thread in threading.enumerate():
            if "Model" in thread.name:
                thread.join(5)
    gc.collect()
    assert batcher.closed
    assert seen[0]() is None


async def test_a_closed_batcher_is_collected_with_its_function():
    function = RecordingFunction()
    seen = weakref.ref(function)
    async with Batcher(function) as batcher:
        await outcome(batcher(1))
    references = weakref.ref(batcher), seen
    del batcher, function
    await passes()
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_an_idle_batcher_lets_its_loop_sleep():
    class Counting(VirtualClockLoop):
        looks = 0

        def _select(self, *args):
            self.looks += 1
            return super()._select(*args)

    async def main():
        loop = asyncio.get_running_loop()
        async with Batcher(RecordingFunction(), max_wait=0.001, executor=InlineExecutor(3)) as batcher:
            await asyncio.gather(*map(batcher, range(10)))
            await batcher(1, timeout=3600)
            await batcher.map(range(10), timeout=3600)
            await passes()
            before = loop.looks
            await asyncio.sleep(100_000)
            return loop.looks - before

    with asyncio.Runner(loop_factory=Counting) as runner:
        assert runner.run(main()) <= 3


async def test_thousands_of_batches_leave_no_more_objects_than_a_few():
    async with running(RecordingFunction(), max_batch_size=4) as batcher:

        async def some():
            for _ in range(20):
                await asyncio.gather(*map(batcher, range(10)))
                await batcher.map(range(10))
                with contextlib.suppress(TimeoutError):
                    await batcher(1, timeout=0)
            batcher._function.batches.clear()
            batcher._function.times.clear()
            gc.collect()
            return len(gc.get_objects())

        await some()
        before = await some()
        assert await some() < before + 50


@pytest.mark.virtual
async def test_a_batcher_of_threads_that_is_left_open_ends_with_its_loop():
    batcher = Batcher(lambda items: items, executor=ThreadExecutor(2))
    await batcher.__aenter__()
    assert await outcome(batcher(1)) == 1
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("asyncbatch")]
    with pytest.warns(ResourceWarning):
        del batcher
        gc.collect()
    await passes(10)
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
