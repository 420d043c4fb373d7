"""Resident processes: what travels there and back, what happens when one is lost, and that nothing of them is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
import traceback
import warnings

import callers
import numpy as np
import pytest

import asyncbatch.sync
from asyncbatch import (
    AllowedSizes,
    Batcher,
    Closed,
    Isolated,
    OutputCountMismatch,
    OutputTypeError,
    Padded,
    ProcessExecutor,
    WorkerLost,
    batched,
)
from asyncbatch.executors import restarts
from asyncbatch.executors.packing import Rows
from asyncbatch.metrics.events import WorkerDied
from inhabitants import (
    SECRET,
    Dies,
    Divisor,
    Fails,
    Model,
    Unpicklable,
    Ununpicklable,
    Waits,
    WithMethod,
    as_array,
    asked,
    backwards,
    changed,
    closes_all_files,
    deadly,
    decorated,
    dies_at_first,
    dies_or_waits,
    doubled,
    doubled_list,
    exhausts_memory,
    exits,
    forks_and_lets_both_return,
    generator,
    identity,
    in_place,
    inverses,
    kills_itself,
    leaves,
    lengths,
    mapping,
    means,
    meet,
    no_dimensions,
    nothing,
    perform,
    pids,
    prints_and_dies,
    raises_awkward,
    raises_chained,
    raises_exit,
    raises_interrupt,
    raises_locked,
    raises_stop,
    raises_value_error,
    reads_variable,
    returns_awkward,
    returns_errors,
    segfaults,
    sharing,
    sums,
    too_long_an_array,
    too_many,
    twice_decorated,
    unpicklable_at_two,
    ununpicklable_at_two,
)

pytestmark = [pytest.mark.real, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]


def running(function, executor="process", **options):
    return callers.running(function, executor=executor, **options)


@contextlib.asynccontextmanager
async def unready(function, executor="process", **options):
    """One that starts with its first call, which is not waited for: what goes wrong with its start is told to callers."""
    async with contextlib.aclosing(batched(function, executor=executor, **options)) as batcher:
        yield batcher


# Processes take their time to start, and many of them more.
outcome = functools.partial(callers.outcome, patience=60)
outcomes = functools.partial(callers.outcomes, patience=60)


class Gate:
    """What a function in another process passes: it tells that it came, and waits until it is let through."""

    def __init__(self, folder):
        self.name = str(folder / "gate")
        self._fds = []
        for each in (f"{self.name}.came", f"{self.name}.open"):
            os.mkfifo(each)
            self._fds.append(os.open(each, os.O_RDWR | os.O_NONBLOCK))

    async def came(self):
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._fds[0], came.set)
        async with asyncio.timeout(60):
            await came.wait()
        loop.remove_reader(self._fds[0])
        os.read(self._fds[0], 1)

    def open(self, times=1):
        os.write(self._fds[1], b"!" * times)

    def close(self):
        for fd in self._fds:
            os.close(fd)


@pytest.fixture
def gate(tmp_path):
    gate = Gate(tmp_path)
    yield gate
    gate.close()


def ended(pid, seconds=30):
    """Whether a process ends in time; one that is gone already has."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], seconds)[0])
    finally:
        os.close(fd)


def children():
    with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as file:
        direct = set(file.read().split())
    for task in os.listdir("/proc/self/task"):  # each thread has its own
        with contextlib.suppress(OSError), open(f"/proc/self/task/{task}/children") as file:
            direct |= set(file.read().split())
    return direct


def blocks():
    """How many blocks of shared memory this process has open."""
    with open("/proc/self/maps") as file:
        return sum("memfd:asyncbatch" in line for line in file)


@pytest.fixture(autouse=True)
def no_process_or_memory_is_left_behind():
    gc.collect()
    before, files = children(), len(os.listdir("/proc/self/fd"))
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("asyncbatch"):
            thread.join(30)  # they end when their workers have
    gc.collect()
    assert children() <= before
    assert blocks() == 0
    assert len(os.listdir("/proc/self/fd")) <= files + 2  # a loop's own may be open yet


# What runs there


async def test_a_function_runs_in_another_process_and_always_in_the_same():
    async with running(pids, max_batch_size=2) as batcher:
        found = set(await outcomes(batcher, *range(10)))
        assert len(found) == 1
        assert found != {os.getpid()}


async def test_a_class_is_built_once_in_each_worker(gate):
    async with running(functools.partial(Model, factor=3), ProcessExecutor(workers=2), max_batch_size=1) as batcher:
        answers = await batcher.map(range(20))
    assert [product for _, _, product in answers] == [3 * item for item in range(20)]
    assert {built for _, built, _ in answers} == {1}
    assert Model.built == 0


