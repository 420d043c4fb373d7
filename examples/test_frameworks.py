"""The same small service with several frameworks, each of them called for real.

Run it: pytest examples/test_frameworks.py
"""

import asyncio
import contextlib
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

httpx = pytest.importorskip("httpx", reason="what web services need is not installed; `nox -s examples` runs these tests")

HERE = Path(__file__).parent / "frameworks"
UVICORN = [sys.executable, "-m", "uvicorn", "--app-dir", HERE]
COMMANDS = {
    "starlette": [*UVICORN, "starlette_app:app"],
    "litestar": [*UVICORN, "litestar_app:app"],
    "aiohttp": [sys.executable, HERE / "aiohttp_app.py"],
    "grpc": [sys.executable, HERE / "grpc_app.py"],
}


@contextlib.contextmanager
def serving(framework):
    pytest.importorskip(framework)
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        port = it.getsockname()[1]
    server = subprocess.Popen([*COMMANDS[framework], "--port", str(port)], stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 30
        while True:
            assert server.poll() is None, server.stderr.read()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert time.monotonic() < end
            time.sleep(0.02)
        yield port
        server.send_signal(signal.SIGINT)
        server.wait(30)
    finally:
        server.kill()
        log = server.communicate()[1]
    assert not re.search("Exception|Error", log.replace("KeyboardInterrupt", "").replace("CancelledError", "")), log


@pytest.mark.parametrize("framework", ["starlette", "litestar", "aiohttp"])
def test_it_answers_over_http(framework):
    async def ask(texts):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            return await asyncio.gather(*[client.get("/length", params={"text": text}) for text in texts])

    with serving(framework) as port:
        assert [answer.json() for answer in asyncio.run(ask(["a", "bb", "ccc"]))] == [1, 2, 3]
        late = httpx.get(f"http://127.0.0.1:{port}/length?text=x", headers={"X-Timeout": "0"})
        assert late.status_code == 504


def test_it_answers_over_grpc():
    grpc = pytest.importorskip("grpc")

    async def ask(port):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            length = channel.unary_unary("/it/Length")
            assert await asyncio.gather(*[length(text, timeout=30) for text in (b"a", b"bb", b"ccc")]) == [b"1", b"2", b"3"]

    with serving("grpc") as port:
        asyncio.run(ask(port))
