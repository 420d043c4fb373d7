"""The same small service with several frameworks, each of them called for real.

Run it: pytest examples/test_frameworks.py
"""

import asyncio
import contextlib
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

httpx = pytest.importorskip("httpx", reason="what web services need is not installed; `nox -s examples` runs these tests")

HERE = Path(__file__).parent / "frameworks"
UVICORN = ["-m", "uvicorn", "--app-dir", HERE]
COMMANDS = {
    "starlette": [*UVICORN, "starlette_app:app"],
    "litestar": [*UVICORN, "litestar_app:app"],
    "aiohttp": [HERE / "aiohttp_app.py"],
    "grpc": [HERE / "grpc_app.py"],
}

# Runs what follows in the command line, with room for two who wait, and a function that goes on until it is let go.
CROWDED = """
import asyncio, runpy, sys
from pathlib import Path
import asyncbatch

HERE = Path(__file__).parent

class Batcher(asyncbatch.Batcher):
    def __init__(self, function, *, queue):
        async def slow(texts):
            (HERE / "began").touch()
            try:
                while not (HERE / "go").exists():
                    await asyncio.sleep(0.02)
                return await function(texts)
            finally:
                (HERE / "ended").touch()

        super().__init__(slow, max_batch_size=1, queue=asyncbatch.Fifo(2, queue.when_full))

asyncbatch.Batcher = Batcher
if sys.argv[1] == "-m":
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
else:
    del sys.argv[:1]
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def crowded(tmp_path):
    (tmp_path / "crowded.py").write_text(CROWDED)
    return tmp_path / "crowded.py"


def eventually(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


@contextlib.contextmanager
def serving(framework, *through):
    pytest.importorskip(framework)
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        port = it.getsockname()[1]
    command = [sys.executable, *through, *COMMANDS[framework], "--port", str(port)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 30
        while True:
            assert server.poll() is None, server.stderr.read()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert time.monotonic() < end
            time.sleep(0.02)
        yield port, server
        server.terminate()
        server.wait(30)
    finally:
        server.kill()
        log = server.communicate()[1]
    assert not re.search("Exception|Error", log.replace("KeyboardInterrupt", "").replace("CancelledError", "")), log


HTTP = ["starlette", "litestar", "aiohttp"]


def get(port, texts, **headers):
    async def all_at_once():
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as client:
            return await asyncio.gather(*[client.get("/length", params={"text": text}) for text in texts])

    return asyncio.run(all_at_once())


@pytest.mark.parametrize("framework", HTTP)
def test_it_answers_over_http(framework):
    with serving(framework) as (port, _):
        assert [answer.json() for answer in get(port, ["a", "bb", "ccc"])] == [1, 2, 3]
        assert get(port, ["x"], **{"X-Timeout": "0"})[0].status_code == 504


@pytest.mark.parametrize("framework", HTTP)
def test_who_finds_no_room_or_waits_too_long_is_told(framework, crowded):
    with serving(framework, crowded) as (port, _):
        answers = get(port, "x" * 20, **{"X-Timeout": "2"})
    assert {answer.status_code for answer in answers} == {503, 504}
    assert {int(answer.headers["Retry-After"]) >= 1 for answer in answers if answer.status_code == 503} == {True}


@pytest.mark.parametrize("framework", HTTP)
def test_a_client_that_hangs_up_stops_costing(framework, crowded):
    with serving(framework, crowded) as (port, _):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /length?text=x HTTP/1.1\r\nHost: it\r\n\r\n")
            eventually((crowded.parent / "began").exists)
        eventually((crowded.parent / "ended").exists)


def over_grpc(port, calls):
    """Give `calls` the method."""
    grpc = pytest.importorskip("grpc")

    async def asking():
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            return await calls(channel.unary_unary("/it/Length"))

    return asyncio.run(asking())


def test_it_answers_over_grpc():
    async def calls(length):
        return await asyncio.gather(*[length(text, timeout=30) for text in (b"a", b"bb", b"ccc")])

    with serving("grpc") as (port, _):
        assert over_grpc(port, calls) == [b"1", b"2", b"3"]


def test_who_finds_no_room_or_waits_too_long_is_told_over_grpc(crowded):
    async def calls(length):
        return await asyncio.gather(*[length(b"x", timeout=2) for _ in range(20)], return_exceptions=True)

    with serving("grpc", crowded) as (port, _):
        errors = over_grpc(port, calls)
        eventually((crowded.parent / "ended").exists)
    assert {error.code().name for error in errors} == {"RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
    told = [dict(error.trailing_metadata()) for error in errors if error.code().name == "RESOURCE_EXHAUSTED"]
    assert {int(metadata["retry-after"]) >= 1 for metadata in told} == {True}


def test_a_call_that_is_cancelled_stops_costing_over_grpc(crowded):
    async def calls(length):
        call = length(b"x")
        await asyncio.to_thread(eventually, (crowded.parent / "began").exists)
        assert call.cancel()

    with serving("grpc", crowded) as (port, _):
        over_grpc(port, calls)
        eventually((crowded.parent / "ended").exists)


def ask(framework, port):
    if framework != "grpc":
        return httpx.get(f"http://127.0.0.1:{port}/length?text=xxx", timeout=60).json()

    async def call(length):
        return int(await length(b"xxx", timeout=60))

    return over_grpc(port, call)


@pytest.mark.parametrize("framework", COMMANDS)
def test_who_was_let_in_is_answered_when_it_stops(framework, crowded):
    def refuses():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return False
        return True

    with serving(framework, crowded) as (port, server), ThreadPoolExecutor() as threads:
        call = threads.submit(ask, framework, port)
        eventually((crowded.parent / "began").exists)
        server.terminate()
        eventually(refuses)
        assert server.poll() is None
        (crowded.parent / "go").touch()
        assert call.result() == 3
        server.wait(30)  # here, as a second signal while the loop closes is reported by Python itself
