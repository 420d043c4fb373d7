"""What Prometheus is shown: through the real client, its text format, its multiprocess mode, and the real server."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
import weakref
from pathlib import Path

import pytest
from callers import busy, outcome, outcomes, passes, running

import prometheus_client as client
from prometheus_client.parser import text_string_to_metric_families

from asyncbatch import Fifo, Padded, ProcessExecutor, WorkerLost, batched, sync
from asyncbatch.metrics.prometheus import PrometheusObserver
from asyncbatch.testing import RecordingFunction

DASHBOARD = Path(__file__).parent.parent / "examples" / "grafana_dashboard.json"


@pytest.fixture
def registry():
    return client.CollectorRegistry()


def scraped(registry):
    """All samples of the text that Prometheus would get, but for those that say when they were made."""
    text = client.generate_latest(registry).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {
        (name.removeprefix("asyncbatch_"), *labels.values()): value
        for name, labels, value, *_ in samples
        if not name.endswith("_created")
    }


@pytest.mark.virtual
async def test_all_that_a_batcher_does_is_counted(registry):
    function = RecordingFunction(script=[2.0, 0.25, KeyError("x")])
    observers = [PrometheusObserver(registry)]
    async with running(function, name="embed", max_wait=1, max_batch_size=3, observers=observers) as batcher:
        assert await asyncio.gather(batcher(1), batcher(2)) == [1, 2]
        assert await batcher.map([3, 4, 5]) == [3, 4, 5]
        assert isinstance(await outcome(batcher(6)), KeyError)
        batcher.submit(7).cancel()
        await outcome(batcher(8, timeout=0))
        seen = scraped(registry)
    outcomes = {key[2]: value for key, value in seen.items() if key[0] == "requests_total"}
    assert outcomes == {"succeeded": 5, "failed": 1, "cancelled": 1, "expired": 1, "rejected": 0, "closed": 0}
    assert {key[2]: value for key, value in seen.items() if key[0] == "batches_total"} == {"wait": 2, "full": 1}
    assert (seen["batch_size_count", "embed"], seen["batch_size_sum", "embed"]) == (3, 6)
    assert (seen["run_seconds_count", "embed"], seen["run_seconds_sum", "embed"]) == (3, 2.25)
    # Two that waited for a second, a map that did not wait, and one more that waited.
    assert (seen["queue_wait_seconds_count", "embed"], seen["queue_wait_seconds_sum", "embed"]) == (4, 3)
    assert seen["queue_wait_seconds_bucket", "embed", "0.5"] == 1
    assert seen["worker_restarts_total", "embed"] == 0
    assert seen["elements_total", "embed"] == seen["padding_elements_total", "embed"] == 0


async def test_padding_is_two_sums_so_that_its_share_can_be_had_over_any_time(registry):
    adapter = Padded(lambda batch, mask: batch.sum(axis=1))
    async with running(adapter, name="it", max_batch_size=2, observers=[PrometheusObserver(registry)]) as batcher:
        assert await batcher.map([[1, 2, 3], [4], [5], [6]]) == [6, 4, 5, 6]
        seen = scraped(registry)
    assert (seen["elements_total", "it"], seen["padding_elements_total", "it"]) == (8, 2)


async def test_what_waits_and_flies_now_is_read_at_the_scrape(registry):
    options = {"name": "it", "queue": Fifo(3, "reject"), "observers": [PrometheusObserver(registry)]}
    async with busy(**options) as (batcher, _):
        waiting = [asyncio.ensure_future(outcome(batcher(i))) for i in range(4)]
        await passes()
        seen = scraped(registry)
        assert seen["queue_depth", "it"] == 3
        assert seen["in_flight_batches", "it"] == seen["capacity_batches", "it"] == 1
        assert seen["requests_total", "it", "rejected"] == 1
        batcher.release()
        await asyncio.gather(*waiting)
    seen = scraped(registry)
    assert seen["queue_depth", "it"] == seen["in_flight_batches", "it"] == 0
    assert seen["requests_total", "it", "succeeded"] == 4


async def test_batchers_and_observers_share_the_metrics_of_a_registry(registry):
    async with (
        running(RecordingFunction(), name="a", observers=[PrometheusObserver(registry)]) as a,
        running(RecordingFunction(), name="a", observers=[PrometheusObserver(registry)]) as another,
        running(RecordingFunction(), name="b", observers=[PrometheusObserver(registry)]) as b,
        running(RecordingFunction(), name="b", observers=[PrometheusObserver(client.CollectorRegistry())]) as elsewhere,
    ):
        for batcher in (a, another, b, elsewhere):
            assert await outcomes(batcher, 1, 2) == [1, 2]
        seen = scraped(registry)
    assert seen["requests_total", "a", "succeeded"] == 4
    assert seen["requests_total", "b", "succeeded"] == 2
    assert seen["capacity_batches", "a"] == 2


async def test_a_batcher_that_is_dropped_is_asked_no_more_and_what_it_counted_stays(registry):
    @batched(observers=[PrometheusObserver(registry)])
    async def double(items):
        return [2 * item for item in items]

    assert await double(1) == 2
    assert ("queue_depth", "double") in scraped(registry)
    del double
    for _ in range(3):
        await passes()
        gc.collect()
    seen = scraped(registry)
    assert ("queue_depth", "double") not in seen
    assert seen["requests_total", "double", "succeeded"] == 1


def test_a_registry_is_not_kept():
    registry = client.CollectorRegistry()
    PrometheusObserver(registry)
    ref = weakref.ref(registry)
    del registry
    gc.collect()
    assert ref() is None


def test_threads_are_counted_too_and_the_default_registry_is_that_of_the_client():
    with sync.Batcher(lambda items: items, name="in threads", observers=[PrometheusObserver()]) as batcher:
        assert batcher.map([1, 2, 3]) == [1, 2, 3]
    assert scraped(client.REGISTRY)["requests_total", "in threads", "succeeded"] == 3


def die(items):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.real
async def test_a_worker_that_is_lost_is_counted(registry):
    observers = [PrometheusObserver(registry)]
    async with running(die, executor=ProcessExecutor(), observers=observers) as batcher:
        assert isinstance(await outcome(batcher(1)), WorkerLost)
        assert await outcome(batcher(2)) is not None  # by then the loss was told
    assert scraped(registry)["worker_restarts_total", "die"] >= 1


def queries():
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


async def test_the_dashboard_shows_each_metric_and_no_other(registry):
    async with running(RecordingFunction(), observers=[PrometheusObserver(registry)]) as batcher:
        assert await batcher(1) == 1
        there = {f"asyncbatch_{key[0]}" for key in scraped(registry)}
        families = {family.name for family in registry.collect()}
    named = set(re.findall(r"asyncbatch_\w+", DASHBOARD.read_text(encoding="utf-8")))
    assert named - there == set()
    assert {family for family in families if not any(name.startswith(family) for name in named)} == set()


def test_importing_the_observer_registers_nothing():
    code = "import prometheus_client, asyncbatch.metrics.prometheus; print(prometheus_client.generate_latest().decode())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "asyncbatch" not in ran.stdout


def in_multiprocess_mode(program, folder):
    """What `program` prints where the client is in that mode."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    run = {"env": environment, "capture_output": True, "text": True, "timeout": 60, "check": True}
    return subprocess.run([sys.executable, "-c", program], **run).stdout


