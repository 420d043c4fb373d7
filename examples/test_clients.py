"""Clients of models and databases in batches, asked for real: services that enforce their limits, PostgreSQL, and Redis.

Run it: pytest examples/test_clients.py

PostgreSQL and Redis are Debian's packages postgresql and redis-server: tests start both on a free port of this machine, with
a folder of their own, and stop them; where one is not installed its tests are skipped.
"""

import ast
import asyncio
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

openai = pytest.importorskip("openai", reason="clients are not installed; `nox -s clients` runs these tests")
HERE = Path(__file__).parent / "clients"
sys.path.insert(0, str(HERE))

import gate  # noqa: E402
import httpx  # noqa: E402
import openai_embeddings  # noqa: E402
import postgres  # noqa: E402
import tei_embeddings  # noqa: E402
from stand_in import Service, embedding, tokens  # noqa: E402

from asyncbatch import Batcher, Checkpoint, Coalesced, InlineExecutor, ItemTooLarge  # noqa: E402
from asyncbatch.testing import VirtualClockLoop  # noqa: E402

LIMITS = {"max_inputs": 16, "max_input_tokens": 20, "max_request_tokens": 40}


def ran(script, *arguments):
    """What an example prints, and what it says that it prints."""
    text = ast.get_docstring(ast.parse((HERE / script).read_text(encoding="utf-8")))
    assert f"Run it: python examples/clients/{script}" in text
    said = re.sub("^    ", "", text.partition("It prints:\n\n")[2], flags=re.MULTILINE)
    it = subprocess.run(
        [sys.executable, "-W", "error", HERE / script, *arguments], capture_output=True, text=True, timeout=60
    )
    assert (it.stderr, it.returncode) == ("", 0)
    return it.stdout, said + "\n"


# Models


@contextlib.asynccontextmanager
async def embedding_with(service, *, concurrency=4, timeout=30.0, limits=LIMITS):
    async with service.serving() as url, openai_embeddings.client(f"{url}/v1", "a key", timeout) as client:
        function = openai_embeddings.Embed(client, "text-embedding-3-small")
        async with openai_embeddings.embedder(function, concurrency=concurrency, **limits) as embed:
            yield embed, function


def texts(count):
    return [f"text {n} " + "word " * (n % 9) for n in range(count)]


@pytest.mark.parametrize("script", ["openai_embeddings.py", "tei_embeddings.py"])
def test_a_model_example_prints_what_it_says(script):
    printed, said = ran(script)
    assert printed == said


def test_requests_stay_within_every_limit_and_answers_keep_their_order():
    async def main():
        service = Service(**LIMITS)
        async with embedding_with(service, concurrency=3) as (embed, function):
            assert await asyncio.gather(*map(embed, texts(300))) == [embedding(text) for text in texts(300)]
            assert await embed.map(texts(300)[::-1]) == [embedding(text) for text in texts(300)[::-1]]
        assert set(service.statuses) == {200}
        assert service.most_at_once == 3
        assert max(map(len, service.requests)) <= 16
        assert max(sum(map(tokens, request)) for request in service.requests) <= 40
        assert function.tokens == 2 * sum(map(tokens, texts(300)))

    asyncio.run(main())


def test_the_service_is_as_strict_as_it_is_said_to_be():
    async def main():
        service = Service(**LIMITS)
        async with embedding_with(service, limits={}) as (embed, _):
            for wrong in (["word"] * 17, ["word " * 21], ["word " * 20] * 3):
                with pytest.raises(openai.BadRequestError):
                    await embed.batcher.map(wrong)
        assert service.statuses == [400] * 3

    asyncio.run(main())


def test_a_text_over_its_limit_fails_alone_before_it_is_sent():
    async def main():
        service = Service(**LIMITS)
        items = ["fine", "word " * 21, "", "also fine"]
        async with embedding_with(service) as (embed, _):
            answers = await asyncio.gather(*map(embed, items), return_exceptions=True)
            assert [type(each) for each in answers] == [list, ItemTooLarge, ItemTooLarge, list]
            in_turn = [each async for each in embed.batcher.imap(items, return_exceptions=True)]
            assert [type(each) for each in in_turn] == [list, ItemTooLarge, ItemTooLarge, list]
        assert service.requests == [["fine", "also fine"]] * 2
        async with embedding_with(service, limits={**LIMITS, "max_input_tokens": 100}) as (embed, _):
            with pytest.raises(ItemTooLarge, match="max_batch_cost=40"):
                await embed("word " * 41)
        assert set(service.statuses) == {200}

    asyncio.run(main())


