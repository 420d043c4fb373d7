"""A checkpoint: what is in the file is not computed again, what is not there is, whatever ended the job before."""

from __future__ import annotations

import contextlib
import json
import pickle
import random
import signal
import sqlite3
import subprocess
import sys
import time

import anyio
import numpy as np
import pytest
from callers import conserved, kinds, passes, running

from asyncbatch import Checkpoint, CheckpointError, Fifo, InlineExecutor, ItemTooLarge, batched
from asyncbatch.testing import RecordingFunction


@pytest.fixture
def path(tmp_path):
    return tmp_path / "job.sqlite"


class Noting(RecordingFunction):
    """Remembers its batches, and gives what `function` gives for them."""

    def __init__(self, function, seconds=0.0):
        super().__init__(seconds=seconds)
        self.function = function

    async def __call__(self, items):
        return self.function(await super().__call__(items))


async def job(function, items, checkpoint, *, ordered=True, return_exceptions=False, **options):
    """The results, and the items that were computed."""
    recording = Noting(function)
    async with running(recording, **{"max_batch_size": 4, **options}) as batcher:
        imap = batcher.imap(items, checkpoint=checkpoint, ordered=ordered, return_exceptions=return_exceptions)
        results = [result async for result in imap]
        assert conserved(batcher)
    return results, recording.items


def tens(items):
    return [10 * item for item in items]


