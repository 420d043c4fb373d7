"""The web service, over real HTTP and in a real browser; each test starts one, and stops it with SIGTERM.

Run it: pytest examples/test_web_service.py
"""

import asyncio
import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

httpx = pytest.importorskip(
    "httpx", reason="what the web service needs is not installed; `nox -s examples` runs these tests"
)
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

HERE = Path(__file__).parent / "web_service"
CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update"
)


class Service:
    """A service that runs, and a client of it."""

    def __init__(self, process, port):
        self.process, self.port, self.url = process, port, f"http://127.0.0.1:{port}"

    def get(self, path, **options):
        return httpx.get(self.url + path, **options)

    def metric(self, name):
        found = re.search(f"^{re.escape(name)} (.*)$", self.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def outcome(self, name):
        return self.metric(f'asyncbatch_requests_total{{batcher="search",outcome="{name}"}}')

    def eventually(self, condition):
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end, "it never came true"
            time.sleep(0.02)

    def load(self, *options):
        command = [sys.executable, HERE / "load.py", f"--port={self.port}", *options]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def stop(self):
        """Let it end in order; uvicorn then ends by the signal that it got, as it would have without a handler."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30) == -signal.SIGTERM


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


@contextlib.contextmanager
def serving(*options, program=HERE / "service.py", port=None):
    port = port or free_port()
    command = [sys.executable, program, f"--port={port}", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    service = Service(process, port)

    def is_up():
        assert process.poll() is None, process.stderr.read().decode()
        with contextlib.suppress(httpx.TransportError):
            return service.get("/health").status_code == 200

    try:
        service.eventually(is_up)
        yield service
    finally:
        process.kill()
        log = process.communicate()[1].decode()
    assert "Traceback" not in log, log


@pytest.fixture(scope="module")
def service():
    with serving("--max-wait=0.05") as service:
        yield service


async def searches(service, queries, **headers):
    limits = httpx.Limits(max_connections=len(queries))
    async with httpx.AsyncClient(base_url=service.url, limits=limits, timeout=30) as client:
        return await asyncio.gather(*[client.get("/search", params={"q": query}, headers=headers) for query in queries])


def test_many_searches_share_batches_and_each_gets_its_own_answer(service):
    queries = ["the greatest common divisor", "choose a random element from a sequence"] * 20
    answers = asyncio.run(searches(service, queries))
    assert [answer.json()["name"] for answer in answers] == ["math.gcd", "random.choice"] * 20
    batches, items = (service.metric(f'asyncbatch_batch_size_{each}{{batcher="search"}}') for each in ("count", "sum"))
    assert items == 40
    assert batches < 30


def test_who_has_no_time_gets_504_and_never_runs(service):
    before = service.outcome("succeeded")
    answers = [
        service.get("/search?q=x", headers={"X-Timeout": value}).status_code for value in ("0", "-1", "soon", "nan", "20")
    ]
    assert answers == [504, 422, 422, 422, 200]
    assert service.outcome("expired") == 1
    assert service.outcome("succeeded") == before + 1


def test_it_says_how_it_is(service):
    assert service.get("/health").json() == {"workers_ready": 1}
    assert "# TYPE asyncbatch_queue_wait_seconds histogram" in service.get("/metrics").text


def test_when_the_queue_is_full_callers_are_told_when_to_come_back():
    with serving("--queue=4", "--max-wait=0.2") as service:
        answers = asyncio.run(searches(service, ["x"] * 60))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 503}
        assert {int(answer.headers["Retry-After"]) >= 1 for answer in answers if answer.status_code == 503} == {True}
        assert service.outcome("rejected") == statuses.count(503)
        assert service.outcome("succeeded") == statuses.count(200)
        assert service.stop()


def test_a_client_that_hangs_up_costs_nothing():
    with serving("--max-wait=600") as service:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", service.port)) as client:
                client.sendall(b"GET /search?q=x HTTP/1.1\r\nHost: it\r\n\r\n")
                service.eventually(lambda: service.metric('asyncbatch_queue_depth{batcher="search"}') == 1)
        service.eventually(lambda: service.outcome("cancelled") == 3)
        assert service.metric('asyncbatch_queue_depth{batcher="search"}') == 0
        assert service.metric('asyncbatch_batch_size_count{batcher="search"}') == 0
        assert service.stop()


ALTERED = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
import service
{change}
if __name__ == "__main__":
    service.main()
"""


def altered(folder, change):
    """Return a program that is the service, but for a `change`."""
    program = folder / "altered.py"
    program.write_text(ALTERED.format(here=str(HERE), change=change))
    return program


DYING = """
class Dying:
    def __init__(self):
        while Path(__file__).with_name("hold").exists():
            time.sleep(0.02)

    def __call__(self, queries):
        return queries if "die" not in queries else os._exit(1)

service.Search = Dying
"""


def test_a_lost_worker_costs_one_batch_and_is_replaced(tmp_path):
    with serving(program=altered(tmp_path, DYING)) as service:
        (tmp_path / "hold").touch()  # the next one takes its time
        answer = service.get("/search?q=die", timeout=30)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        service.eventually(lambda: service.get("/health").status_code == 503)
        (tmp_path / "hold").unlink()
        service.eventually(lambda: service.get("/health").status_code == 200)
        assert service.get("/search?q=x", timeout=30).json() == "x"
        assert service.metric('asyncbatch_worker_restarts_total{batcher="search"}') == 1
        assert service.stop()


def test_stopping_under_load_answers_who_was_let_in():
    async def stopped(service):
        calls = asyncio.create_task(searches(service, ["a long query of many words"] * 60))
        while not (await asyncio.to_thread(service.metric, 'asyncbatch_queue_depth{batcher="search"}')):
            assert not calls.done()
        with httpx.stream("GET", service.url + "/live") as page:  # which is open, and does not hold it up
            next(page.iter_lines())
            status = await asyncio.to_thread(service.stop)
            return status, [answer.status_code for answer in await calls]

    with serving("--max-wait=2") as service:
        assert asyncio.run(stopped(service)) == (True, [200] * 60)


# It flushes, as a signal ends this program in the end, and what is not out by then is lost.
COUNTED = """
class Counted(service.Batcher):
    async def __aexit__(self, *error):
        await super().__aexit__(*error)
        print(self.statistics().submitted, self.statistics().succeeded, flush=True)

service.Batcher = Counted
"""


def test_stopping_under_a_steady_load_loses_nothing(tmp_path):
    """Callers who ask again as soon as they are answered: all that they sent is answered, and then they are told to go."""
    with serving(program=altered(tmp_path, COUNTED)) as service:
        load = service.load("--seconds=60", "--waves=1", "--callers=100", "--pause=0.001")
        service.eventually(lambda: service.outcome("succeeded") > 500)
        assert service.stop()
        said, complaints = load.communicate(timeout=60)
        submitted, succeeded = map(int, service.process.stdout.read().split())
    assert complaints == ""
    assert said.startswith(f"{{200: {submitted}}} ")
    assert submitted == succeeded


def test_top_shows_what_the_service_does(service):
    load = service.load("--seconds=20", "--waves=1", "--callers=20")
    try:
        service.eventually(lambda: service.metric('asyncbatch_in_flight_batches{batcher="search"}'))
        command = [sys.executable, "-m", "asyncbatch", "top", f"{service.url}/metrics", "--once"]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    finally:
        load.kill()
        load.communicate()
    assert re.search("^search: [01] of 1 batches in flight, [0-9]+% busy$", shown, re.MULTILINE)
    assert float(re.search("items a second +([0-9.,]+)", shown)[1].replace(",", "")) > 0


def test_the_page_is_told_what_happens():
    with serving() as service, httpx.stream("GET", service.url + "/live", timeout=30) as page:
        lines = page.iter_lines()
        idle = json.loads(next(lines).removeprefix("data: "))
        assert idle["batches"] == idle["waits"] == []
        assert (idle["queued"], idle["capacity"], idle["ready"]) == (0, 1, 1)
        asyncio.run(searches(service, ["x"] * 30))
        ticks = []
        while sum(tick["outcomes"]["succeeded"] for tick in ticks) < 30:
            line = next(lines)
            ticks += [json.loads(line.removeprefix("data: "))] if line else []
        assert sum(size for tick in ticks for size, _ in tick["batches"]) == 30
        assert {reason for tick in ticks for _, reason in tick["batches"]} <= {"idle", "full"}
        assert all(
            0 <= middle <= slow < 30 for tick in ticks for middle, slow in [tick["waits"] or (0, 0), tick["runs"] or (0, 0)]
        )


@contextlib.contextmanager
def chromium():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed; `nox -s examples` runs this test"
    )
    if not CHROMIUM:
        pytest.skip("Debian's chromium is not installed")
    with playwright.sync_playwright() as run:
        browser = run.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()