def test_several_processes_are_added_up_in_multiprocess_mode(tmp_path):
    program = """if True:
        import os
        from prometheus_client import CollectorRegistry, generate_latest, multiprocess
        from asyncbatch import AllowedSizes, sync
        from asyncbatch.metrics.prometheus import PrometheusObserver

        function = AllowedSizes(lambda items: items, (64,))
        batcher = sync.Batcher(function, name="same", observers=[PrometheusObserver()])
        batcher.map(range(5))
        for count in (7, 40):
            child = os.fork()
            if not child:
                batcher.map(range(count))
                os._exit(0)
            os.waitpid(child, 0)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        print(generate_latest(registry).decode())
    """

    text = in_multiprocess_mode(program, tmp_path)

    assert 'asyncbatch_requests_total{batcher="same",outcome="succeeded"} 52.0' in text
    assert 'asyncbatch_batch_size_sum{batcher="same"} 52.0' in text
    assert 'asyncbatch_batches_total{batcher="same",reason="full"} 1.0' in text
    assert 'asyncbatch_in_flight_batches{batcher="same"} 0.0' in text
    assert 'asyncbatch_queue_depth{batcher="same"} 0.0' in text
    assert 'asyncbatch_worker_restarts_total{batcher="same"} 0.0' in text
    assert 'asyncbatch_run_seconds_count{batcher="same"} 4.0' in text
    assert 'asyncbatch_queue_wait_seconds_count{batcher="same"} 4.0' in text
    assert 'asyncbatch_elements_total{batcher="same"} 256.0' in text
    assert 'asyncbatch_padding_elements_total{batcher="same"} 204.0' in text


