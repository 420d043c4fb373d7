"""What observers can ask for beyond events: to hear of each request, of a batcher that opens, and the context of a batch."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from contextvars import ContextVar

import pytest
from callers import busy, kinds, outcome, outcomes, passes, running

from asyncbatch import DeadlineExceeded, EarliestDeadline, Fifo, Keyed, Priority, QueueFull
from asyncbatch.metrics.events import BatchEnded, BatchStarted, RequestDropped, RequestQueued
from asyncbatch.testing import RecordingFunction

WHO: ContextVar[object] = ContextVar("who", default=None)


class Curious:
    """Remembers all it is told, and in whose context."""

    wants_requests = True

    def __init__(self):
        self.events = []
        self.contexts = []

    def __call__(self, event):
        self.events.append(event)
        self.contexts.append(WHO.get())

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    def callers(self):
        return [[each.get(WHO) for each in event.callers] for event in self.of(BatchStarted)]


async def call_as(who, call, *args, **details):
    WHO.set(who)
    return await call(*args, **details)


async def test_who_asks_hears_of_each_request_in_the_context_of_its_caller():
    observer, plain = Curious(), []
    async with running(RecordingFunction(), name="embed", observers=[observer, plain.append]) as batcher:
        one, two = call_as("one", batcher, 1), call_as("two", batcher.map, [2, 3])
        assert await asyncio.gather(one, two) == [1, [2, 3]]
        WHO.set("three")
        assert await batcher.submit(4) == 4
        assert [each async for each in batcher.imap([5])] == [5]
    assert observer.of(RequestQueued) == [RequestQueued("embed", size) for size in (1, 2, 1, 1)]
    assert observer.contexts[:2] == ["one", "two"]
    assert observer.callers() == [["one", "two"], ["three"], ["three"]]
    assert len(observer.of(BatchStarted)[0].waits) == 2
    assert plain == observer.events


async def test_nobody_pays_for_what_nobody_asked_for():
    events = []
    async with running(RecordingFunction(), observers=[events.append]) as batcher:
        assert await outcomes(batcher, 1, 2) == [1, 2]
        assert not batcher._unusual
    assert [type(each) for each in events] == [BatchStarted, BatchEnded]
    assert events[0].callers == ()


@pytest.mark.parametrize("queue", [Fifo(1), EarliestDeadline(1), Priority(1), Keyed(1, key=bool)])
async def test_the_items_of_a_map_bring_its_context_into_each_batch(queue):
    observer = Curious()
    async with running(RecordingFunction(), queue=queue, max_batch_size=2, observers=[observer]) as batcher:
        assert await call_as("me", batcher.map, [0, 1, 2, 0, 0]) == [0, 1, 2, 0, 0]
    assert observer.of(RequestQueued) == [RequestQueued("RecordingFunction", 5)]
    assert {who for callers in observer.callers() for who in callers} == {"me"}


@pytest.mark.parametrize("when_full", ["wait", "reject", "evict"])
async def test_who_is_turned_away_was_never_queued(when_full):
    observer = Curious()
    async with busy(queue=Fifo(1, when_full), observers=[observer]) as (batcher, _):
        waiting = asyncio.create_task(outcome(batcher(1)))
        await passes()
        late = asyncio.create_task(outcome(batcher(2)))
        await passes()
        batcher.release()
        results = kinds(await asyncio.gather(waiting, late))
    assert results == {"wait": [1, 2], "reject": [1, QueueFull], "evict": [QueueFull, 2]}[when_full]
    assert len(observer.of(RequestQueued)) == (2 if when_full == "reject" else 3)


async def test_a_request_that_is_late_at_once_was_queued_and_dropped():
    observer = Curious()
    async with running(RecordingFunction(), name="it", observers=[observer]) as batcher:
        assert isinstance(await outcome(batcher(1, timeout=0)), DeadlineExceeded)
    assert observer.events == [RequestQueued("it", 1), RequestDropped("it", "expired", 1)]


async def test_nothing_keeps_the_context_of_a_caller_that_was_answered():
    class Secret:
        pass

    async def submitted(batcher):
        WHO.set(secret)
        future = batcher.submit(1)
        await asyncio.wait([future])
        return future

    secret = Secret()
    ref = weakref.ref(secret)
    observer = Curious()
    async with running(RecordingFunction(), observers=[observer]) as batcher:
        future = await asyncio.create_task(submitted(batcher))
        assert await asyncio.create_task(call_as(secret, batcher.map, [1, 2])) == [1, 2]
        observer.events.clear()
        observer.contexts.clear()
        del secret, submitted
        await passes()
        gc.collect()
        assert ref() is None
        assert future.result() == 1


@pytest.mark.parametrize("executor", ["inline", "thread"])
async def test_what_is_set_as_a_batch_starts_is_there_in_the_function_and_at_its_end(executor):
    seen = []

    def observer(event):
        if isinstance(event, BatchStarted):
            WHO.set(f"batch {event.size}")
        seen.append(WHO.get())

    def function(items):
        seen.append(WHO.get())
        WHO.set("the function's")
        return items

    async with running(function, executor=executor, observers=[observer]) as batcher:
        assert await batcher.map([1, 2]) == [1, 2]
        assert await batcher(3) == 3
    assert seen == ["batch 2", "batch 2", "the function's", "batch 1", "batch 1", "the function's"]
    assert WHO.get() is None


async def test_a_batch_that_nobody_waits_for_ends_for_observers_while_its_thread_goes_on():
    gate, events = threading.Event(), []
    async with running(lambda items: gate.wait(10) and items, executor="thread", observers=[events.append]) as batcher:
        call = asyncio.ensure_future(outcome(batcher(1)))
        await passes()
        await batcher.aclose(drain=False, timeout=0)
        assert [type(each) for each in events][-1] is BatchEnded
        assert events[-1].succeeded == events[-1].failed == 0
        gate.set()
        await call


class Opened:
    def __init__(self, *errors):
        self.told = []
        self.errors = errors

    def opened(self, name, statistics):
        self.told.append((name, weakref.WeakMethod(statistics)))
        for error in self.errors:
            raise error

    def __call__(self, event):
        pass


async def test_an_observer_is_told_of_a_batcher_that_opens_and_can_ask_it_in_any_thread():
    observer = Opened()
    async with running(RecordingFunction(), name="it", observers=[observer, print]) as batcher:
        ((name, statistics),) = observer.told
        assert name == "it"
        assert await batcher(1) == 1
        asked = []
        thread = threading.Thread(target=lambda: asked.append(statistics()()))
        thread.start()
        thread.join()
        assert asked == [batcher.statistics()]
    async with batcher:
        assert len(observer.told) == 2
    del batcher
    gc.collect()
    assert [statistics() for _, statistics in observer.told] == [None, None]


async def test_an_observer_that_raises_as_a_batcher_opens_harms_nobody(caplog):
    async with running(RecordingFunction(), observers=[Opened(KeyError("no"))]) as batcher:
        assert await batcher(1) == 1
    assert "observer" in caplog.text
    caplog.clear()