def test_the_page_draws_it_in_a_browser(tmp_path):
    with serving() as service, chromium() as browser:
        asked, errors = [], []
        for scheme in ("light", "dark"):
            page = browser.new_page(color_scheme=scheme, viewport={"width": 1400, "height": 900})
            page.on("request", lambda request: asked.append(request.url))
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda message: errors.append(message.text))
            page.goto(service.url)
            page.get_by_text("1 of 1 worker ready").wait_for()
            load = service.load("--seconds=3", "--waves=1", "--callers=120")
            page.wait_for_function("document.querySelector('.tile b').textContent !== '0'")
            page.get_by_label("query").fill("the greatest common divisor")
            page.get_by_label("query").press("Enter")
            page.get_by_text("math.gcd").wait_for()
            said, complaints = load.communicate(timeout=60)
            assert "{200: " in said, complaints
            # Each canvas has been drawn on in more than the colours of its lines and letters, which are all grey.
            drawn = page.evaluate("""[...document.querySelectorAll("canvas")].map(canvas => {
                const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
                let coloured = 0
                for (let i = 0; i < data.length; i += 4)
                    coloured += data[i + 3] > 20 && Math.max(...data.slice(i, i + 3)) - Math.min(...data.slice(i, i + 3)) > 60
                return coloured
            })""")
            assert len(drawn) == 6
            assert min(drawn) > 50, drawn
            page.screenshot(path=tmp_path / f"{scheme}.png")
            page.set_viewport_size({"width": 360, "height": 740})  # a telephone, on which nothing is cut off to the right
            assert page.evaluate("document.documentElement.scrollWidth") == 360
            page.screenshot(path=tmp_path / f"{scheme}-small.png", full_page=True)
            page.close()
        assert errors == []
        assert {url.partition("/")[2].split("/")[1] for url in asked} == {f"127.0.0.1:{service.port}"}
        assert service.stop()


def test_the_page_says_when_the_service_is_gone_and_goes_on_when_it_is_back():
    def says(text):
        page.get_by_role("status").get_by_text(text).wait_for()

    with chromium() as browser:
        page = browser.new_page()
        with serving() as service:
            page.goto(service.url)
            says("1 of 1 worker ready")
            load = service.load("--seconds=60", "--waves=1", "--callers=20")
            page.wait_for_function("document.querySelector('.tile b').textContent !== '0'")
            assert service.stop()
            load.communicate(timeout=60)
        says("no connection")
        page.wait_for_function("document.querySelector('.tile b').textContent === '0'")  # time goes on
        page.get_by_label("query").fill("anything")
        page.get_by_label("query").press("Enter")
        page.get_by_text("is the service running?").wait_for()
        with serving(port=service.port) as service:
            says("1 of 1 worker ready")
            assert service.stop()
