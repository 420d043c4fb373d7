"""Who comes alone is served in a step of its own, and it shows in nothing but the time that takes."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

from callers import conserved, outcome, passes, running, until
import numpy as np
import pytest

from asyncbatch import Batcher, Closed, CostObjective, Fifo, InlineExecutor, NotRunning, QueueFull, WouldDeadlock
from asyncbatch.errors import OutputCountMismatch, OutputTypeError
from asyncbatch.testing import RecordingFunction

SOON = 1  # passes after which somebody who is served alone has an answer


async def has_called() -> None:
    """Let a new task come to its call, where tasks do not begin at once."""
    if asyncio.get_running_loop().get_task_factory() is None:
        await asyncio.sleep(0)


async def alone(batcher: Any, times: int = 1) -> None:
    """Let the batcher know callers who come alone: from the second on they are served so."""
    for _ in range(times):
        assert await batcher("alone") == "alone"


@contextlib.asynccontextmanager
async def hosting(function: Any, **options: Any) -> AsyncIterator[Any]:
    """A batcher that serves the next who comes alone."""
    async with running(function, **options) as batcher:
        await alone(batcher, 2)
        yield batcher


def end_of(call: Any) -> Any:
    """Let a call that goes on by hand come to its end, and return its result."""
    with pytest.raises(StopIteration) as end:
        call.send(None)
    return end.value.value


def calling(batcher: Any, item: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(outcome(batcher(item)))


async def passes_until(done: Callable[[], bool]) -> int:
    count = 0
    while not done():
        await asyncio.sleep(0)
        count += 1
        assert count < 20
    return count


class Prompt(RecordingFunction):
    """A function that never waits, unless somebody wants it to; and knows in which task it ran."""

    def __init__(self, **details: Any) -> None:
        super().__init__(**details)
        self.tasks: list[Any] = []

    async def __call__(self, items: list[Any]) -> Any:
        self.tasks.append(asyncio.current_task())
        return await super().__call__(items)


# What it is for.


async def test_a_caller_who_comes_alone_has_the_answer_a_pass_earlier():
    async with running(Prompt()) as batcher:
        took = []
        for _ in range(4):
            task = asyncio.create_task(batcher(1))
            await has_called()
            took.append(await passes_until(task.done))
        assert took[1:] == [SOON] * 3
        assert took[0] > SOON


async def test_it_runs_in_the_task_of_the_batcher_all_the_same():
    function = Prompt()
    async with running(function, name="it") as batcher:
        await alone(batcher, 3)
        assert [task.get_name() for task in function.tasks] == ["asyncbatch it"] * 3
        assert len({*function.tasks}) == 1
        assert asyncio.current_task() not in function.tasks


@pytest.mark.parametrize("outputs", [["x"], ("x",), np.array(["x"]), [None], [[]], [0]], ids=repr)
async def test_whatever_it_returned_has_its_own_result_come_out(outputs):
    def function(items: list[Any]) -> Any:
        return outputs if items == ["odd"] else items

    async with running(function, executor=InlineExecutor()) as batcher:
        await alone(batcher)
        assert await batcher("odd") == list(outputs)[0]
        await alone(batcher)


async def test_a_class_and_a_function_that_is_not_async_serve_alike():
    class Twice:
        def __call__(self, items: list[int]) -> list[int]:
            return [2 * item for item in items]

    async with running(Twice, executor=InlineExecutor()) as batcher:
        assert [await batcher(item) for item in range(4)] == [0, 2, 4, 6]


async def test_statistics_tell_where_the_one_is():
    seen = []
    async with running(Prompt(script=[0, lambda items: (seen.append(batcher.statistics()), items)[1]])) as batcher:
        await alone(batcher)
        task = calling(batcher, 1)
        await has_called()
        waiting = batcher.statistics()
        assert (waiting.submitted, waiting.queued, waiting.in_flight) == (2, 1, 0)
        assert await task == 1
        assert (seen[0].queued, seen[0].in_flight, seen[0].succeeded) == (0, 1, 1)
        after = batcher.statistics()
        assert (after.succeeded, after.batches, after.mean_batch_size, dict(after.reasons)) == (2, 2, 1.0, {"idle": 2})
        assert conserved(batcher)


@pytest.mark.virtual
async def test_statistics_tell_how_long_it_waited():
    loop: Any = asyncio.get_running_loop()
    async with hosting(Prompt()) as batcher:
        task = calling(batcher, 1)
        await has_called()
        loop._now += 3  # others hold up the loop
        await task
        assert (batcher.statistics().longest_wait, batcher.statistics().mean_wait) == (3, 1)


async def test_a_batch_of_one_may_be_full():
    async with running(Prompt(), max_batch_size=1) as batcher:
        await alone(batcher, 3)
        assert dict(batcher.statistics().reasons) == {"full": 3}


async def test_its_context_is_no_callers():
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")
    seen = []

    async def function(items: list[Any]) -> list[Any]:
        seen.append(variable.get())
        variable.set("the function's")
        return items

    async with running(function) as batcher:
        variable.set("the caller's")
        await alone(batcher, 3)
    assert seen == ["nothing"] * 3
    assert variable.get() == "the caller's"


# Whoever else comes in that pass.


async def once(batcher: Any) -> Any:
    return await batcher("b")


async def submitted(batcher: Any) -> Any:
    return await batcher.submit("b")


async def mapped(batcher: Any) -> Any:
    return (await batcher.map(["b"]))[0]


async def in_time(batcher: Any) -> Any:
    return await batcher("b", timeout=10)


@pytest.mark.parametrize("other", [once, submitted, mapped, in_time])
async def test_who_comes_in_the_same_pass_shares_the_batch_and_comes_after(other):
    function = Prompt()
    async with hosting(function, max_batch_size=4) as batcher:
        first, second = calling(batcher, "a"), asyncio.create_task(outcome(other(batcher)))
        assert await asyncio.gather(first, second) == ["a", "b"]
        await alone(batcher)
    assert function.batches == [["alone"], ["alone"], ["a", "b"], ["alone"]]


async def test_many_who_come_at_once_fill_batches_as_ever():
    function = Prompt()
    async with hosting(function, max_batch_size=64) as batcher:
        assert await asyncio.gather(*map(batcher, range(150))) == [*range(150)]
    assert [len(batch) for batch in function.batches] == [1, 1, 64, 64, 22]
    assert function.items[2:] == [*range(150)]


async def test_after_several_the_next_one_alone_is_served_as_any():
    """They may be several again, and would have a pass more each time."""
    async with hosting(Prompt()) as batcher:
        await asyncio.gather(batcher(1), batcher(2))
        task = asyncio.create_task(batcher(3))
        await has_called()
        assert await passes_until(task.done) > SOON


@pytest.mark.parametrize("kind", ["reject", "evict", "wait"])
async def test_who_finds_no_room_beside_it_is_told_as_ever(kind):
    function = Prompt()
    async with hosting(function, queue=Fifo(maxsize=1, when_full=kind)) as batcher:
        first, second = calling(batcher, "a"), calling(batcher, "b")
        got = [type(each) if isinstance(each, Exception) else each for each in (await first, await second)]
        assert got == {"reject": ["a", QueueFull], "evict": [QueueFull, "b"], "wait": ["a", "b"]}[kind]
        assert conserved(batcher)


async def test_who_comes_after_one_with_a_future_shares_its_batch():
    function = Prompt()
    async with hosting(function) as batcher:
        first, call = batcher.submit("a"), batcher("b")
        call.send(None)
        assert await first == "a"
        assert end_of(call) == "b"
    assert function.batches[2:] == [["a", "b"]]


# Whatever else happens in that pass.


async def test_one_who_is_cancelled_then_does_not_run():
    function = Prompt()
    async with hosting(function) as batcher:
        task = asyncio.create_task(batcher("cancelled"))
        await has_called()
        assert batcher.statistics().queued == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (batcher.statistics().cancelled, batcher.statistics().queued) == (1, 0)
        assert not batcher._queue._dead  # as it left nothing in the line
        assert conserved(batcher)
        await alone(batcher, 2)
    assert "cancelled" not in function.items


async def test_one_who_is_dropped_then_does_not_run_and_holds_up_nobody():
    function = Prompt()
    async with hosting(function) as batcher:
        call = batcher("dropped")
        assert call.send(None) is None
        assert batcher.statistics().queued == 1
        call.close()
        assert (batcher.statistics().cancelled, batcher.statistics().queued) == (1, 0)
        await alone(batcher, 2)
    assert "dropped" not in function.items


async def test_one_who_never_goes_on_holds_up_nobody():
    function = Prompt()
    async with hosting(function) as batcher:
        call = batcher("stuck")
        call.send(None)
        assert await outcome(batcher("next")) == "next"  # which is there before
        assert end_of(call) == "stuck"
        assert conserved(batcher)
    assert function.batches[2:] == [["stuck", "next"]]


async def test_one_who_goes_on_outside_of_any_task_is_served():
    function = Prompt()
    async with hosting(function) as batcher:
        call, results = batcher("by hand"), []

        def go_on() -> None:
            try:
                call.send(None)
            except StopIteration as end:
                results.append(end.value)

        for _ in range(2):
            asyncio.get_running_loop().call_soon(go_on)
            await passes(2)
        assert results == ["by hand"]
        assert asyncio.current_task() is not None
        await alone(batcher, 2)


async def test_a_slot_that_lands_beside_one_who_does_not_go_on_takes_it_aboard():
    gate = asyncio.Event()
    function = Prompt(script=[0, gate])
    async with running(function, executor=InlineExecutor(2), max_batch_size=1) as batcher:
        await alone(batcher)
        slow = calling(batcher, "slow")
        await until(lambda: function.running)
        await alone(batcher, 2)
        call = batcher("stuck")
        call.send(None)
        gate.set()
        assert await slow == "slow"
        await until(lambda: "stuck" in function.items)
        with pytest.raises(StopIteration):
            call.send(None)
        assert conserved(batcher)


@pytest.mark.parametrize(
    "happens",
    [
        lambda batcher: batcher.flush(),
        lambda batcher: setattr(batcher, "max_batch_size", 7),
        lambda batcher: setattr(batcher, "max_wait", 0.0),
    ],
    ids=["a flush", "another size", "another wait"],
)
async def test_it_is_served_whatever_is_set(happens):
    function = Prompt()
    async with hosting(function) as batcher:
        task = calling(batcher, 1)
        await has_called()
        happens(batcher)
        assert await task == 1
        await alone(batcher, 2)
        assert conserved(batcher)
    assert function.items.count(1) == 1


async def test_a_wait_that_is_set_then_is_waited():
    function = Prompt()
    async with hosting(function, max_batch_size=2) as batcher:
        task = calling(batcher, 1)
        await has_called()
        batcher.max_wait = 1000
        await passes()
        assert not task.done()
        assert await asyncio.gather(task, batcher(2)) == [1, 2]
        assert function.batches[2:] == [[1, 2]]


@pytest.mark.parametrize("capacity", [2, 1])
async def test_it_is_served_while_slots_come_and_go(capacity):
    async with running(Prompt(), executor=InlineExecutor(3 - capacity)) as batcher:
        await alone(batcher, 3)
        task = calling(batcher, 1)
        await has_called()
        await batcher.resize(capacity)
        assert await task == 1
        await alone(batcher, 3)


@pytest.mark.parametrize("drain", [True, False])
async def test_closing_answers_it(drain):
    function = Prompt()
    async with hosting(function) as batcher:
        task = calling(batcher, 1)
        await has_called()
        closing = asyncio.create_task(batcher.aclose(drain=drain))
        await asyncio.gather(closing, passes())
        answer = await task
        # Its step comes before that of whoever closes; both are in time.
        assert answer == 1 or (not drain and isinstance(answer, Closed))
        assert conserved(batcher)


async def test_closing_in_the_very_step_answers_it():
    async with hosting(Prompt()) as batcher:
        kept, told = batcher("kept"), batcher("told")
        kept.send(None)
        batcher._shut(drain=True)
        await passes()
        with pytest.raises(StopIteration) as end:
            kept.send(None)
        assert end.value.value == "kept"
        told.close()


async def test_closing_without_draining_tells_it():
    async with hosting(Prompt()) as batcher:
        call = batcher("told")
        call.send(None)
        batcher._shut(drain=False)
        with pytest.raises(Closed):
            call.send(None)
        assert (batcher.statistics().closed, batcher.statistics().queued) == (1, 0)


async def test_a_batcher_whose_task_is_cancelled_tells_it_and_serves_the_next():
    function = Prompt()
    async with hosting(function) as batcher:
        call = batcher("told")
        call.send(None)
        function.tasks[0].cancel()
        await passes()
        with pytest.raises(Closed):
            call.send(None)
        await alone(batcher, 3)
        assert function.tasks[-1] is not function.tasks[0]


async def test_one_of_two_slots_whose_task_is_cancelled_leaves_it_to_the_other():
    function = Prompt()
    async with hosting(function, executor=InlineExecutor(2)) as batcher:
        call = batcher("late")
        call.send(None)
        function.tasks[-1].cancel()
        await passes()
        assert end_of(call) == "late"


async def test_one_whose_host_is_gone_waits_for_the_other_that_is_busy():
    gate = asyncio.Event()
    function = Prompt(script=[gate])
    async with running(function, executor=InlineExecutor(2)) as batcher:
        slow = calling(batcher, "slow")
        await until(lambda: function.running)
        await alone(batcher, 2)
        call = batcher("late")
        call.send(None)
        function.tasks[-1].cancel()
        await passes()
        future = call.send(None)
        assert asyncio.isfuture(future)
        gate.set()
        assert await slow == "slow"
        await until(future.done)
        assert end_of(call) == "late"


async def test_a_host_that_is_gone_serves_nobody():
    function = Prompt()
    async with running(function, executor=InlineExecutor(2)) as batcher:
        await alone(batcher, 3)
        gone = function.tasks[-1]
        gone.cancel()
        await passes()
        await alone(batcher, 3)
        assert gone not in function.tasks[3:]


# Errors.


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (ValueError, ValueError),
        (asyncio.CancelledError, RuntimeError),
        (GeneratorExit, RuntimeError),
        (lambda items: [], OutputCountMismatch),
        (lambda items: [1, 2], OutputCountMismatch),
        (lambda items: "x", OutputTypeError),
        (lambda items: None, OutputTypeError),
        (lambda items: [ValueError("its own")], ValueError),
    ],
    ids=str,
)
async def test_an_error_is_the_callers_and_the_next_one_is_served(step, expected):
    function = Prompt(script=[0, 0, step])
    async with hosting(function, name="it") as batcher:
        error = await outcome(batcher("bad"))
        assert type(error) is expected
        assert any("batcher 'it'" in note for note in [*getattr(error, "__notes__", ()), str(error)])
        assert (batcher.statistics().failed, batcher.statistics().batches) == (1, 3)
        await alone(batcher, 3)
        assert conserved(batcher)


async def test_an_error_of_a_function_that_is_not_async_too():
    def function(items: list[Any]) -> list[Any]:
        if items == ["bad"]:
            raise StopIteration
        return items

    async with hosting(function, executor=InlineExecutor()) as batcher:
        assert type(await outcome(batcher("bad"))) is RuntimeError
        await alone(batcher, 3)


async def test_an_error_keeps_nothing_of_ours_alive():
    class Item:
        pass

    function = Prompt(script=[0, 0, ValueError])
    gc.collect()
    async with hosting(function) as batcher:
        error = await outcome(batcher(Item()))
        function.batches.clear()
        frames = []
        trace = error.__traceback__
        while trace is not None:
            frames.append(trace.tb_frame.f_code.co_name)
            trace = trace.tb_next
        assert "serve" not in frames
        del error, trace
        await alone(batcher)
        assert not [each for each in gc.get_objects() if type(each) is Item]


async def test_one_who_goes_before_it_sees_its_error_leaves_nothing_to_report():
    loop, reports = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: reports.append(context))
    async with hosting(Prompt(script=[0, 0, ValueError])) as batcher:
        call = batcher("bad")
        call.send(None)
        assert type(await outcome(batcher("as bad"))) is ValueError  # of a batch of both
        call.close()
        assert batcher.statistics().failed == 2
        assert conserved(batcher)
    del call
    gc.collect()
    assert not reports


# A function that waits after all.


async def test_a_function_that_waits_goes_on_in_the_task_that_it_began_in():
    function = Prompt(script=[0, 0, 0.01])
    inside = []

    async def bounded(items: list[Any]) -> Any:
        async with asyncio.timeout(5):
            inside.append(asyncio.current_task())
            outputs = await function(items)
            inside.append(asyncio.current_task())
            return outputs

    async with running(bounded) as batcher:
        await alone(batcher, 3)
        assert len({*inside}) == 1
        assert asyncio.current_task() not in inside
        assert conserved(batcher)


async def test_its_own_time_limit_still_holds():
    forever = asyncio.Event()
    function = Prompt(script=[0, 0, forever])

    async def bounded(items: list[Any]) -> Any:
        async with asyncio.timeout(0.01):
            return await function(items)

    async with hosting(bounded) as batcher:
        assert type(await outcome(batcher("slow"))) is TimeoutError
        await alone(batcher, 3)


async def test_who_leaves_a_function_that_waits_cancels_it():
    forever = asyncio.Event()
    function = Prompt(script=[0, 0, forever])
    async with hosting(function) as batcher:
        task = asyncio.create_task(batcher("slow"))
        await until(lambda: function.running)
        assert (batcher.statistics().queued, batcher.statistics().in_flight) == (0, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: function.cancelled)
        assert batcher.statistics().cancelled == 1
        await alone(batcher, 3)


async def test_who_is_dropped_after_its_future_was_cancelled_just_ends():
    function = Prompt(script=[0, 0, asyncio.Event()])
    async with hosting(function) as batcher:
        call = batcher("slow")
        call.send(None)
        call.send(None).cancel()
        call.close()
        await until(lambda: function.cancelled)
        assert conserved(batcher)


async def test_closing_waits_for_a_function_that_waits():
    gate = asyncio.Event()
    function = Prompt(script=[0, 0, gate])
    async with hosting(function) as batcher:
        task = calling(batcher, "slow")
        await until(lambda: function.running)
        closing = asyncio.create_task(batcher.aclose())
        await passes()
        assert not closing.done()
        gate.set()
        assert await task == "slow"
        await closing


async def test_those_who_come_while_it_waits_share_the_next_batch():
    gate = asyncio.Event()
    function = Prompt(script=[0, 0, gate])
    async with hosting(function) as batcher:
        task = calling(batcher, "slow")
        await until(lambda: function.running)
        others = [calling(batcher, item) for item in "ab"]
        await passes()
        gate.set()
        assert [await each for each in (task, *others)] == ["slow", "a", "b"]
    assert function.batches[2:] == [["slow"], ["a", "b"]]


async def test_who_comes_while_it_waits_passes_by_the_gate():
    """Where nobody can be woken, an arrival need not look for one."""
    gate = asyncio.Event()
    function = Prompt(script=[0, 0, gate])
    async with hosting(function, max_batch_size=64) as batcher:
        tasks = [calling(batcher, "slow")]
        await until(lambda: function.running)
        tasks += [calling(batcher, item) for item in range(40)]
        await passes()
        assert batcher._gate.admitted < batcher._gate.alarm
        gate.set()
        assert await asyncio.gather(*tasks) == ["slow", *range(40)]


async def test_where_it_always_waits_nobody_is_served_so():
    async with running(RecordingFunction(seconds=0.001)) as batcher:
        await alone(batcher, 3)
        assert batcher._gate.host is None


@pytest.mark.parametrize("then", [0, 0.001, ValueError])
async def test_a_function_may_wake_the_one_in_whose_name_it_runs(then):
    function = Prompt(script=[0, 0, then])

    async def waking(items: list[Any]) -> Any:
        batcher.flush()
        return await function(items)

    async with running(waking) as batcher:
        await alone(batcher, 2)
        await passes()
        assert await outcome(batcher("alone")) == "alone" or then is ValueError
        first, second = calling(batcher, 1), calling(batcher, 2)
        assert await asyncio.gather(first, second) == [1, 2]
        await alone(batcher, 3)
        assert conserved(batcher)
    assert function.batches[3:] == [[1, 2], *[["alone"]] * 3]


async def test_a_batcher_whose_task_is_cancelled_as_it_takes_over_tells_the_caller():
    function = Prompt(script=[0, 0, asyncio.Event()])
    async with hosting(function) as batcher:
        call = batcher("slow")
        call.send(None)
        call.send(None)  # the function waits
        function.tasks[0].cancel()
        await passes()
        with pytest.raises(Closed):
            call.send(None)
        await alone(batcher, 3)
        assert conserved(batcher)


@pytest.mark.virtual
async def test_batches_that_it_is_looked_at_who_boards_are_flown_as_any():
    """Whether callers come straight back is learnt from the boards after a batch that ran for a while."""
    loop: Any = asyncio.get_running_loop()

    async def function(items: list[Any]) -> list[Any]:
        loop._now += 0.005
        return items

    async with running(function) as batcher:
        await alone(batcher, 30)
        assert batcher._house.departures.returning.boards == 0


async def test_where_it_waited_the_next_one_alone_is_served_as_any():
    function = Prompt(script=[0, 0, 0.01])
    async with running(function) as batcher:
        await alone(batcher, 3)
        task = asyncio.create_task(batcher(1))
        await has_called()
        assert await passes_until(task.done) > SOON


# Who is not served so.


async def test_the_function_that_calls_its_own_batcher_is_told():
    async def function(items: list[Any]) -> list[Any]:
        if items == ["deep"]:
            return [await outcome(batcher("deeper"))]
        return items

    async with hosting(function) as batcher:
        assert type(await outcome(batcher("deep"))) is WouldDeadlock
        await alone(batcher, 3)


async def test_a_function_that_calls_another_batcher_gets_its_answer():
    async def twice(items: list[Any]) -> list[Any]:
        return [2 * item for item in items]

    async with running(twice) as inner:

        async def function(items: list[Any]) -> list[Any]:
            return [await inner(item) for item in items]

        async with running(function) as outer:
            assert [await outer(item) for item in range(5)] == [0, 2, 4, 6, 8]
            assert [await inner(item) for item in range(5)] == [0, 2, 4, 6, 8]


@pytest.mark.virtual
async def test_a_policy_is_asked_of_what_stands_in_the_line():
    asked = []

    def policy(outlook: Any) -> float:
        asked.append(outlook)
        return 0.0

    async with running(Prompt(), policy=policy) as batcher:
        await alone(batcher, 4)
        now = asyncio.get_running_loop().time()
    assert [(outlook.count, outlook.oldest) for outlook in asked] == [(1, now)] * 4


@pytest.mark.virtual
@pytest.mark.parametrize("options", [{"max_wait": 0.5}, {"policy": CostObjective(0.5)}], ids=str)
async def test_who_is_to_wait_for_others_waits(options):
    function = Prompt()
    async with running(function, max_batch_size=2, **options) as batcher:
        for _ in range(3):
            await alone(batcher)
            first = calling(batcher, 1)
            await asyncio.sleep(0.001)
            assert await asyncio.gather(first, batcher(2)) == [1, 2]
    assert function.batches[-1] == [1, 2]


async def test_observers_hear_of_each_batch():
    events: list[Any] = []
    async with running(Prompt(), observers=[events.append]) as batcher:
        await alone(batcher, 3)
    told = [(type(event).__name__, event.size) for event in events if hasattr(event, "size")]
    assert told == [("BatchStarted", 1), ("BatchEnded", 1)] * 3
    assert [len(event.waits) for event in events if hasattr(event, "waits")] == [1] * 3


def test_a_call_from_another_loop_is_refused_as_ever():
    mine, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    batcher = Batcher(Prompt())

    async def enter() -> None:
        batcher.start_quietly()
        await alone(batcher, 2)

    mine.run_until_complete(enter())
    with pytest.raises(NotRunning):
        other.run_until_complete(batcher(1))
    mine.run_until_complete(alone(batcher, 2))
    mine.run_until_complete(batcher.aclose())
    mine.close()
    other.close()


def test_one_who_waits_as_the_loop_stops_is_served_as_it_goes_on():
    loop = asyncio.new_event_loop()
    batcher = Batcher(Prompt())

    async def enter() -> None:
        await batcher.__aenter__()
        await alone(batcher, 2)

    loop.run_until_complete(enter())
    task = loop.create_task(batcher(1))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert not task.done()
    assert loop.run_until_complete(task) == 1
    loop.run_until_complete(batcher.aclose())
    loop.close()


@pytest.mark.parametrize("answered", [False, True])
def test_one_who_waits_as_the_loop_ends_leaves_nothing_behind(answered):
    loop = asyncio.new_event_loop()
    batcher = Batcher(Prompt(), executor=InlineExecutor(2))

    async def enter() -> None:
        batcher.start_quietly()
        await alone(batcher, 2)

    loop.run_until_complete(enter())
    task = loop.create_task(batcher(1))
    loop.call_soon(loop.stop)
    loop.run_forever()
    if answered:
        assert loop.run_until_complete(task) == 1
    else:
        task._log_destroy_pending = False
    loop.close()
    del task
    gc.collect()