def test_in_multiprocess_mode_the_depth_is_what_the_last_batch_left_behind(tmp_path):
    program = """if True:
        from threading import Semaphore
        from prometheus_client import CollectorRegistry, generate_latest, multiprocess
        from asyncbatch import sync
        from asyncbatch.metrics.prometheus import PrometheusObserver

        began, gate = Semaphore(0), Semaphore(0)

        def function(items):
            began.release()
            gate.acquire()
            return items

        with sync.Batcher(function, max_batch_size=1, name="it", observers=[PrometheusObserver()]) as batcher:
            calls = [batcher.submit(number) for number in range(4)]
            began.acquire()
            gate.release()
            began.acquire()
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)
            print(generate_latest(registry).decode())
            gate.release(3)
    """
    assert 'asyncbatch_queue_depth{batcher="it"} 2.0' in in_multiprocess_mode(program, tmp_path)


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


@contextlib.contextmanager
def prometheus(target, folder):
    """A Prometheus server that scrapes `target`, and what asks it."""
    (folder / "prometheus.yml").write_text(
        json.dumps(
            {"scrape_configs": [{"job_name": "it", "scrape_interval": "1s", "static_configs": [{"targets": [target]}]}]}
        )
    )
    port = free_port()
    command = [PROMETHEUS, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    server = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)

    def ask(query):
        url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
        with urllib.request.urlopen(url, timeout=10) as response:
            rows = json.load(response)["data"]["result"]
        return {row["metric"].get("outcome", ""): float(row["value"][1]) for row in rows}

    try:
        yield ask
    finally:
        server.terminate()
        server.wait(30)


PROMETHEUS = shutil.which("prometheus")


@pytest.mark.skipif(not PROMETHEUS, reason="Debian's prometheus is not installed")
def test_a_real_prometheus_scrapes_and_answers(registry, tmp_path):
    server, thread = client.start_http_server(0, "127.0.0.1", registry)
    try:
        with (
            prometheus(f"127.0.0.1:{server.server_port}", tmp_path) as ask,
            sync.Batcher(
                Padded(lambda rows, mask: mask.sum(axis=1)), name="it", observers=[PrometheusObserver(registry)]
            ) as batcher,
        ):
            batcher.map([[0] * (1 + n % 3) for n in range(100)])
            end = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError):
                    answer = ask('asyncbatch_requests_total{batcher="it"}')
                    if answer.get("succeeded") == 100:
                        break
                assert time.monotonic() < end, "Prometheus never had the figures"
                time.sleep(0.2)
            assert ask("histogram_quantile(0.9, asyncbatch_batch_size_bucket)") == {"": pytest.approx(30.0, abs=2.1)}
            assert ask("sum(asyncbatch_batches_total)") == {"": 4}
            left = [query.replace("$__rate_interval", "10s").replace("$batcher", ".*") for query in queries()]
            while left:  # each of the dashboard's has figures, from the second scrape on; one that is wrong is an error 400
                assert time.monotonic() < end, f"Prometheus has no figures for {left}"
                batcher.map([[0] * (1 + n % 3) for n in range(100)])
                time.sleep(0.2)
                left = [query for query in left if not any(map(math.isfinite, ask(query).values()))]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