async def test_workers_work_at_the_same_time(gate):
    executor = ProcessExecutor(workers=2)
    async with running(functools.partial(meet, gate.name), executor, max_batch_size=1) as batcher:
        both = asyncio.gather(*[outcome(batcher(item)) for item in range(2)])
        await gate.came()
        await gate.came()
        assert batcher.statistics().in_flight == 2
        gate.open(2)
        assert len(set(await both)) == 2


@pytest.mark.parametrize(
    "function",
    [decorated.__wrapped__, twice_decorated, twice_decorated.__wrapped__, twice_decorated.__wrapped__.__wrapped__],
)
async def test_a_decorated_function_is_found_behind_its_decorators(function):
    async with running(function) as batcher:
        assert await outcome(batcher(1)) == 2


async def test_adapters_may_be_decorators():
    async with running(inverses.__wrapped__) as batcher:
        assert callers.kinds(await outcomes(batcher, 2, 0, 4)) == [0.5, ZeroDivisionError, 0.25]
    async with running(doubled) as batcher:
        assert same(await outcome(batcher.map([np.ones(2), np.ones(3)])), [np.full(2, 2.0), np.full(3, 2.0)])
    async with running(Divisor) as batcher:
        assert callers.kinds(await outcomes(batcher, 2, 0, 3)) == [3.0, ZeroDivisionError, 2.0]


async def test_adapters_work_where_the_function_works():
    ragged = [np.arange(length) for length in (1, 3, 2)]
    async with running(Isolated(Padded(sums))) as batcher:
        answers = await outcome(batcher.map([*ragged, None], return_exceptions=True))
        assert callers.kinds(answers) == [0, 3, 1, TypeError]
    async with running(AllowedSizes(lengths, (1, 4))) as batcher:
        assert await outcome(batcher.map(range(3))) == [4, 4, 4]


async def test_a_name_that_has_no_end_is_told_as_any_that_cannot_be_found(monkeypatch):
    endless = type("Endless", (), {"__wrapped__": property(lambda self: self)})
    monkeypatch.setattr("inhabitants.identity", endless())
    with pytest.raises(TypeError, match="not the same object"):
        async with running(identity):
            raise AssertionError


async def test_a_batched_method_travels_with_its_instance():
    instance = WithMethod(5)
    async with instance.plus:
        answer, pid = await outcome(instance.plus(1))
    assert answer == 6
    assert pid != os.getpid()


async def test_a_method_travels_with_its_instance():
    async with running(WithMethod(5).add) as batcher:
        assert await outcome(batcher(1)) == 6


def test_threads_share_a_worker_through_the_synchronous_face():
    with asyncbatch.sync.Batcher(identity, executor="process") as batcher:
        assert batcher(1) == 1
        assert batcher.map([2, 3]) == [2, 3]


def test_what_cannot_be_imported_is_told_at_once():
    def local(items):
        return items

    async def coroutine(items):
        return items

    for function, words in (
        (lambda items: items, "def"),
        (Isolated(lambda items: items), "def"),
        (local, "top level"),
        (coroutine, "async"),
    ):
        with pytest.raises(TypeError, match=words):
            Batcher(function, executor="process")


async def test_what_does_not_pickle_with_a_function_is_told_on_entering():
    with pytest.raises(TypeError, match="identity.*pickle"):
        async with Batcher(functools.partial(identity, threading.Lock()), executor=ProcessExecutor()):
            pass


@pytest.mark.parametrize(
    "wrong",
    [
        {"workers": 0},
        {"timeout": 0},
        {"build_timeout": 0},
        {"arena": -1},
        {"retries": -1},
        {"restarts": 1.5},
        {"timeout": "1"},
    ],
)
def test_settings_that_make_no_sense_are_told_at_once(wrong):
    (name,) = wrong
    with pytest.raises((TypeError, ValueError), match=f"{name} must be .*{name}="):
        ProcessExecutor(**wrong)


async def test_a_class_that_cannot_be_built_fails_its_callers_and_is_tried_again(tmp_path):
    with pytest.raises(OSError):
        async with running(functools.partial(Fails, str(tmp_path / "tried when entered"))):
            raise AssertionError
    async with unready(functools.partial(Fails, str(tmp_path / "tried"))) as batcher:
        error = await outcome(batcher(1))
        assert isinstance(error, OSError)
        assert "Fails" in "".join(error.__notes__) or "__init__" in "".join(error.__notes__)
        assert await outcome(batcher(2)) == 2


async def test_the_function_gets_a_list():
    async with running(reads_variable) as batcher:
        assert await outcome(batcher("a")) == (1, "list")


