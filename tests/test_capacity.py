"""How many batches run at once: built before the batcher is used, and changed while it is."""

from __future__ import annotations

import asyncio
import threading

import pytest
from callers import conserved, outcome, passes, running, until

from asyncbatch import Batcher, Closed, InlineExecutor, NotRunning, ThreadExecutor, batched, sync
from asyncbatch.metrics.events import WorkerReady
from asyncbatch.testing import RecordingFunction


class Model:
    """A model that takes its time to load: `gate` lets it, `built` counts."""

    built = 0
    gate = threading.Event()

    def __init__(self):
        assert type(self).gate.wait(10)
        type(self).built += 1

    def __call__(self, items):
        return items


@pytest.fixture
def model():
    return type("Model", (Model,), {"gate": threading.Event(), "built": 0})


# Warming up


async def test_entering_returns_when_every_worker_has_built_its_class(model):
    model.gate.set()
    async with running(model, executor=ThreadExecutor(3)) as batcher:
        assert model.built == 3
        assert await outcome(batcher(1)) == 1
    assert model.built == 3


async def test_progress_is_told_to_observers(model):
    events = []
    model.gate.set()
    async with running(model, executor=ThreadExecutor(3), name="it", observers=[events.append]):
        assert [(each.batcher, each.ready, each.workers) for each in events] == [("it", n, 3) for n in (1, 2, 3)]
        assert all(isinstance(each, WorkerReady) and each.seconds >= 0 for each in events)


async def test_workers_that_are_ready_are_counted(model):
    batcher = Batcher(model, executor=ThreadExecutor(2))
    entering = asyncio.create_task(batcher.__aenter__())
    await passes()
    assert batcher.statistics().workers_ready == 0
    model.gate.set()
    await entering
    assert batcher.statistics().workers_ready == 2
    await batcher.resize(1)
    assert batcher.statistics().workers_ready == 1
    await batcher.aclose()
    assert batcher.statistics().workers_ready == 0


@pytest.mark.virtual
async def test_a_worker_that_works_is_ready():
    async with running(RecordingFunction(seconds=1), executor=InlineExecutor(2)) as batcher:
        call = batcher.submit(1)
        await passes()
        assert batcher.statistics().in_flight == 1
        assert batcher.statistics().workers_ready == 2
        await call


async def test_entering_a_batcher_of_a_function_does_not_even_take_a_pass():
    seen = []
    asyncio.get_running_loop().call_soon(seen.append, "a pass")
    async with running(RecordingFunction(), executor=InlineExecutor(2)):
        assert seen == []


async def test_a_class_that_cannot_be_built_fails_the_block_and_leaves_nothing():
    class Broken:
        def __init__(self):
            raise OSError("no weights")

    batcher = Batcher(Broken, executor=ThreadExecutor(2))
    with pytest.raises(OSError, match="no weights"):
        async with batcher:
            raise AssertionError
    assert batcher.closed
    with pytest.raises(Closed):
        await batcher(1)


async def test_giving_up_on_a_class_that_takes_too_long_leaves_nothing(model):
    batcher = Batcher(model, executor=ThreadExecutor(2))
    entering = asyncio.create_task(batcher.__aenter__())
    await passes()
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert batcher.closed
    model.gate.set()


async def test_a_decorated_class_is_ready_when_its_block_is_entered(model):
    model.gate.set()
    embed = batched(model, executor=ThreadExecutor(2))
    async with embed:
        assert model.built == 2
        assert await outcome(embed(1)) == 1


# More, and fewer


@pytest.mark.virtual
async def test_more_batches_run_at_once_from_then_on():
    function = RecordingFunction(seconds=1)
    async with running(function, max_batch_size=1) as batcher:
        assert batcher.statistics().capacity == 1
        await asyncio.gather(*map(batcher, range(2)))
        assert function.most_running == 1
        await batcher.resize(3)
        assert batcher.statistics().capacity == 3
        assert "of 3 batches" in repr(batcher)
        await asyncio.gather(*map(batcher, range(9)))
        assert function.most_running == 3
        assert function.times == [0, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]


@pytest.mark.virtual
async def test_those_that_are_too_many_end_after_their_batch_and_nobody_is_lost():
    function = RecordingFunction(seconds=10)
    async with running(function, max_batch_size=1, executor=InlineExecutor(4)) as batcher:
        calls = [asyncio.create_task(batcher(item)) for item in range(8)]
        await asyncio.sleep(1)
        await batcher.resize(1)
        assert asyncio.get_running_loop().time() == 10
        assert await asyncio.gather(*calls) == list(range(8))
        assert function.times == [0, 0, 0, 0, 10, 20, 30, 40]
        assert batcher.statistics().capacity == 1
        assert conserved(batcher)


