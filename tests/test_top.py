"""`python -m asyncbatch top`: what it reads, what it makes of it, and the command itself against a real endpoint."""

from __future__ import annotations

import http.server
import math
import os
import pty
import socketserver
import subprocess
import sys
import threading
from collections import defaultdict, deque

import prometheus_client
import pytest

from asyncbatch import sync
from asyncbatch.__main__ import main
from asyncbatch.metrics.events import RequestDropped
from asyncbatch.metrics.prometheus import PrometheusObserver
from asyncbatch.top import Scrape, frame, parse, quantile


def test_labels_are_read_as_they_were_written():
    registry = prometheus_client.CollectorRegistry()
    odd = 'a "b" \\ {c}, d="e"\nf'
    PrometheusObserver(registry)(RequestDropped(odd, "expired", 1))
    read = parse(prometheus_client.generate_latest(registry).decode())
    assert list(read) == [odd]
    assert read[odd]["requests_total"]["expired"] == 1


def text(*lines):
    return "".join(f"asyncbatch_{line}\n" for line in lines)


def shown(before, now, history=None):
    history = defaultdict(lambda: deque(maxlen=40)) if history is None else history
    return list(frame(Scrape(0.0, parse(before)), Scrape(2.0, parse(now)), history))


def batcher(items, batches, busy, *, waits=(0, 0, 0), name="it"):
    b = f'batcher="{name}"'
    return text(
        f'requests_total{{{b},outcome="succeeded"}} {items}',
        f'requests_total{{{b},outcome="expired"}} 3',
        f'batches_total{{{b},reason="full"}} {batches * 3 / 4}',
        f'batches_total{{{b},reason="idle"}} {batches / 4}',
        f"batch_size_count{{{b}}} {batches}",
        f"batch_size_sum{{{b}}} {items}",
        f"run_seconds_sum{{{b}}} {busy}",
        f'queue_wait_seconds_bucket{{{b},le="0.01"}} {waits[0]}',
        f'queue_wait_seconds_bucket{{{b},le="0.1"}} {waits[1]}',
        f'queue_wait_seconds_bucket{{{b},le="+Inf"}} {waits[2]}',
        f"queue_depth{{{b}}} 12",
        f"in_flight_batches{{{b}}} 1",
        f"capacity_batches{{{b}}} 2",
    )


def test_a_frame_shows_what_happened_between_two_scrapes():
    lines = shown(batcher(100, 8, 1.0), batcher(500, 16, 3.0, waits=(100, 200, 200)))
    assert lines == [
        "",
        "it: 1 of 2 batches in flight, 50% busy",
        "  items a second      200  █",
        "  items a batch        50  █",
        "  in the queue         12  █",
        "  median wait       10 ms  █",
        "  99% wait        98.2 ms  █",
        "  median run         0 ms  ▁",
        "  batches left   full 75%, idle 25%",
        "  no result      expired 3",
    ]


def test_the_share_of_padding_is_shown_of_who_pads():
    def padded(elements, padding):
        b = 'batcher="it"'
        return batcher(1, 1, 1) + text(f"elements_total{{{b}}} {elements}", f"padding_elements_total{{{b}}} {padding}")

    assert "  padding             25%  █" in shown(padded(1000, 500), padded(1400, 600))
    assert "  padding              0%  ▁" in shown(padded(1000, 500), padded(1000, 500))
    assert not any("padding" in line for line in shown(padded(0, 0), padded(0, 0)))


def test_history_is_drawn_and_ends():
    history = defaultdict(lambda: deque(maxlen=3))
    for items in (200, 400, 800, 1600):
        lines = shown(batcher(0, 0, 0), batcher(items, 8, 1.0), history)
    assert lines[2] == "  items a second      800  ▃▅█"


def test_a_program_that_began_again_is_counted_from_0():
    assert shown(batcher(500, 8, 1), batcher(100, 8, 1))[2].split()[:4] == ["items", "a", "second", "50"]


def test_several_batchers_have_a_block_each_and_none_is_told():
    lines = shown("", batcher(1, 1, 1, name="b") + batcher(1, 1, 1, name="a"))
    assert [line.partition(":")[0] for line in lines if " of 2 batches" in line] == ["a", "b"]
    assert shown("", "process_cpu_seconds_total 1\n") == [
        "no batcher is observed there; write `observers=[PrometheusObserver()]`"
    ]


def test_quantiles_are_those_of_prometheus():
    buckets = {"1.0": 10.0, "2.0": 30.0, "+Inf": 40.0}
    assert quantile(0.25, buckets) == 1.0
    assert quantile(0.5, buckets) == 1.5
    assert quantile(0.99, buckets) == 2.0  # the highest bound there is
    assert quantile(0.5, {}) == quantile(0.5, {"1.0": 0.0, "+Inf": 0.0}) == 0.0
    assert not math.isnan(quantile(0.5, {"+Inf": 3.0}))


# The command.


@pytest.fixture
def observed():
    """A registry in which a batcher has counted."""
    registry = prometheus_client.CollectorRegistry()
    with sync.Batcher(lambda items: items, name="in threads", observers=[PrometheusObserver(registry)]) as batcher:
        batcher.map(range(100))
        yield registry


@pytest.fixture
def url(observed):
    server, thread = prometheus_client.start_http_server(0, "127.0.0.1", observed)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_it_looks_once(url, capsys):
    assert main(["top", url, "--every=0.01", "--once"]) == 0
    assert "in threads: 0 of 1 batches in flight, 0% busy\n" in capsys.readouterr().out


def test_it_looks_through_a_unix_socket(observed, tmp_path, capsys):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.path == "/metrics"
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(prometheus_client.generate_latest(observed))

        def address_string(self):
            return "it"

        def log_message(self, *_):
            pass

    path = os.path.relpath(tmp_path / "it.sock")  # as the path of a socket must not be long
    with socketserver.UnixStreamServer(path, Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert main(["top", f"unix:{path}", "--every=0.01", "--once"]) == 0
        server.shutdown()
        thread.join()
    assert "in threads: 0 of 1" in capsys.readouterr().out


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "unix:/nowhere/at/all", "http://127.0.0.1:{port}/nothing"])
def test_what_does_not_answer_is_an_error_in_a_line(url, capsys):
    class Nothing(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Nothing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert main(["top", url.format(port=server.server_port)]) == 1
        server.shutdown()
        thread.join()
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: no answer from ")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [[], ["localhost:80"], ["http://"], ["http://x", "--every=0"], ["http://x", "--every=nan"]]
)
def test_wrong_arguments_are_told(arguments, capsys):
    with pytest.raises(SystemExit):
        main(["top", *arguments])
    assert "error:" in capsys.readouterr().err


def test_in_a_terminal_a_frame_takes_the_place_of_the_last(url):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "asyncbatch", "top", url, "--every=0.05"]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env={**os.environ, "COLUMNS": "40"})
    os.close(theirs)
    seen = ""
    while seen.count("\x1b[J") < 2:
        seen += os.read(ours, 4096).decode(errors="replace")
    process.terminate()
    process.wait(10)
    os.close(ours)
    first, second = seen.split("\x1b[J")[:2]
    up = int(first.rpartition("\x1b[")[2].removesuffix("F"))
    assert second.count("\n") == up
    assert max(len(line.strip("\r")) for line in second.rpartition("\x1b")[0].split("\n")) <= 40