async def test_outputs_are_checked_as_everywhere():
    async with running(perform) as batcher:
        for function in (nothing, mapping, generator, no_dimensions):
            assert isinstance(await outcome(batcher((function.__name__, 1))), OutputTypeError)
        for function in (too_many, too_long_an_array):
            assert isinstance(await outcome(batcher((function.__name__, 1))), OutputCountMismatch)


# What travels


ROW = np.arange(12, dtype="f4").reshape(3, 4)

BATCHES = {
    "plain": [1, "two", 3.0, b"four", None, (5, [6], {"seven": 8}), {9}, 2**100],
    "rows": [ROW * number for number in range(5)],
    "integers": [np.arange(number, number + 3) for number in range(4)],
    "one": [ROW],
    "large": [np.full((300, 1000), number, "f8") for number in range(4)],
    "ragged": [np.arange(number * 10000.0) for number in range(5)],
    "types": [np.zeros(3, "f4"), np.zeros(3, "f8")],
    "dicts": [{"a": ROW + number, "b": np.arange(number), "c": "plain"} for number in range(5)],
    "tuples": [(np.ones((100, 100)), np.zeros(7, "i2"))] * 3,
    "mixed": [ROW, "text", 1, {"a": ROW}],
    "empty": [np.zeros((0, 3))] * 4,
    "scalars": [np.array(1.5), np.array(2.5)],
    "numbers": [np.float32(1), np.float32(2)],
    "strided": [np.arange(100).reshape(10, 10)[::2, ::-1]] * 3,
    "transposed": [np.asfortranarray(ROW)] * 3,
    "booleans": [np.array([True, False])] * 2,
    "complex": [np.array([1j])] * 2,
    "times": [np.array(["2026-01-01"], "M8[s]")] * 2,
    "strings": [np.array(["abc", "de"])] * 2,
    "bytes": [np.array([b"abc", b"de"])] * 2,
    "swapped": [np.arange(4, dtype=">i4")] * 2,
    "records": [np.zeros(2, [("x", "f4"), ("y", "i8")])] * 2,
    "objects": [np.array([None, "x"], object)] * 2,
    "subclass": [np.ma.masked_array([1, 2], [True, False])] * 2,
    "long bytes": [b"x" * 100_000, b"y" * 100_000],
    "views": list(np.arange(40).reshape(10, 4)),
}


def same(one, other):
    if isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other, strict=True)
        return type(one) is type(other) and one.dtype == other.dtype
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("arena", [1 << 30, 0])
async def test_whatever_travels_arrives_as_it_left(arena):
    for function in (identity, doubled_list):
        async with running(function, ProcessExecutor(arena=arena), max_batch_size=64) as batcher:
            for name, items in BATCHES.items():
                for _ in range(2):  # the second time room for the results is known
                    answers = await outcome(batcher.map(items))
                    assert not isinstance(answers, BaseException), (name, answers)
                    assert same(list(items), answers), name


async def test_an_array_of_results_comes_back_as_its_rows():
    async with running(as_array, max_batch_size=64) as batcher:
        for name in ("rows", "integers", "large", "empty", "views", "swapped", "strided"):
            for _ in range(2):
                assert same(BATCHES[name], await outcome(batcher.map(BATCHES[name]))), name


async def test_an_array_of_numbers_comes_back_as_numbers():
    async with running(means, max_batch_size=64) as batcher:
        answers = await outcome(batcher.map(BATCHES["rows"]))
        assert [type(each) for each in answers] == [np.float32] * 5
        assert answers == list(means(BATCHES["rows"]))


async def test_the_whole_batch_is_had_without_copying():
    async with running(sharing, max_batch_size=64) as batcher:
        assert await outcome(batcher.map(BATCHES["rows"])) == [("list", True, True, "<f8")] * 5


async def test_a_changed_list_is_no_longer_the_array():
    async with running(changed, max_batch_size=64) as batcher:
        one, two, three = await outcome(batcher.map([ROW, ROW * 2, ROW * 3]))
        assert same([one, two, three], [ROW + 1, ROW * 3, ROW * 2])


def test_rows_are_a_list_and_an_array():
    rows = Rows(np.arange(6).reshape(3, 2))
    assert isinstance(rows, list)
    assert np.asarray(rows) is rows.array or np.shares_memory(np.asarray(rows), rows.array)
    assert not np.shares_memory(np.array(rows, copy=True), rows.array)
    assert rows
    assert len(rows[:2]) == 2


async def test_results_may_be_worked_out_in_place_of_the_items():
    items = [np.full((300, 1000), number, "f8") for number in range(4)]
    async with running(in_place, max_batch_size=64) as batcher:
        for _ in range(3):
            assert same([item * 2 for item in items], await outcome(batcher.map(items)))
    assert items[1][0, 0] == 1