def rows(path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return dict(db.execute("SELECT id, result FROM asyncbatch_results"))


# Going on where it stopped


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_second_run_gives_the_same_and_computes_nothing(path, ordered):
    checkpoint = Checkpoint(path)
    first, computed = await job(tens, range(30), checkpoint, ordered=ordered)
    assert sorted(first) == tens(range(30))
    assert sorted(computed) == list(range(30))
    again, computed = await job(tens, range(30), checkpoint, ordered=ordered)
    assert sorted(again) == sorted(first)
    assert computed == []


async def test_the_order_is_that_of_the_source_wherever_a_result_comes_from(path):
    await job(tens, range(0, 40, 3), Checkpoint(path))
    items = list(range(40))
    random.Random(1).shuffle(items)
    results, computed = await job(tens, items, Checkpoint(path), executor=InlineExecutor(3))
    assert results == tens(items)
    assert sorted(computed) == [item for item in range(40) if item % 3]


async def test_what_failed_is_tried_again_and_nothing_else(path):
    def at_first(items):
        return [KeyError("x") if item % 4 == 1 else 10 * item for item in items]

    results, computed = await job(at_first, range(10), Checkpoint(path), return_exceptions=True)
    assert kinds(results) == [0, KeyError, 20, 30, 40, KeyError, 60, 70, 80, KeyError]
    assert len(computed) == 10
    results, computed = await job(tens, range(10), Checkpoint(path))
    assert results == tens(range(10))
    assert computed == [1, 5, 9]


@pytest.mark.parametrize("ordered", [True, False])
async def test_an_error_ends_the_job_and_what_was_there_by_then_is_kept(path, ordered):
    def broken(items):
        return [KeyError("x") if item == 6 else 10 * item for item in items]

    with pytest.raises(KeyError):
        await job(broken, range(20), Checkpoint(path), ordered=ordered)
    results, computed = await job(tens, range(20), Checkpoint(path))
    assert results == tens(range(20))
    assert set(computed) >= {6}
    assert not {*range(6), 7} & set(computed)


async def test_what_was_yielded_before_the_caller_left_is_not_computed_again(path):
    seen = []
    async with running(Noting(tens), max_batch_size=4) as batcher:
        async with contextlib.aclosing(batcher.imap(iter(range(10**9)), checkpoint=Checkpoint(path))) as results:
            async for result in results:
                seen.append(result)
                if len(seen) == 11:
                    break
        await passes()
        assert batcher.statistics().queued == 0
        assert conserved(batcher)
    results, computed = await job(tens, range(50), Checkpoint(path))
    assert results == tens(range(50))
    assert not set(range(11)) & set(computed)


@pytest.mark.virtual
async def test_a_cancelled_scope_closes_the_file_and_leaves_nothing_behind(path):
    async with running(Noting(tens, seconds=1), max_batch_size=2) as batcher:
        with anyio.move_on_after(2.5):
            async for _ in batcher.imap(range(100), checkpoint=Checkpoint(path)):
                pass
        await passes()
        assert batcher.statistics().queued == batcher.statistics().in_flight == 0
        assert conserved(batcher)
    assert len(rows(path)) == 4


async def test_a_batched_function_takes_one_too(path):
    calls = []

    @batched(max_batch_size=4)
    async def function(items):
        calls.extend(items)
        return tens(items)

    for _ in range(2):
        async with function:
            assert [each async for each in function.imap(range(9), checkpoint=Checkpoint(path))] == tens(range(9))
    assert calls == list(range(9))


async def test_a_source_need_not_fit_in_memory(path):
    read = yielded = 0

    def source():
        nonlocal read
        for item in range(500):
            read += 1
            assert read - yielded <= 20 + 1
            yield item

    async with running(tens, max_batch_size=4) as batcher:
        async for _ in batcher.imap(source(), checkpoint=Checkpoint(path), read_ahead=20):
            yielded += 1
    assert yielded == 500


@pytest.mark.parametrize("when_full", ["wait", "reject", "evict"])
async def test_its_own_read_ahead_does_not_turn_it_away(path, when_full):
    results, _ = await job(tens, range(30), Checkpoint(path), queue=Fifo(2, when_full))
    assert results == tens(range(30))


async def test_an_item_that_is_too_large_has_its_place_among_the_results(path):
    options = {"cost": lambda item: item, "max_batch_cost": 9, "oversized": "reject"}
    results, _ = await job(tens, range(12), Checkpoint(path), return_exceptions=True, **options)
    assert kinds(results) == [*tens(range(10)), ItemTooLarge, ItemTooLarge]


async def test_a_job_that_was_left_in_the_middle_can_be_started_again_at_once(path):
    async with running(tens, max_batch_size=4) as batcher:
        for _ in range(3):
            async for _ in batcher.imap(range(50), checkpoint=Checkpoint(path)):
                break  # and its file is closed as the iterator is collected
        assert [each async for each in batcher.imap(range(50), checkpoint=Checkpoint(path))] == tens(range(50))


async def test_what_it_waits_for_becomes_few_transactions(path, monkeypatch):
    served = []
    from asyncbatch.checkpoint import _Ledger

    serve = _Ledger._serve
    monkeypatch.setattr(_Ledger, "_serve", lambda self, asked: served.append(len(asked)) or serve(self, asked))
    await job(tens, range(1000), Checkpoint(path), max_batch_size=50)
    assert sum(served) == 2000
    assert len(served) < 200


# Ids, fingerprints, what is kept


async def test_a_second_item_with_an_id_fails_alone_and_its_message_tells_where(path):
    items = ["one", "two", "one", "three"]
    results, computed = await job(
        lambda words: [len(word) for word in words], items, Checkpoint(path), return_exceptions=True
    )
    assert kinds(results) == [3, 3, CheckpointError, 5]
    assert "item 2 of the source has the id of item 0" in str(results[2])
    assert computed == ["one", "two", "three"]
    with pytest.raises(CheckpointError, match="ids are unique"):  # and in the next run, where the first is not computed
        await job(tens, items, Checkpoint(path))


async def test_ids_are_compared_by_what_they_are(path):
    items = [1, "1", [1], 1.5, None, True, 2**80, "\ud800", {"a": 1, "b": 2}]
    results, _ = await job(lambda items: [str(type(item)) for item in items], items, Checkpoint(path))
    assert results == [str(type(item)) for item in items]
    _, computed = await job(lambda items: items, [{"b": 2, "a": 1}], Checkpoint(path))
    assert computed == []


async def test_a_key_says_what_tells_items_apart(path):
    pairs = [(n, object()) for n in range(5)]
    checkpoint = Checkpoint(path, key=lambda pair: pair[0])
    assert (await job(lambda pairs: [n for n, _ in pairs], pairs, checkpoint))[0] == list(range(5))
    assert sorted(rows(path)) == ["0", "1", "2", "3", "4"]


async def test_an_id_that_cannot_be_one_fails_its_item_and_says_what_to_write(path):
    results, _ = await job(lambda items: [0] * len(items), ["x", object()], Checkpoint(path), return_exceptions=True)
    assert kinds(results) == [0, CheckpointError]
    assert "this object" in str(results[1])
    assert "key=lambda item:" in str(results[1])


async def test_a_key_that_raises_fails_its_item(path):
    results, _ = await job(tens, [{"id": 1}, {}], Checkpoint(path, key=lambda row: row["id"]), return_exceptions=True)
    assert isinstance(results[1], KeyError)


async def test_results_of_another_fingerprint_stay_and_are_not_used(path):
    small, large = (Checkpoint(path, fingerprint={"model": size, "dim": 3}) for size in ("small", "large"))
    await job(tens, range(5), small)
    results, computed = await job(lambda items: items, range(5), large)
    assert (results, computed) == (list(range(5)), list(range(5)))
    again = Checkpoint(path, fingerprint={"dim": 3, "model": "small"})
    assert await job(tens, range(5), again) == (tens(range(5)), [])
    with pytest.raises(CheckpointError, match="a fingerprint is kept as JSON, which cannot say this object"):
        await job(tens, range(5), Checkpoint(path, fingerprint=object()))


async def test_a_result_is_the_same_whether_it_was_computed_or_read(path):
    for _ in range(2):
        results, _ = await job(lambda items: [(item, None, {"x": 0.1}) for item in items], ["é", "\n"], Checkpoint(path))
        assert results == [["é", None, {"x": 0.1}], ["\n", None, {"x": 0.1}]]


async def test_results_can_be_kept_in_another_way(path):
    for _ in range(2):
        arrays = Checkpoint(path, fingerprint="raw", encode=np.ndarray.tobytes, decode=np.frombuffer)
        results, _ = await job(lambda items: [np.full(3, item) for item in items], [0.5, 2.5], arrays)
        assert np.array_equal(results, [[0.5] * 3, [2.5] * 3])
        pickled = Checkpoint(path, fingerprint="pickle", encode=pickle.dumps, decode=pickle.loads)
        assert (await job(lambda items: [(item,) for item in items], [1, 2], pickled))[0] == [(1,), (2,)]


async def test_a_result_that_cannot_be_kept_fails_its_item_and_says_what_to_write(path):
    results, _ = await job(lambda items: [1, {1}, 3], range(3), Checkpoint(path), return_exceptions=True)
    assert kinds(results) == [1, TypeError, 3]
    assert "encode=pickle.dumps" in results[1].__notes__[0]
    wrong = Checkpoint(path, fingerprint=1, encode=lambda result: result)
    results, _ = await job(tens, range(2), wrong, return_exceptions=True)
    assert "encode must return a string or bytes, not a int" in str(results[0])
    unreadable = Checkpoint(path, fingerprint=2, decode=lambda text: 1 / 0)
    assert kinds((await job(tens, range(2), unreadable, return_exceptions=True))[0]) == [ZeroDivisionError] * 2
    assert len(rows(path)) == 2


# The file


async def test_only_one_job_has_the_file(path):
    async with running(tens) as batcher:
        async with contextlib.aclosing(batcher.imap(range(100), checkpoint=Checkpoint(path))) as results:
            assert await anext(results) == 0
            with pytest.raises(CheckpointError, match="another job has it open"):
                await job(tens, range(5), Checkpoint(path, fingerprint="another"))
    assert (await job(tens, range(5), Checkpoint(path)))[0] == tens(range(5))


async def test_a_file_that_is_no_database_is_refused(path):
    path.write_bytes(b"something else" * 100)
    with pytest.raises(CheckpointError, match="not a database"):
        await job(tens, range(5), Checkpoint(path))
    with pytest.raises(CheckpointError, match="unable to open"):
        await job(tens, range(5), Checkpoint(path / "nowhere" / "job.sqlite"))


async def test_it_can_share_a_database_with_other_tables(path):
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY)")
        db.executemany("INSERT INTO rows VALUES (?)", [(n,) for n in range(5)])
    await job(tens, range(5), Checkpoint(path))
    with contextlib.closing(sqlite3.connect(path)) as db:
        joined = db.execute("SELECT rows.id, result FROM rows JOIN asyncbatch_results AS r ON r.id = CAST(rows.id AS TEXT)")
        assert [(id, json.loads(result)) for id, result in joined] == [(n, 10 * n) for n in range(5)]