def test_identical_texts_share_one_and_are_paid_once():
    async def main():
        service = Service(**LIMITS)
        async with embedding_with(service) as (embed, function):
            answers = await asyncio.gather(*[embed(f"text {n % 10}") for n in range(200)])
        assert answers == [embedding(f"text {n % 10}") for n in range(200)]
        assert sorted(text for request in service.requests for text in request) == [f"text {n}" for n in range(10)]
        assert function.tokens == 20

    asyncio.run(main())


def test_after_429_nobody_asks_again_before_it_is_time():
    async def main():
        service = Service(**LIMITS, requests_a_period=4, period=0.5)
        async with embedding_with(service, concurrency=4) as (embed, _):
            assert await embed.map(texts(60)) == [embedding(text) for text in texts(60)]
        answered, refused = service.statuses.count(200), service.statuses.count(429)
        assert answered > 8
        assert 0 < refused <= 4 * (answered // 4)  # each of those that were on their way, once a period

    asyncio.run(main())


def test_the_gate_holds_back_those_who_were_not_refused_too():
    async def main():
        it = gate.Gate()
        clock = asyncio.get_running_loop().time
        await it.wait(None)
        await it.look(httpx.Response(429, headers={"Retry-After": "2.5"}))
        await it.look(httpx.Response(429, headers={"Retry-After": "1"}))
        await it.look(
            httpx.Response(429, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"})
        )  # the client's own business
        await it.look(httpx.Response(200, headers={"Retry-After": "60"}))
        began = clock()
        await asyncio.gather(*[it.wait(None) for _ in range(3)])
        assert clock() - began == pytest.approx(2.5)

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(main())


def test_what_breaks_or_dawdles_is_asked_again():
    async def main():
        service = Service(**LIMITS, mishaps=[500, 30.0, 503, 502])
        async with embedding_with(service, timeout=0.5) as (embed, function):
            assert await embed.map(texts(40)) == [embedding(text) for text in texts(40)]
        assert sorted(status for status in service.statuses if status != 200) == [500, 502, 503]
        assert function.tokens == sum(map(tokens, texts(40)))

    asyncio.run(main())


def test_a_service_that_stays_broken_fails_its_callers_with_its_own_error():
    async def main():
        async with Service(mishaps=[500] * 100).serving() as url:
            async with openai_embeddings.client(f"{url}/v1", "a key").with_options(max_retries=0) as client:
                async with openai_embeddings.embedder(openai_embeddings.Embed(client, "model")) as embed:
                    answers = await asyncio.gather(embed("one"), embed("two"), return_exceptions=True)
        assert [type(each) for each in answers] == [openai.InternalServerError] * 2
        assert answers[0] is not answers[1]

    asyncio.run(main())


def test_a_long_job_goes_on_where_the_service_broke(tmp_path):
    async def job(service):
        async with embedding_with(service) as (embed, function):
            function.client = function.client.with_options(max_retries=0)
            checkpoint = Checkpoint(tmp_path / "job.sqlite", fingerprint=function.model)
            return [each async for each in embed.batcher.imap(texts(200), checkpoint=checkpoint, return_exceptions=True)]

    first, second = Service(**LIMITS, mishaps=[0.01] * 10 + [500] * 5), Service(**LIMITS)
    failed = [isinstance(each, openai.InternalServerError) for each in asyncio.run(job(first))]
    assert 0 < sum(failed) < 100
    assert asyncio.run(job(second)) == [embedding(text) for text in texts(200)]
    assert sum(map(len, second.requests)) == sum(failed)


def test_tei_is_asked_within_the_limits_that_it_tells():
    async def main():
        service = Service(max_inputs=8, max_input_tokens=20, max_at_once=3, mishaps=[503, 500])
        async with service.serving() as url, httpx.AsyncClient(base_url=url, timeout=10) as client:
            async with await tei_embeddings.embedder(client, concurrency=3) as embed:
                assert await asyncio.gather(*map(embed, texts(100))) == [embedding(text) for text in texts(100)]
                with pytest.raises(ItemTooLarge, match="may have 20"):
                    await embed("word " * 21)
                for wrong, status in ((["word " * 21], 413), (["word"] * 9, 422)):  # it is as strict as that
                    assert (await client.post("/embed", json={"inputs": wrong})).status_code == status

    asyncio.run(main())


# Databases


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


@contextlib.contextmanager
def server(command, port, **options):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    try:
        end = time.monotonic() + 30
        while True:
            assert process.poll() is None, process.stdout.read()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert time.monotonic() < end
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def folder():
    """A folder that a server of another user can reach, too."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="module")
def postgresql(folder):
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path(shutil.which("initdb") or "nowhere").parent]
    if not (binaries[-1] / "postgres").exists():
        pytest.skip("PostgreSQL is not installed; on Debian it is the package postgresql")
    as_whom = {}
    if os.geteuid() == 0:  # which it refuses to run as
        as_whom = {"user": "postgres", "group": "postgres"}
        shutil.chown(folder, "postgres", "postgres")
    data, port = folder / "data", free_port()
    init = [binaries[-1] / "initdb", "-D", data, "-U", "me", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
    subprocess.run(init, check=True, capture_output=True, cwd=folder, **as_whom)
    told = ["log_statement=all", "logging_collector=on", f"log_directory={folder}", "log_filename=log", "fsync=off"]
    told += ["listen_addresses=127.0.0.1", f"port={port}", f"unix_socket_directories={folder}"]
    command = [binaries[-1] / "postgres", "-D", data, *[each for setting in told for each in ("-c", setting)]]
    with server(command, port, cwd=folder, **as_whom):
        yield f"postgresql://me@127.0.0.1:{port}/postgres", folder / "log"


@pytest.fixture(scope="module")
def redis():
    if not shutil.which("redis-server"):
        pytest.skip("Redis is not installed; on Debian it is the package redis-server")
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        with server(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", name, "--save", ""], port):
            yield f"redis://127.0.0.1:{port}"


def test_the_example_of_postgresql_prints_what_it_says_and_the_server_saw_as_much(postgresql):
    url, log = postgresql
    before = log.read_text()
    printed, said = ran("postgres.py", url)
    assert printed == said
    statements = log.read_text().removeprefix(before)
    assert statements.count("WHERE id = ANY($1::bigint[])") == 10
    assert statements.count("INSERT INTO asyncbatch_users") > 10


def test_rows_are_found_by_whoever_asks_and_in_whatever_order(postgresql):
    import asyncpg

    async def main():
        async with asyncpg.create_pool(postgresql[0], min_size=2, max_size=2) as pool:
            await pool.execute(postgres.TABLE)
            try:
                users = postgres.Users(pool)
                async with Batcher(users.insert, max_batch_size=10, executor=InlineExecutor(2)) as insert:
                    ids = await insert.map([(f"{n}@", str(n)) for n in range(95)])
                    assert len(set(ids)) == 95
                    twice = await insert.map([("new@", "a"), ("0@", "b"), ("new@", "c")], return_exceptions=True)
                    assert [type(each) for each in twice] == [int, postgres.EmailTaken, postgres.EmailTaken]
                wanted = [*ids[::-1], ids[3], ids[3], 10**6]
                async with Coalesced(Batcher(users.find, max_batch_size=10, executor=InlineExecutor(2))) as find:
                    rows = await find.map(wanted)
                assert [row and row["name"] for row in rows] == [*map(str, range(94, -1, -1)), "3", "3", None]
            finally:
                await pool.execute("DROP TABLE asyncbatch_users")

    asyncio.run(main())


def test_the_example_of_redis_prints_what_it_says_and_the_server_saw_as_much(redis):
    from redis import Redis

    printed, said = ran("redis_mget.py", redis)
    assert printed == said
    with Redis.from_url(redis) as client:
        assert client.info("commandstats")["cmdstat_mget"]["calls"] == 10