async def test_idle_ones_end_at_once():
    async with running(RecordingFunction(), executor=InlineExecutor(5)) as batcher:
        tasks = len(asyncio.all_tasks())
        await outcome(batcher.resize(2))
        await passes()
        assert len(asyncio.all_tasks()) == tasks - 3
        assert await asyncio.gather(*map(batcher, range(10))) == list(range(10))
        await outcome(batcher.resize(4))
        assert len(asyncio.all_tasks()) == tasks - 1
        assert await asyncio.gather(*map(batcher, range(10))) == list(range(10))


async def test_new_threads_have_built_their_class_when_it_returns(model):
    model.gate.set()
    async with running(model, executor=ThreadExecutor(1)) as batcher:
        await outcome(batcher.resize(3))
        assert model.built == 3
        await outcome(batcher.resize(1))
        assert await outcome(batcher(1)) == 1
        await outcome(batcher.resize(2))
        assert model.built == 4


async def test_a_worker_that_cannot_be_built_is_told_of_and_the_others_go_on(model):
    def fail_later(self):
        if type(self).built:
            raise OSError("out of memory")
        type(self).built += 1

    model.__init__ = fail_later
    async with running(model, executor=ThreadExecutor(1)) as batcher:
        assert isinstance(await outcome(batcher.resize(2)), OSError)
        assert await outcome(batcher.resize(1)) is None
        assert await outcome(batcher(1)) == 1


async def test_a_function_may_resize_its_own_batcher():
    async def function(items):
        await batcher.resize(items[0])
        return items

    async with running(function, max_batch_size=1, executor=InlineExecutor(2)) as batcher:
        assert await outcome(batcher(1)) == 1
        assert await outcome(batcher(3)) == 3
        assert batcher.statistics().capacity == 3


async def test_decorated_functions_can_resize():
    @batched
    async def same(items):
        return items

    await outcome(same.resize(3))
    assert same.statistics().capacity == 3
    await same.aclose()


def test_threads_can_resize():
    with sync.Batcher(lambda items: items) as batcher:
        batcher.resize(3)
        assert batcher.statistics().capacity == 3
        assert batcher(1) == 1


@pytest.mark.parametrize("capacity", [0, -1, 1.5, True, "2", None])
async def test_it_must_be_a_whole_number_of_at_least_one(capacity):
    async with running(RecordingFunction()) as batcher:
        with pytest.raises((TypeError, ValueError), match="capacity"):
            await batcher.resize(capacity)
        assert batcher.statistics().capacity == 1


async def test_before_entering_and_after_closing_there_is_nothing_to_resize():
    batcher = Batcher(RecordingFunction())
    with pytest.raises(NotRunning):
        await batcher.resize(2)
    async with batcher:
        pass
    with pytest.raises(Closed):
        await batcher.resize(2)


@pytest.mark.virtual
async def test_those_that_were_to_leave_stay_if_they_are_needed_again():
    function = RecordingFunction(seconds=10)
    async with running(function, max_batch_size=1, executor=InlineExecutor(4)) as batcher:
        calls = [asyncio.create_task(batcher(item)) for item in range(12)]
        await asyncio.sleep(1)
        shrinking = asyncio.create_task(batcher.resize(1))
        await passes()
        await batcher.resize(3)
        await asyncio.sleep(10)
        assert shrinking.done()
        assert await asyncio.gather(*calls) == list(range(12))
        assert function.most_running == 4
        assert function.times == [0, 0, 0, 0, 10, 10, 10, 20, 20, 20, 30, 30]


@pytest.mark.virtual
async def test_closing_while_it_shrinks_answers_all():
    function = RecordingFunction(seconds=10)
    async with running(function, max_batch_size=1, executor=InlineExecutor(3)) as batcher:
        calls = [asyncio.create_task(batcher(item)) for item in range(5)]
        await until(lambda: function.running == 3)
        shrinking = asyncio.create_task(batcher.resize(1))
        await passes()
    assert await asyncio.gather(*calls) == list(range(5))
    assert await outcome(shrinking) is None


@pytest.mark.virtual
async def test_up_and_down_under_load_loses_nobody():
    function = RecordingFunction(seconds=lambda size: 0.5 + size)
    async with running(function, max_batch_size=3, executor=InlineExecutor(2)) as batcher:
        calls = []
        for step in range(60):
            calls += [asyncio.create_task(batcher(3 * step + each)) for each in range(3)]
            resizing = asyncio.create_task(batcher.resize(1 + step * 7 % 5))
            await asyncio.sleep(0.7)
            assert conserved(batcher)
        assert await asyncio.gather(*calls) == list(range(180))
        await resizing
        assert function.most_running <= 5
