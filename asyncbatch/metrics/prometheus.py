"""Metrics for Prometheus: what batchers did and what waits now, in a registry of prometheus_client. The extra `prometheus`.

    Batcher(embed, observers=[PrometheusObserver()])

    asyncbatch_requests_total{batcher,outcome}      items by outcome, as in `Statistics`
    asyncbatch_batches_total{batcher,reason}        batches that left, by the reason why then
    asyncbatch_batch_size{batcher}                  items in a batch
    asyncbatch_queue_wait_seconds{batcher}          a request's wait in the queue; a `map` counts once for each batch
    asyncbatch_run_seconds{batcher}                 a batch's time on the executor
    asyncbatch_in_flight_batches{batcher}           batches that run now
    asyncbatch_worker_restarts_total{batcher}       workers that were lost
    asyncbatch_queue_depth{batcher}                 items that wait now
    asyncbatch_capacity_batches{batcher}            how many batches can run at once
    asyncbatch_elements_total{batcher}              what the function worked on, where that is counted: elements, or items
    asyncbatch_padding_elements_total{batcher}      how many of these were there only to fill up

The label `batcher` is the name of a batcher. The waste of padding is `rate(asyncbatch_padding_elements_total[5m]) /
rate(asyncbatch_elements_total[5m])`. They are two counters and not a share, as sums can be added up over processes and over
any time before they are divided; a mean of shares would count a small batch as much as a large one. Where nobody pads, both
stay at 0.
"""

from __future__ import annotations

import os
import weakref
from collections import defaultdict
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from .events import BatchEnded, BatchStarted, RequestDropped, WorkerDied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .events import Event
    from .statistics import Statistics

__all__ = ("PrometheusObserver",)

_OUTCOMES = ("succeeded", "failed", "cancelled", "expired", "rejected", "closed")
_MULTIPROCESS = {"PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"}  # in the environment, as the client looks for it
_SIZES = [2**n for n in range(13)]
# From what an idle batcher takes to what callers rarely wait for, in steps of about two.
_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]


class PrometheusObserver:
    """An observer that keeps the metrics of any number of batchers in `registry`.

    Observers of one registry share its metrics, and batchers of one name share their series. What a batcher has counted
    stays when it is closed, as counters do. `asyncbatch_queue_depth` and `asyncbatch_capacity_batches` are read from the
    batchers at the scrape, in whatever thread that is, and end when those are dropped. No batcher is kept alive.

    In prometheus_client's multiprocess mode only what was written to files can be scraped, added up over the processes: the
    depth of the queue is as it was when a batch last left or came back, or a request was dropped; the capacity is left out.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        metrics = _all_metrics.get(registry)
        if metrics is None:
            metrics = _all_metrics[registry] = _Metrics(registry)
        self._metrics = metrics

    def opened(self, name: str, statistics: Callable[[], Statistics]) -> None:
        """Show the series of a batcher from the beginning, as `asyncbatch.metrics.events` says."""
        self._metrics.of(name)
        self._metrics.live.add(name, statistics)

    def __call__(self, event: Event) -> None:
        """Count what `event` tells."""
        series = self._metrics.of(event.batcher)
        match event:
            case BatchStarted():
                series.batches(event.reason).inc()
                series.in_flight.inc()
                series.size.observe(event.size)
                for waited in event.waits:
                    series.wait.observe(waited)
            case BatchEnded():
                series.in_flight.dec()
                series.run.observe(event.seconds)
                series.requests["succeeded"].inc(event.succeeded)
                series.requests["failed"].inc(event.failed)
                if event.elements:
                    series.elements.inc(event.elements)
                    series.padding.inc(event.padding)
            case RequestDropped():
                series.requests[event.outcome].inc(event.size)
            case WorkerDied():
                series.restarts.inc()
        if series.depth is not None:
            series.depth.set(self._metrics.live.totals()[event.batcher][0])


class _Metrics:
    """The metrics of one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def make(kind: type[Any], name: str, text: str, *labels: str, **options: Any) -> Any:
            return kind(f"asyncbatch_{name}", text, ["batcher", *labels], registry=registry, **options)

        self.requests = make(Counter, "requests", "Items, by what became of them.", "outcome")
        self.batches = make(Counter, "batches", "Batches that left the queue, by the reason why then.", "reason")
        self.size = make(Histogram, "batch_size", "Items in a batch.", buckets=_SIZES)
        self.wait = make(Histogram, "queue_wait_seconds", "Wait of a request in the queue.", buckets=_SECONDS)
        self.run = make(Histogram, "run_seconds", "Time of a batch on the executor.", buckets=_SECONDS)
        self.in_flight = make(Gauge, "in_flight_batches", "Batches that run now.", multiprocess_mode="livesum")
        self.restarts = make(Counter, "worker_restarts", "Workers that were lost.")
        self.elements = make(Counter, "elements", "What the function worked on, where that is counted.")
        self.padding = make(Counter, "padding_elements", "What of that was there only to fill up.")
        self.live = _Live()
        self.depth = None
        if os.environ.keys() & _MULTIPROCESS:
            self.depth = make(Gauge, "queue_depth", "Items that waited then.", multiprocess_mode="livesum")
        else:
            registry.register(self.live)
        self._series: dict[str, _Series] = {}

    def of(self, name: str) -> _Series:
        series = self._series.get(name)
        if series is None:
            series = self._series[name] = _Series(self, name)
        return series


class _Series:
    """The metrics of one batcher. Looking a label up takes longer than counting, so it is done once."""

    def __init__(self, metrics: _Metrics, name: str) -> None:
        self.requests = {outcome: metrics.requests.labels(name, outcome) for outcome in _OUTCOMES}
        self.size = metrics.size.labels(name)
        self.wait = metrics.wait.labels(name)
        self.run = metrics.run.labels(name)
        self.in_flight = metrics.in_flight.labels(name)
        self.restarts = metrics.restarts.labels(name)
        self.elements = metrics.elements.labels(name)
        self.padding = metrics.padding.labels(name)
        self.depth = metrics.depth and metrics.depth.labels(name)
        self._batches = metrics.batches
        self._name = name

    def batches(self, reason: str) -> Any:
        return self._batches.labels(self._name, reason)


class _Live(Collector):
    """What is asked of batchers at the scrape."""

    def __init__(self) -> None:
        self._batchers: dict[weakref.WeakMethod[Callable[[], Statistics]], str] = {}

    def add(self, name: str, statistics: Callable[[], Statistics]) -> None:
        self._batchers[weakref.WeakMethod(statistics, self._batchers.pop)] = name

    def totals(self) -> defaultdict[str, tuple[int, int]]:
        """Return how many items wait, and how many batches can run at once, for the batchers of each name."""
        totals: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for reference, name in self._batchers.copy().items():  # others may open or go meanwhile
            if (statistics := reference()) is not None:
                now, (queued, slots) = statistics(), totals[name]
                totals[name] = queued + now.queued, slots + now.capacity
        return totals

    def collect(self) -> Iterator[GaugeMetricFamily]:
        depth = GaugeMetricFamily("asyncbatch_queue_depth", "Items that wait now.", labels=["batcher"])
        capacity = GaugeMetricFamily("asyncbatch_capacity_batches", "Batches that can run at once.", labels=["batcher"])
        for name, (queued, slots) in self.totals().items():
            depth.add_metric([name], queued)
            capacity.add_metric([name], slots)
        yield from (depth, capacity)


_all_metrics: weakref.WeakKeyDictionary[CollectorRegistry, _Metrics] = weakref.WeakKeyDictionary()
