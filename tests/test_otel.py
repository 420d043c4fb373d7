"""What a tracer is shown: with the real SDK, and its exporter that keeps all spans in memory."""

from __future__ import annotations

import asyncio
import os

import pytest
from callers import outcome, running

from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from asyncbatch import AllowedSizes, InlineExecutor, ProcessExecutor, sync
from asyncbatch.metrics.otel import OpenTelemetryObserver
from asyncbatch.testing import RecordingFunction


class Tracing:
    def __init__(self):
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = provider.get_tracer("test")
        self.observer = OpenTelemetryObserver(self.tracer)

    async def as_span(self, name, call, *args):
        with self.tracer.start_as_current_span(name):
            return await outcome(call(*args))

    def spans(self):
        return {span.name: span for span in self.exporter.get_finished_spans()}

    def links(self):
        """Of each span, the names of those it has links to."""
        names = {span.context.span_id: span.name for span in self.exporter.get_finished_spans()}
        return {span.name: sorted(names[link.context.span_id] for link in span.links) for span in self.spans().values()}


@pytest.fixture
def tracing():
    return Tracing()


async def test_a_batch_and_its_callers_are_linked_both_ways(tracing):
    async with running(RecordingFunction(), name="embed", observers=[tracing.observer]) as batcher:
        calls = (
            tracing.as_span("one", batcher, 1),
            tracing.as_span("two", batcher, 2),
            tracing.as_span("map", batcher.map, [3, 4]),
        )
        assert await asyncio.gather(*calls, batcher(5)) == [1, 2, [3, 4], 5]
    batch = ["batch embed"]
    assert tracing.links() == {"one": batch, "two": batch, "map": batch, "batch embed": ["map", "one", "two"]}
    span = tracing.spans()["batch embed"]
    assert dict(span.attributes) == {
        "asyncbatch.batcher": "embed",
        "asyncbatch.batch.size": 5,
        "asyncbatch.batch.reason": "idle",
        "asyncbatch.batch.waited": pytest.approx(0, abs=1),
    }
    assert span.parent is None
    assert len({span.context.trace_id for span in tracing.spans().values()}) == 4


async def test_a_span_tells_how_much_of_its_batch_was_padding(tracing):
    async with running(AllowedSizes(RecordingFunction(), (4,)), name="it", observers=[tracing.observer]) as batcher:
        assert await batcher.map([1, 2, 3]) == [1, 2, 3]
    attributes = tracing.spans()["batch it"].attributes
    assert (attributes["asyncbatch.batch.elements"], attributes["asyncbatch.batch.padding"]) == (4, 1)


async def test_calls_of_one_span_have_one_link(tracing):
    async with running(RecordingFunction(), name="it", observers=[tracing.observer]) as batcher:
        with tracing.tracer.start_as_current_span("caller"):
            await asyncio.gather(*map(batcher, range(10)))
    assert tracing.links() == {"caller": ["batch it"], "batch it": ["caller"]}


async def test_of_a_batch_with_more_callers_than_the_sdk_keeps_links_each_caller_has_its_own(tracing):
    async with running(RecordingFunction(), name="it", max_batch_size=200, observers=[tracing.observer]) as batcher:
        await asyncio.gather(*[tracing.as_span(f"caller {n}", batcher, n) for n in range(200)])
    links = tracing.links()
    assert len(links.pop("batch it")) == 128
    assert links == {f"caller {n}": ["batch it"] for n in range(200)}


@pytest.mark.parametrize("executor", ["inline", "thread"])
async def test_the_function_runs_in_the_span_of_its_batch_and_sees_nothing_of_any_caller(tracing, executor):
    def function(items):
        seen.append((trace.get_current_span().name, baggage.get_all()))
        tracing.tracer.start_span("inside").end()
        return items

    seen = []
    async with running(function, name="it", executor=executor, observers=[tracing.observer]) as batcher:
        token = context.attach(baggage.set_baggage("user", "me"))
        assert await batcher(1) == 1
        assert baggage.get_baggage("user") == "me"
        context.detach(token)
    assert seen == [("batch it", {})]
    assert tracing.spans()["inside"].parent.span_id == tracing.spans()["batch it"].context.span_id
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_an_async_function_keeps_its_span_over_awaits_while_others_fly(tracing):
    async def function(items):
        names = []
        for _ in range(3):
            names.append(trace.get_current_span().get_span_context().span_id)
            await asyncio.sleep(0)
        return [set(names)] * len(items)

    options = {"max_batch_size": 1, "executor": InlineExecutor(3), "observers": [tracing.observer]}
    async with running(function, **options) as batcher:
        seen = await asyncio.gather(*map(batcher, range(3)))
    spans = [span.context.span_id for span in tracing.exporter.get_finished_spans()]
    assert sorted(seen, key=min) == sorted(({span} for span in spans), key=min)


async def test_a_batch_that_fails_is_an_error(tracing):
    function = RecordingFunction(script=[KeyError("secret")])
    async with running(function, name="it", observers=[tracing.observer]) as batcher:
        assert isinstance(await tracing.as_span("caller", batcher, 1), KeyError)
    span = tracing.spans()["batch it"]
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.attributes["error.type"] == "KeyError"
    assert "secret" not in span.to_json()


async def test_a_caller_whose_span_has_ended_is_linked_to_all_the_same(tracing):
    async with running(RecordingFunction(), name="it", observers=[tracing.observer]) as batcher:
        with tracing.tracer.start_as_current_span("caller"):
            future = batcher.submit(1)
        assert await future == 1
    assert tracing.links() == {"caller": [], "batch it": ["caller"]}


async def test_two_observers_have_a_span_each(tracing):
    other = Tracing()
    async with running(RecordingFunction(), name="it", observers=[tracing.observer, other.observer]) as batcher:
        assert await batcher(1) == 1
    assert list(tracing.spans()) == list(other.spans()) == ["batch it"]


async def test_without_an_sdk_nothing_happens():
    async with running(RecordingFunction(), observers=[OpenTelemetryObserver()]) as batcher:
        assert await batcher(1) == 1
        assert await batcher.map([1, 2]) == [1, 2]


def test_threads_are_linked_too(tracing):
    with sync.Batcher(lambda items: items, name="it", observers=[tracing.observer]) as batcher:
        with tracing.tracer.start_as_current_span("caller"):
            assert batcher(1) == 1
    assert tracing.links() == {"caller": ["batch it"], "batch it": ["caller"]}


def process_of(items):
    return [os.getpid() for _ in items]


@pytest.mark.real
async def test_a_batch_in_another_process_has_its_span_here(tracing):
    async with running(process_of, name="it", executor=ProcessExecutor(), observers=[tracing.observer]) as batcher:
        assert await tracing.as_span("caller", batcher, 1) != os.getpid()
    assert tracing.links() == {"caller": ["batch it"], "batch it": ["caller"]}
