"""Traces for OpenTelemetry: one span a batch, linked to its callers' spans, and they to it. The extra `otel`, API only.

    Batcher(embed, observers=[OpenTelemetryObserver()])

The span is named `batch embed` and begins a trace of its own, as a batch has many callers. Its attributes are
`asyncbatch.batcher`, `asyncbatch.batch.size`, `asyncbatch.batch.reason` and, in seconds and of its oldest request,
`asyncbatch.batch.waited`; where padding is counted, `asyncbatch.batch.elements` and `asyncbatch.batch.padding`, as in
`Statistics`; and `error.type` if the whole batch failed.
"""

from __future__ import annotations

from contextvars import Context, ContextVar
from typing import TYPE_CHECKING

from opentelemetry import context, trace
from opentelemetry.trace import Link, Span, Status, StatusCode

from .events import BatchEnded, BatchStarted

if TYPE_CHECKING:
    from .events import Event

__all__ = ("OpenTelemetryObserver",)


class OpenTelemetryObserver:
    """An observer that makes a span of each batch with `tracer`, by default of the global provider.

    It is the current span while the function runs, unless that is in another process. It has a link to each span that was
    current where a caller called, and each of those spans gets a link to it, if it has not ended. The SDK keeps 128 links
    of a span by default: of a larger batch only the links from the callers are complete. Each request takes the longer way.
    """

    wants_requests = True

    def __init__(self, tracer: trace.Tracer | None = None) -> None:
        self._tracer = trace.get_tracer("asyncbatch") if tracer is None else tracer
        self._span: ContextVar[Span] = ContextVar("asyncbatch.span")  # there may be another observer with another tracer

    def __call__(self, event: Event) -> None:
        """Begin or end the span of a batch."""
        match event:
            case BatchStarted():
                self._begin(event)
            case BatchEnded():
                self._end(event)

    def _begin(self, event: BatchStarted) -> None:
        callers = {span.get_span_context().span_id: span for span in map(_current_in, event.callers)}
        callers.pop(trace.INVALID_SPAN_ID, None)
        span = self._tracer.start_span(
            f"batch {event.batcher}",
            links=[Link(each.get_span_context()) for each in callers.values()],
            attributes={
                "asyncbatch.batcher": event.batcher,
                "asyncbatch.batch.size": event.size,
                "asyncbatch.batch.reason": event.reason,
                "asyncbatch.batch.waited": event.waited,
            },
        )
        for each in callers.values():
            if each.is_recording():
                each.add_link(span.get_span_context())
        self._span.set(span)
        context.attach(trace.set_span_in_context(span))

    def _end(self, event: BatchEnded) -> None:
        span = self._span.get()
        if event.elements:
            span.set_attributes({"asyncbatch.batch.elements": event.elements, "asyncbatch.batch.padding": event.padding})
        if event.error is not None:
            span.set_attribute("error.type", event.error)
            span.set_status(Status(StatusCode.ERROR))
        span.end()


def _current_in(caller: Context) -> Span:
    return caller.run(trace.get_current_span)