async def test_results_that_are_other_items_come_back_whole():
    items = [np.full((300, 1000), number, "f8") for number in range(4)]
    async with running(backwards, max_batch_size=64) as batcher:
        assert same(items[::-1], await outcome(batcher.map(items)))


async def test_results_that_callers_keep_stay_as_they_were():
    def numbered(number):
        return [np.full((100, 1000), number * 10 + each, "f4") for each in range(4)]

    async with running(doubled_list, max_batch_size=64) as batcher:
        kept = [await outcome(batcher.map(numbered(number))) for number in range(30)]
        assert all(same(numbered(number), each) for number, each in enumerate(kept))
        assert blocks() < 15, "what is kept for long is copied"
        kept[3][0][:] = 0
        assert same(numbered(3)[1:], kept[3][1:])
    assert all(same(numbered(number), each) for number, each in enumerate(kept) if number != 3), "and after the close"


async def test_memory_is_used_again_when_nobody_keeps_results():
    items = [np.full((100, 1000), number, "f4") for number in range(4)]
    async with running(identity, max_batch_size=64) as batcher:
        for _ in range(20):
            row = (await outcome(batcher.map(items)))[0]
        assert blocks() <= 2
        assert same(items[0], row)


async def test_the_arena_grows_with_the_batches():
    async with running(doubled_list, max_batch_size=64) as batcher:
        for size in (10, 10_000, 1_000_000, 100, 3_000_000):
            items = [np.full(size, number, "f4") for number in range(3)]
            assert same(items, await outcome(batcher.map(items)))
        del items
        assert blocks() <= 2


async def test_a_batch_larger_than_the_arena_goes_another_way_with_a_warning():
    items = [np.full(100_000, number, "f8") for number in range(4)]
    async with running(doubled_list, ProcessExecutor(arena=1 << 20), max_batch_size=64) as batcher:
        with pytest.warns(RuntimeWarning, match="3200000 bytes of a batch.*arena"):
            assert same(items, await outcome(batcher.map(items)))
        with warnings.catch_warnings(action="error"):
            assert same(items, await outcome(batcher.map(items)))
        assert same(items[:1], await outcome(batcher.map(items[:1])))


@pytest.mark.parametrize("missing", ["memfd_create", "posix_fallocate"])
async def test_where_no_memory_is_to_be_shared_batches_go_another_way_with_a_warning(missing, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, missing, full)
    async with running(doubled_list, max_batch_size=64) as batcher:
        with pytest.warns(RuntimeWarning, match="No space left"):
            assert same(BATCHES["large"], await outcome(batcher.map(BATCHES["large"])))
        assert same(BATCHES["ragged"], await outcome(batcher.map(BATCHES["ragged"])))
        assert blocks() == 0


async def test_the_loop_goes_on_while_a_large_batch_is_out(gate):
    """Its passes are counted while the batch is copied, sent and worked on; none of that is on the loop."""
    items = [np.zeros((500, 1000)) for _ in range(10)]
    async with running(identity, ProcessExecutor(arena=0), max_batch_size=64) as batcher:
        call = asyncio.ensure_future(outcome(batcher.map(items)))
        passes = 0
        while not call.done():
            passes += 1
            await asyncio.sleep(0)
        assert same(items, call.result())
        assert passes > 20


# What does not travel


async def test_an_item_that_does_not_travel_fails_its_own_caller():
    async with running(identity) as batcher:
        for bad in (Unpicklable, Ununpicklable, threading.Lock):
            one, two, three = await outcomes(batcher, 1, bad(), ROW)
            assert one == 1
            assert isinstance(two, TypeError)
            assert SECRET not in str(two)
            assert "pickled" in str(two)
            assert same(ROW, three)
            assert isinstance((await outcomes(batcher, bad(), bad()))[1], TypeError)
            assert await outcome(batcher(4)) == 4


async def test_a_result_that_does_not_travel_fails_its_own_caller():
    async with running(perform) as batcher:
        for function in (unpicklable_at_two, ununpicklable_at_two):
            one, two, three = await outcomes(batcher, *asked(function.__name__, 1, 2, 3))
            assert (one, three) == (1, 3)
            assert isinstance(two, TypeError)
            assert SECRET not in str(two)
            assert "pickled" in str(two)


RAISE = {
    raises_value_error: ValueError,
    raises_awkward: RuntimeError,
    raises_locked: RuntimeError,
    raises_exit: RuntimeError,
    raises_interrupt: RuntimeError,
    raises_stop: RuntimeError,
    raises_chained: LookupError,
}