async def test_a_full_disk_ends_the_job_and_what_was_kept_before_is_there(path):
    def full(result):
        if result == 200:
            raise sqlite3.OperationalError("database or disk is full")
        return json.dumps(result)

    items = iter(range(10_000))
    seen = []
    async with running(Noting(tens), max_batch_size=4) as batcher:
        with pytest.raises(CheckpointError, match="disk is full"):
            async for result in batcher.imap(items, checkpoint=Checkpoint(path, encode=full), return_exceptions=True):
                seen += [result] * (not isinstance(result, Exception))
        assert next(items) < 100  # not a row more is computed in vain
    results, computed = await job(tens, range(50), Checkpoint(path))
    assert results == tens(range(50))
    assert not {result // 10 for result in seen} & set(computed)


async def test_what_is_no_checkpoint_is_refused_at_once():
    async with running(tens) as batcher:
        for wrong in ("job.sqlite", 5):
            with pytest.raises(TypeError, match=r"checkpoint=Checkpoint\('job.sqlite'\)"):
                batcher.imap(range(5), checkpoint=wrong)


# Killed

JOB = """
import asyncio, json, sys
from asyncbatch import Batcher, Checkpoint, InlineExecutor

folder, failing = sys.argv[1], json.loads(sys.argv[2])

def note(name, value):
    with open(f"{folder}/{name}", "a") as file:
        file.write(f"{value}\\n")

async def function(items):
    await asyncio.sleep(0.001)
    for item in items:
        note("computed", item)
    return [KeyError(item) if item in failing else {"of": item} for item in items]

async def main():
    print("up", flush=True)
    checkpoint = Checkpoint(f"{folder}/job.sqlite", fingerprint="v1")
    async with Batcher(function, max_batch_size=7, executor=InlineExecutor(2)) as batcher:
        source = range(1_000)
        async for result in batcher.imap(source, checkpoint=checkpoint, read_ahead=40, return_exceptions=True):
            if not isinstance(result, Exception):
                note("yielded", result["of"])

asyncio.run(main())
"""


def lines(file):
    return file.read_text().split("\n")[:-1] if file.exists() else []


@pytest.mark.parametrize("seed", range(3))
def test_a_job_that_is_killed_at_random_points_goes_on_where_it_stopped(tmp_path, seed):
    rng = random.Random(seed)
    failing = rng.sample(range(1_000), 30)
    counts: dict[int, int] = {}
    safe: set[int] = set()  # what a run has yielded
    killed = ended = 0
    while not ended:
        for name in ("yielded", "computed"):
            (tmp_path / name).unlink(missing_ok=True)
        patience = rng.choice([0, rng.randrange(400)])  # lines of work that it may do
        ended = _run(tmp_path, failing if killed < 6 else [], patience if killed < 12 else None)
        killed += not ended
        computed, yielded = ([int(each) for each in lines(tmp_path / name)] for name in ("computed", "yielded"))
        assert not safe & set(computed), "nothing twice"
        assert yielded == sorted(yielded)
        assert safe <= set(yielded) or not ended, "nothing lost"
        safe |= set(yielded)
        for item in computed:
            counts[item] = counts.get(item, 0) + 1
    assert killed >= 3
    assert yielded == list(range(1_000))
    again = sum(count - 1 for item, count in counts.items() if item not in failing)
    assert again <= 40 * killed  # what was in flight
    assert rows(tmp_path / "job.sqlite") == {str(n): json.dumps({"of": n}) for n in range(1_000)}


def _run(folder, failing, patience):
    """Whether it came to its end, and was not killed after so many lines of work."""
    job = subprocess.Popen([sys.executable, "-c", JOB, folder, json.dumps(failing)], stdout=subprocess.PIPE)
    with job:
        assert job.stdout.readline() == b"up\n"
        end = time.monotonic() + 60
        while patience is not None and job.poll() is None and len(lines(folder / "computed")) < patience:
            assert time.monotonic() < end
        if patience is not None:
            job.kill()
        job.wait(60)
    assert job.returncode in (0, -signal.SIGKILL)
    return job.returncode == 0
