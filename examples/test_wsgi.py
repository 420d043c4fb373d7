"""Flask and Django under gunicorn, which imports the application and then forks its workers, over real HTTP.

Run it: pytest examples/test_wsgi.py
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

httpx = pytest.importorskip(
    "httpx", reason="what web applications need is not installed; `nox -s examples` runs these tests"
)
pytest.importorskip("gunicorn")

HERE = Path(__file__).parent / "wsgi"
TEXTS = {"das ist ein Text": "de", "this is a text": "en", "il est un texte": "fr"}

# Calls before the fork: the thread that answered stays in the parent, and the child begins anew.
WARMED_UP = """
from language import batcher
assert batcher("this is a warm-up")["language"] == "en"
from flask_app import app
"""

SLOW = """
import time
import language
from asyncbatch import Fifo, sync

def slow(texts):
    time.sleep(0.5)
    return [{} for _ in texts]

language.batcher = sync.Batcher(slow, max_batch_size=1, queue=Fifo(4, when_full="reject"))
from APP import app
"""


@contextlib.contextmanager
def serving(app, *options, folder=HERE):
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        address = "127.0.0.1:{1}".format(*it.getsockname())
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--preload",
        f"--bind={address}",
        f"--pythonpath={HERE},{folder}",
        *options,
    ]
    server = subprocess.Popen([*command, f"{app}:app"], stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 30
        while True:
            assert server.poll() is None, server.stderr.read()
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"http://{address}/")
                break
            assert time.monotonic() < end
            time.sleep(0.02)
        yield f"http://{address}"
        server.terminate()
        assert server.wait(30) == 0
    finally:
        server.kill()
        log = server.communicate()[1]
    assert "Traceback" not in log, log


def ask(url, texts):
    async def all_at_once():
        limits = httpx.Limits(max_connections=len(texts), max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=30) as client:
            return await asyncio.gather(*[client.get("/language", params={"text": text}) for text in texts])

    return asyncio.run(all_at_once())


@pytest.mark.parametrize("app", ["flask_app", "django_app", "warmed_up"])
def test_requests_of_a_process_share_batches(app, tmp_path):
    (tmp_path / "warmed_up.py").write_text(WARMED_UP)
    pytest.importorskip({"warmed_up": "flask"}.get(app, app.removesuffix("_app")))
    with serving(app, "--workers=2", "--threads=16", folder=tmp_path) as url:
        texts = [*TEXTS] * 20
        answers, rounds = [], 0
        while rounds < 20 and max((answer["together"] for answer in answers), default=1) == 1:  # it depends on luck
            answers = [answer.json() for answer in ask(url, texts)]
            assert [answer["language"] for answer in answers] == [TEXTS[text] for text in texts]
            rounds += 1
    assert max(answer["together"] for answer in answers) > 1


@pytest.mark.parametrize("app", ["flask_app", "django_app"])
def test_who_finds_no_room_or_waits_too_long_is_told(app, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW.replace("APP", app))
    pytest.importorskip(app.removesuffix("_app"))
    with serving("slow", "--threads=16", folder=tmp_path) as url:
        answers = ask(url, ["x"] * 12)
        assert {answer.status_code for answer in answers} == {200, 503, 504}
        assert {int(answer.headers["Retry-After"]) >= 1 for answer in answers if answer.status_code == 503} == {True}