async def test_what_the_function_raises_reaches_each_caller_with_its_traceback():
    async with running(perform) as batcher:
        for function, kind in RAISE.items():
            one, two = await outcomes(batcher, *asked(function.__name__, 1, 2))
            assert type(one) is type(two) is kind
            assert one is not two
            text = "".join(traceback.format_exception(one))
            assert "in the worker" in text
            assert function.__name__ in text
            assert "answers.py" not in text, "our own frames are no news"


async def test_an_error_among_the_results_fails_its_own_caller():
    async with running(perform) as batcher:
        for function, kind in ((returns_errors, ValueError), (returns_awkward, RuntimeError)):
            zero, one, two = await outcomes(batcher, *asked(function.__name__, 0, 1, 2))
            assert (zero, two) == (0, 2)
            assert type(one) is kind


# Those that are lost


async def test_a_worker_that_ends_fails_its_batch_and_is_replaced(capfd):
    async with running(perform, ProcessExecutor(restarts=9)) as batcher:
        for deed, exit_code, number in (
            (kills_itself, None, 9),
            (exits, 3, None),
            (leaves, 0, None),
            (segfaults, None, 11),
        ):
            first = await outcome(batcher(("pids", 0)))
            one, two = await outcomes(batcher, *asked(deed.__name__, 1, 2))
            assert isinstance(one, WorkerLost)
            assert isinstance(two, WorkerLost)
            assert one is not two
            assert (one.exit_code, one.signal) == (exit_code, number)
            assert str(number or exit_code) in str(one)
            assert await outcome(batcher(("pids", 0))) not in (first, None)
        assert batcher.statistics().failed == 8
    assert "segfaults" in capfd.readouterr().err, "faulthandler says where"


async def test_whoever_observes_is_told_of_each_that_is_lost(gate, capfd):
    deaths, died = [], asyncio.Event()

    def observe(event):
        if isinstance(event, WorkerDied):
            deaths.append((event.batcher, event.reason, event.exit_code))
            died.set()

    async with running(perform, ProcessExecutor(timeout=1.5), name="it", observers=[observe]) as batcher:
        assert (batcher.statistics().workers_ready, batcher.statistics().workers_lost) == (1, 0)
        for deed, number in ((exits, 1), (segfaults, 2)):
            await outcome(batcher((deed.__name__, 1)))
            assert batcher.statistics().workers_lost == len(deaths) == number, "by the time that callers know"
        pid = await outcome(batcher(("pids", 1)))
        died.clear()
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            await died.wait()  # though it had nothing to do
        assert batcher.statistics().workers_ready == 0
        assert isinstance(await outcome(batcher(("waits", gate.name))), WorkerLost)
        assert batcher.statistics().workers_lost == 4
    assert deaths == [("it", "exit", 3), ("it", "signal", -11), ("it", "signal", -9), ("it", "timeout", -9)]
    assert batcher.statistics().workers_ready == 0


async def test_the_others_never_notice(gate):
    executor = ProcessExecutor(workers=2)
    async with running(functools.partial(dies_or_waits, gate.name), executor, max_batch_size=1) as batcher:
        other = asyncio.ensure_future(outcome(batcher("other")))
        await gate.came()
        for _ in range(2):
            assert isinstance(await outcome(batcher("die")), WorkerLost)
        assert not other.done()
        gate.open()
        assert isinstance(await other, int)


async def test_one_that_is_killed_while_it_has_nothing_to_do_costs_no_batch():
    async with running(pids) as batcher:
        for _ in range(3):
            pid = await outcome(batcher(1))
            os.kill(pid, signal.SIGKILL)
            assert await outcome(batcher(1)) not in (pid, None)
        assert batcher.statistics().failed == 0


async def test_one_that_is_killed_while_it_has_nothing_to_do_is_replaced_before_anybody_calls():
    lost = asyncio.Event()

    def observe(event):
        if isinstance(event, WorkerDied):
            lost.set()

    async with running(perform, ProcessExecutor(), observers=[observe]) as batcher:
        pid = await outcome(batcher(("pids", 1)))
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            await lost.wait()
            while not batcher.statistics().workers_ready:
                await asyncio.sleep(0.01)  # a process starts, in its own time
        assert await outcome(batcher(("pids", 1))) not in (pid, None)
        assert batcher.statistics().workers_lost == 1


def test_a_lost_worker_is_noticed_though_a_fork_of_it_lives_on(tmp_path):
    # In a script, as that fork has this process's files as well, until it is killed with its group.
    done = script(
        tmp_path,
        """
        import os, signal, asyncio
        from asyncbatch import Batcher, WorkerLost
        from inhabitants import forks_and_dies

        async def main():
            async with Batcher(forks_and_dies, executor="process") as batcher:
                try:
                    await batcher("die")
                except WorkerLost as error:
                    print(error.signal, await batcher("live") != 0, flush=True)  # before it ends without Python's own exit

        if __name__ == "__main__":
            asyncio.run(main())
            signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
            os.killpg(0, signal.SIGTERM)
        """,
    )
    assert done.stdout.split() == ["9", "True"]


async def test_of_a_fork_that_returns_only_one_answers():
    async with running(forks_and_lets_both_return) as batcher:
        for item in range(5):
            assert await outcome(batcher(item)) == item


async def test_a_worker_that_closed_its_ears_is_lost(capfd):
    async with running(closes_all_files) as batcher:
        assert isinstance(await outcome(batcher("close")), WorkerLost)
        assert await outcome(batcher(1)) == 1
    assert "Bad file descriptor" in capfd.readouterr().err


async def test_a_batch_that_takes_too_long_is_stopped_with_its_worker(gate):
    executor = ProcessExecutor(timeout=0.3)
    async with running(functools.partial(dies_or_waits, gate.name), executor) as batcher:
        error = await outcome(batcher("slow"))
        assert isinstance(error, WorkerLost)
        assert "timeout=0.3" in str(error)
        await gate.came()
        gate.open()
        assert isinstance(await outcome(batcher("fast")), int)


async def test_past_the_budget_callers_are_told_at_once(monkeypatch):
    async with running(deadly, ProcessExecutor(restarts=1)) as batcher:
        for _ in range(2):
            assert (await outcome(batcher("die"))).exit_code == 3
        for _ in range(3):
            error = await outcome(batcher("live"))
            assert isinstance(error, WorkerLost)
            assert "lost 2 workers in 60 seconds" in str(error)
            assert "restarts=" in str(error)
        monkeypatch.setattr(restarts, "_WINDOW", 0.0)  # time passes
        await outcome(batcher("one more may be told what was known when it came"))
        assert isinstance(await outcome(batcher("live")), int)


async def test_whoever_is_killed_whenever_every_caller_has_an_outcome(monkeypatch):
    """Workers are killed while they start, while they have nothing to do, and with batches of all sizes on their way."""

    async def caller(number):
        for turn in range(12):
            item = np.full((1, 100, 200_000)[turn % 3], number * 100.0 + turn)
            answer = await outcome(batcher(item))
            assert isinstance(answer, WorkerLost) or same(item, answer)
            if turn == number:  # a different moment for each
                for pid in children():
                    os.kill(int(pid), signal.SIGKILL)

    monkeypatch.setattr(restarts, "_BACKOFF", 0.0)
    async with running(identity, ProcessExecutor(workers=2, restarts=1000), max_batch_size=3) as batcher:
        await asyncio.gather(*[caller(number) for number in range(8)])
        counts = batcher.statistics()
        assert counts.submitted == counts.succeeded + counts.failed == 8 * 12


async def test_a_class_that_ends_its_worker_fails_its_callers_within_the_budget():
    with pytest.raises(WorkerLost, match="prepared"):
        async with running(Dies):
            raise AssertionError
    async with unready(Dies, ProcessExecutor(restarts=1)) as batcher:
        errors = [await outcome(batcher(item)) for item in range(4)]
        assert [error.exit_code for error in errors] == [4, 4, None, None]
        assert "prepared" in str(errors[0])


async def test_a_class_that_takes_too_long_is_stopped_with_its_worker(gate):
    executor = ProcessExecutor(workers=2, build_timeout=0.5)
    with pytest.raises(WorkerLost, match="was not ready after build_timeout=0.5"):
        async with running(functools.partial(Waits, gate.name), executor):
            raise AssertionError


async def test_a_class_that_takes_too_long_is_given_up_with_whoever_enters(gate):
    before = children()
    entering = asyncio.create_task(Batcher(functools.partial(Waits, gate.name), executor="process").__aenter__())
    await gate.came()
    (worker,) = children() - before
    entering.cancel()
    await asyncio.wait([entering])
    assert entering.cancelled()
    assert ended(int(worker))


@pytest.mark.parametrize(("deaths", "retries", "runs"), [(1, 1, 2), (2, 1, 2)])
async def test_retries_run_a_batch_again_as_often_as_told(deaths, retries, runs, tmp_path):
    file = tmp_path / "runs"
    async with running(functools.partial(dies_at_first, str(file)), ProcessExecutor(retries=retries)) as batcher:
        answer = await outcome(batcher(deaths))
        assert answer == deaths if runs > deaths else isinstance(answer, WorkerLost)
        assert file.stat().st_size == runs


async def test_too_little_memory_in_a_worker_is_an_error_of_its_batch():
    async with running(exhausts_memory) as batcher:
        for _ in range(2):
            assert isinstance(await outcome(batcher(1)), MemoryError)


# Those who leave


async def test_a_worker_is_taken_until_its_work_ends_though_all_callers_left(gate):
    async with running(functools.partial(meet, gate.name), max_batch_size=1) as batcher:
        call = asyncio.ensure_future(batcher(1))
        await gate.came()
        call.cancel()
        await asyncio.wait([call])
        other = asyncio.ensure_future(outcome(batcher(2)))
        await asyncio.sleep(0)
        assert batcher.statistics().in_flight == 0
        gate.open()
        await gate.came()
        gate.open()
        assert isinstance(await other, int)


async def test_a_worker_that_may_be_stopped_is_when_all_callers_have_left(gate):
    executor = ProcessExecutor(stoppable=True, restarts=0)
    async with running(functools.partial(meet, gate.name), executor, max_batch_size=1) as batcher:
        pid = None
        for _ in range(3):  # which is no loss
            call = asyncio.ensure_future(batcher(1))
            await gate.came()
            call.cancel()
            await asyncio.wait([call])
        other = asyncio.ensure_future(outcome(batcher(2)))
        await gate.came()
        gate.open()
        assert await other not in (pid, None)


async def test_closing_with_no_time_left_stops_the_worker_at_once(gate):
    async with running(functools.partial(meet, gate.name)) as batcher:
        call = asyncio.ensure_future(outcome(batcher(1)))
        await gate.came()
        await batcher.aclose(timeout=0)
        assert isinstance(await call, Closed)


async def test_closing_while_workers_start_leaves_none():
    async with Batcher(identity, executor=ProcessExecutor(workers=2)) as batcher:
        await asyncio.sleep(0)
        await batcher.aclose(timeout=0)


async def test_whenever_a_task_of_ours_is_cancelled_later_calls_are_answered():
    items = [np.full((400, 1000), number, "f4") for number in range(2)]
    async with running(identity, max_batch_size=64) as batcher:
        assert same(items, await outcome(batcher.map(items)))
        for step in range(15):
            call = asyncio.ensure_future(outcome(batcher.map(items)))
            for _ in range(step):
                await asyncio.sleep(0)
            for task in asyncio.all_tasks():
                if task.get_name().startswith("asyncbatch"):
                    task.cancel()
            await call
            for _ in range(5):  # until the task has ended
                await asyncio.sleep(0)
            assert same(items, await outcome(batcher.map(items))), step


async def test_workers_end_with_their_batcher():
    async with running(pids, ProcessExecutor(workers=2), max_batch_size=1) as batcher:
        found = set(await outcomes(batcher, *range(20)))
    assert found
    for pid in found:
        assert ended(pid)


async def test_workers_end_with_a_block_that_fails():
    with contextlib.suppress(ZeroDivisionError):
        async with Batcher(pids, executor="process") as batcher:
            pid = await outcome(batcher(1))
            raise ZeroDivisionError
    assert ended(pid)


async def test_workers_end_with_a_batcher_that_is_dropped():
    batcher = Batcher(pids, executor="process")
    batcher.start_quietly()
    pid = await outcome(batcher(1))
    del batcher
    gc.collect()
    for _ in range(10):
        await asyncio.sleep(0)
    assert ended(pid)


# Whole programs


def start(folder, text="", module=None):
    """Start a program with warnings as errors, in a process group of its own."""
    (folder / "program.py").write_text(textwrap.dedent(text))
    program = ["program.py"] if module is None else ["-m", module]
    path = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", *program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )


def script(folder, text="", module=None):
    with start(folder, text, module) as process:
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


QUIET = """
    import asyncio, os
    from asyncbatch import Batcher, batched

    class Item:
        def __init__(self, number):
            self.number = number

    class Model:
        def __call__(self, items):
            print("in the worker", items[0].number)
            return [Item(item.number + 1) for item in items]

    async def main():
        async with Batcher(Model, executor="process") as batcher:
            print("result", (await batcher(Item(1))).number)

    if __name__ == "__main__":
        asyncio.run(main())
"""


def test_a_program_works_and_what_its_worker_prints_is_seen(tmp_path):
    done = script(tmp_path, QUIET)
    assert (sorted(done.stdout.splitlines()), done.stderr, done.returncode) == (["in the worker 1", "result 2"], "", 0)


def test_a_module_that_is_run_works(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "program.py").write_text(textwrap.dedent(QUIET))
    done = script(tmp_path, module="package.program")
    assert (sorted(done.stdout.splitlines()), done.stderr, done.returncode) == (["in the worker 1", "result 2"], "", 0)


def test_a_package_that_is_run_is_told_to_put_its_model_elsewhere(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(textwrap.dedent(QUIET))
    done = script(tmp_path, module="package")
    assert "put it into a file" in done.stderr.splitlines()[-1]


def test_a_program_without_a_guard_is_told_to_write_one(tmp_path):
    done = script(tmp_path, QUIET.replace('if __name__ == "__main__":', "if True:"))
    assert done.returncode == 1
    assert "if __name__ == '__main__'" in done.stderr
    assert "RuntimeError" in done.stderr.splitlines()[-1] or "RuntimeError" in done.stderr


def test_what_is_defined_in_a_session_is_told_to_go_into_a_file():
    code = textwrap.dedent(QUIET)
    for arguments, text in ((["-c", code], ""), (["-"], code)):
        done = subprocess.run(
            [sys.executable, *arguments], input=text, capture_output=True, text=True, timeout=60, check=False
        )
        assert "my_model.py" in done.stderr.splitlines()[-1]


async def test_what_a_lost_worker_printed_is_not_lost(capfd):
    async with running(prints_and_dies) as batcher:
        assert isinstance(await outcome(batcher(1)), WorkerLost)
    out, err = capfd.readouterr()
    assert (out, err) == ("last words\n", "and more\n")


def test_a_lazy_batcher_that_nobody_closes_ends_with_the_program_and_says_nothing(tmp_path):
    done = script(
        tmp_path,
        """
        import asyncio, os
        from asyncbatch import batched

        @batched(executor="process")
        def pids(items):
            return [os.getpid()] * len(items)

        async def main():
            print(await pids(1))

        if __name__ == "__main__":
            asyncio.run(main())
        """,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    assert ended(int(done.stdout))


def test_a_fork_of_the_parent_leaves_the_workers_alone(tmp_path):
    done = script(
        tmp_path,
        """
        import asyncio, os, sys, warnings
        from asyncbatch import Batcher
        from inhabitants import pids

        async def main():
            async with Batcher(pids, executor="process") as batcher:
                first = await batcher(1)
                with warnings.catch_warnings(action="ignore"):
                    child = os.fork()
                if child == 0:
                    sys.exit(7)
                while os.waitpid(child, os.WNOHANG) == (0, 0):
                    await asyncio.sleep(0.01)
                print(await batcher(1) == first)

        if __name__ == "__main__":
            asyncio.run(main())
        """,
    )
    assert "True" in done.stdout, done.stderr


INTERRUPTED = """
    import asyncio, sys
    from asyncbatch import Batcher
    from inhabitants import pids, meet
    import functools

    async def main():
        async with Batcher(pids, executor="process") as batcher:
            print(await batcher(1), flush=True)
            await asyncio.Event().wait()

    if __name__ == "__main__":
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted")
"""


def test_ctrl_c_stops_everything_once_and_says_nothing_more(tmp_path):
    with start(tmp_path, INTERRUPTED) as process:
        pid = int(process.stdout.readline())
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == ("interrupted\n", "", 0)
    assert ended(pid)


def test_ctrl_c_stops_a_batch_that_may_be_stopped(gate, tmp_path):
    text = BUSY.replace("NAME", gate.name).replace('"process"', "asyncbatch.ProcessExecutor(stoppable=True)")
    with start(tmp_path, text.replace("import asyncio,", "import asyncbatch, asyncio,")) as process:
        pid = int(process.stdout.readline())
        assert select.select([gate._fds[0]], [], [], 60)[0]
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (out, err.splitlines()[-1]) == ("", "KeyboardInterrupt")
    assert ended(pid)


def test_ctrl_c_while_workers_start_stops_everything_once(tmp_path):
    early = INTERRUPTED.replace("print(await batcher(1), flush=True)", "print(1, flush=True); await asyncio.sleep(0)")
    with start(tmp_path, early) as process:
        process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == ("interrupted\n", "", 0)


@pytest.mark.parametrize("busy", [False, True])
def test_workers_leave_when_their_parent_is_killed(busy, gate, tmp_path):
    with start(tmp_path, BUSY.replace("NAME", gate.name) if busy else INTERRUPTED) as process:
        pid = int(process.stdout.readline())
        assert not busy or select.select([gate._fds[0]], [], [], 60)[0]
        process.kill()
        process.wait(60)
        assert ended(pid)


BUSY = """
    import asyncio, functools
    from asyncbatch import Batcher
    from inhabitants import first_pid

    async def main():
        async with Batcher(functools.partial(first_pid, "NAME"), executor="process") as batcher:
            print(await batcher(1), flush=True)
            await batcher(2)

    if __name__ == "__main__":
        asyncio.run(main())
"""
