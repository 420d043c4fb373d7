"""A Ray cluster, for real: what travels there and back, what happens when an actor or its node is lost, and what is left."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import pathlib
import select
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import uvloop
import callers
from callers import conserved, running

ray = pytest.importorskip("ray", reason="Ray is not installed; `nox -s ray` runs these tests")

from ray.cluster_utils import Cluster

from asyncbatch import Batcher, Closed, OutputCountMismatch, OutputTypeError, Padded, RayExecutor, WorkerLost
from asyncbatch.metrics.events import BatchEnded, WorkerDied

pytestmark = pytest.mark.filterwarnings("default")  # of what others warn we are not the judges

PATIENCE = 60
# That a node is gone is noticed within seconds, and not within a quarter of a minute.
CHECKS = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
HEAD = {"num_cpus": 2, "include_dashboard": False, "_system_config": CHECKS}


@pytest.fixture(scope="module")
def cluster():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.path.dirname(__file__))  # actors import this file
        cluster = Cluster(initialize_head=True, head_node_args=HEAD)
        ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(autouse=True)
def no_actor_is_left_behind(cluster):
    yield
    end = time.monotonic() + 30
    while alive := [each for each in ray._private.state.actors().values() if each["State"] != "DEAD"]:
        assert time.monotonic() < end, f"{alive} were left behind"
        time.sleep(0.05)


def run(main):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


outcome = functools.partial(callers.outcome, patience=PATIENCE)
outcomes = functools.partial(callers.outcomes, patience=PATIENCE)


def squares(items):
    return [item * item for item in items]


def pids(items):
    return [os.getpid()] * len(items)


def perform(items):
    """Do what the one item says."""
    (item,) = items
    return item()


class Model:
    def __init__(self, factor):
        self.factor = factor
        self.batches = 0

    def __call__(self, items):
        self.batches += 1
        return [(os.getpid(), self.batches, self.factor * item) for item in items]


class Locked:
    """What does not pickle, and says too much when it does not."""

    def __reduce__(self):
        raise ValueError("a secret")


class Awkward(Exception):
    def __init__(self, *, code):
        super().__init__(code)


def ended(pid):
    """Whether a process ends in time; one that is gone already has."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], 30)[0])
    finally:
        os.close(fd)


# What runs there


def test_each_caller_gets_its_own_result():
    async def main():
        async with running(squares, executor=RayExecutor(2), max_batch_size=3) as batcher:
            assert await outcomes(batcher, *range(20)) == [item * item for item in range(20)]
            assert await batcher.map(range(100)) == [item * item for item in range(100)]
            assert conserved(batcher)

    run(main)


def sums(batch, mask):
    if (batch == 13).any():
        raise ValueError("13")
    return [Locked() if row[0] == 7 else row.sum() for row in batch]


def test_what_is_padded_there_is_counted_here():
    async def main():
        events = []
        async with running(Padded(sums), executor=RayExecutor(), observers=[events.append]) as batcher:
            assert await batcher.map([[1, 2, 3], [4]]) == [6, 4]
            assert [type(each) for each in await outcomes(batcher, [13], [1, 2])] == [ValueError] * 2
            assert [type(each) for each in await outcomes(batcher, [7], [1, 2])] == [TypeError, np.int64]
            s = batcher.statistics()
            assert (s.elements, s.padding) == (6 + 4 + 4, 2 + 1 + 1)
        ended = [event for event in events if isinstance(event, BatchEnded)]
        assert [(each.elements, each.padding) for each in ended] == [(6, 2), (4, 1), (4, 1)]

    run(main)


def test_a_class_is_built_once_in_each_actor():
    async def main():
        async with running(functools.partial(Model, 3), executor=RayExecutor(2), max_batch_size=1) as batcher:
            answers = await batcher.map(range(40))
        assert [product for _, _, product in answers] == [3 * item for item in range(40)]
        for pid in {pid for pid, _, _ in answers}:
            batches = [number for each, number, _ in answers if each == pid]
            assert batches == list(range(1, len(batches) + 1))
            assert pid != os.getpid()
            assert ended(pid)

    run(main)


def test_a_class_that_cannot_be_built_fails_whoever_enters():
    class Broken:
        def __init__(self):
            raise OSError("no weights")

    async def main():
        with pytest.raises(OSError, match="no weights") as caught:
            async with Batcher(Broken, executor=RayExecutor()):
                raise AssertionError
        assert "test_ray.py" in caught.value.__notes__[0]

    run(main)


def test_the_loop_goes_on_while_actors_start_and_work():
    async def main():
        longest, last = 0.0, time.perf_counter()

        async def ticks():
            nonlocal longest, last
            while True:
                await asyncio.sleep(0.001)
                now = time.perf_counter()
                longest, last = max(longest, now - last), now

        ticking = asyncio.create_task(ticks())
        async with running(np.asarray, executor=RayExecutor()) as batcher:
            await outcome(batcher.map([np.ones((3, 224, 224), "f4")] * 64))
        ticking.cancel()
        assert longest < 0.3

    run(main)


def test_it_can_be_resized_while_it_runs():
    async def main():
        async with running(pids, executor=RayExecutor(num_cpus=0), max_batch_size=1) as batcher:
            (first,) = set(await outcomes(batcher, *range(10)))
            await batcher.resize(3)
            assert len(set(await outcomes(batcher, *range(60)))) == 3
            await batcher.resize(1)
            (last,) = set(await outcomes(batcher, *range(10)))
            assert batcher.statistics().capacity == 1
        assert ended(first)
        assert ended(last)

    run(main)


# What travels


def test_arrays_go_there_and_back_and_are_not_copied():
    rows = np.arange(64 * 10_000.0).reshape(64, -1)

    def looks(items):
        assert not any(item.flags.writeable for item in items)
        return np.asarray(items) * 2

    async def main():
        async with running(looks, executor=RayExecutor(), max_batch_size=64) as batcher:
            kept = await outcome(batcher.map(rows))
            for _ in range(3):  # its place in the store is not used again
                await outcome(batcher.map(rows + 1))
        assert not kept[0].flags.writeable
        return kept

    for each, row in zip(run(main), rows, strict=True):
        assert (each == 2 * row).all()


def test_what_is_mixed_ragged_or_defined_here_travels():
    class Item:
        def __init__(self, value):
            self.value = value

    items = [1, "two", None, np.arange(3), np.zeros((200, 1000)), {"a": (np.ones(2), b"x" * 200_000)}, 2**100]

    def identity(items):
        return items

    async def main():
        async with running(identity, executor=RayExecutor()) as batcher:
            for item, answer in zip(items, await outcomes(batcher, *items), strict=True):
                np.testing.assert_equal(answer, item)
            answer = await outcome(batcher(Item(5)))
            assert type(answer) is Item
            assert answer.value == 5

    run(main)


def test_an_item_that_does_not_pickle_fails_alone_and_is_not_quoted():
    async def main():
        async with running(squares, executor=RayExecutor()) as batcher:
            one, bad, three = await outcomes(batcher, 1, Locked(), 3)
            assert (one, three) == (1, 9)
            assert isinstance(bad, TypeError)
            assert "Locked could not be pickled (ValueError)" in str(bad)
            assert isinstance(await outcome(batcher(Locked())), TypeError)

    run(main)


def refuse():
    raise ValueError("a secret")


class Refused:
    """What does not unpickle, and says too much when it does not."""

    def __reduce__(self):
        return refuse, ()


def test_an_item_that_does_not_unpickle_fails_alone_and_is_not_quoted():
    async def main():
        async with running(squares, executor=RayExecutor()) as batcher:
            one, bad, worse, four = await outcomes(batcher, 1, Refused(), Locked(), 4)
            assert (one, four) == (1, 16)
            assert isinstance(bad, TypeError)
            assert "could not be unpickled in the actor (ValueError)" in str(bad)
            assert "Locked could not be pickled" in str(worse)
            assert callers.kinds(await outcomes(batcher, 1, Refused())) == [1, TypeError]
            assert isinstance(await outcome(batcher(Refused())), TypeError)
            assert batcher.statistics().workers_lost == 0

    run(main)


def test_a_result_that_does_not_pickle_fails_alone():
    def lock_odd(items):
        return [Locked() if item % 2 else item for item in items]

    async def main():
        async with running(lock_odd, executor=RayExecutor()) as batcher:
            assert [type(each) for each in await outcomes(batcher, 0, 1, 2)] == [int, TypeError, int]

    run(main)


def test_a_function_that_does_not_pickle_is_told_on_entering():
    lock = Locked()

    async def main():
        with pytest.raises(TypeError, match="__init__ of a class"):
            async with Batcher(lambda items: [lock for _ in items], executor=RayExecutor()):
                raise AssertionError

    run(main)


# What goes wrong


def test_errors_come_back_with_where_they_were_raised():
    class Ours(ValueError):
        pass

    def complain(items):
        raise Ours(f"no weights for {len(items)}")

    async def main():
        async with running(complain, executor=RayExecutor()) as batcher:
            one, two = await outcomes(batcher, 1, 2)
        assert type(one) is Ours
        assert one is not two
        assert str(one) == "no weights for 2"
        assert "complain" in one.__notes__[0]

    run(main)


def test_an_exception_that_does_not_pickle_is_told_by_name():
    def awkward(items):
        raise Awkward(code=1)

    async def main():
        async with running(awkward, executor=RayExecutor()) as batcher:
            error = await outcome(batcher(1))
            assert isinstance(error, RuntimeError)
            assert "Awkward" in str(error)

    run(main)


def test_an_exception_among_the_results_is_its_own_items():
    def some_bad(items):
        return [ValueError("bad") if item % 2 else item for item in items]

    async def main():
        async with running(some_bad, executor=RayExecutor()) as batcher:
            assert [type(each) for each in await outcomes(batcher, 0, 1, 2)] == [int, ValueError, int]

    run(main)


def test_outputs_are_checked_as_everywhere():
    async def main():
        async with running(perform, executor=RayExecutor()) as batcher:
            for make in (lambda: None, dict, lambda: (each for each in "a"), lambda: np.array(1.0)):
                assert isinstance(await outcome(batcher(make)), OutputTypeError)
            for make in (lambda: [1, 2], lambda: [Locked()] * 2, lambda: np.zeros((2, 100_000))):
                assert isinstance(await outcome(batcher(make)), OutputCountMismatch)
            assert isinstance(await outcome(batcher(sys.exit)), RuntimeError)
            assert await outcome(batcher(lambda: [1])) == 1

    run(main)


def die(items):
    if items[0] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return [os.getpid()] * len(items)


def test_an_actor_that_is_killed_fails_its_own_batch_and_is_replaced():
    async def main():
        async with running(die, executor=RayExecutor(2), max_batch_size=1) as batcher:
            before = set(await outcomes(batcher, *range(40)))
            results = await outcomes(batcher, *range(5), "die", *range(5))
            lost = [each for each in results if isinstance(each, BaseException)]
            assert [type(each) for each in lost] == [WorkerLost]
            assert "while it ran this batch" in str(lost[0])
            assert isinstance(lost[0].__cause__, ray.exceptions.ActorDiedError)
            async with asyncio.timeout(PATIENCE):
                while not set(await outcomes(batcher, *range(40))) - before:
                    await asyncio.sleep(0.01)
            assert conserved(batcher)

    run(main)


def test_an_actor_that_dies_with_nothing_to_do_costs_no_batch():
    async def main():
        async with running(pids, executor=RayExecutor()) as batcher:
            first = await outcome(batcher(1))
            os.kill(first, signal.SIGKILL)
            async with asyncio.timeout(PATIENCE):
                while batcher.statistics().workers_ready:  # until Ray has heard of it
                    await asyncio.sleep(0.01)
            assert await outcome(batcher(2)) not in (first, None)
            assert batcher.statistics().failed == 0
            assert (batcher.statistics().workers_ready, batcher.statistics().workers_lost) == (1, 1)

    run(main)


class DiesAtTheSecond:
    """The second that is built ends its actor."""

    def __init__(self, file):
        with file.open("a") as log:
            log.write("x")
        if file.stat().st_size == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    def __call__(self, items):
        return die(items)


def test_an_actor_that_is_lost_before_it_is_ready_costs_no_batch(tmp_path):
    async def main():
        function = functools.partial(DiesAtTheSecond, tmp_path / "built")
        async with running(function, executor=RayExecutor()) as batcher:
            assert isinstance(await outcome(batcher("die")), WorkerLost)
            assert isinstance(await outcome(batcher("live")), int)
            assert batcher.statistics().workers_lost == 2

    run(main)


def counts_and_dies(file, times, items):
    with open(file, "a") as log:
        log.write("x")
    if pathlib.Path(file).stat().st_size <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return items


@pytest.mark.parametrize(("times", "retries", "runs"), [(1, 0, 1), (1, 1, 2), (2, 1, 2)])
def test_a_batch_runs_again_only_as_often_as_told(times, retries, runs, tmp_path):
    file = tmp_path / "runs"

    async def main():
        function = functools.partial(counts_and_dies, str(file), times)
        async with running(function, executor=RayExecutor(retries=retries)) as batcher:
            answer = await outcome(batcher("item"))
            assert answer == "item" if runs > times else isinstance(answer, WorkerLost)
            assert file.stat().st_size == runs

    run(main)


def test_past_the_budget_callers_are_told_at_once():
    async def main():
        async with running(die, executor=RayExecutor(restarts=0)) as batcher:
            assert "while it ran" in str(await outcome(batcher("die")))
            error = await outcome(batcher("live"))
            assert isinstance(error, WorkerLost)
            assert "lost 1 workers in 60 seconds" in str(error)

    run(main)


def test_a_batch_that_takes_too_long_is_stopped_with_its_actor():
    def naps(items):
        return time.sleep(items[0]) or items

    async def main():
        events = []
        async with running(naps, executor=RayExecutor(timeout=0.5), name="it", observers=[events.append]) as batcher:
            error = await outcome(batcher(60))
            assert isinstance(error, WorkerLost)
            assert "timeout=0.5" in str(error)
            assert WorkerDied("it", "timeout", None) in events
            assert await outcome(batcher(0)) == 0

    run(main)


def waits(folder, items):
    (folder / f"came {items[0]}").touch()
    while not (folder / "open").exists():
        time.sleep(0.01)
    return items


async def came(folder, item):
    async with asyncio.timeout(PATIENCE):
        while not (folder / f"came {item}").exists():
            await asyncio.sleep(0.01)


def test_the_slot_of_a_caller_that_left_is_taken_until_its_call_ends(tmp_path):
    async def main():
        async with running(functools.partial(waits, tmp_path), executor=RayExecutor()) as batcher:
            call = asyncio.create_task(batcher(1))
            await came(tmp_path, 1)
            call.cancel()
            await asyncio.wait([call])
            other = asyncio.create_task(outcome(batcher(2)))
            await asyncio.sleep(0.2)
            assert not (tmp_path / "came 2").exists()
            (tmp_path / "open").touch()
            assert await other == 2
            assert conserved(batcher)

    run(main)


def test_closing_with_no_time_left_kills_the_actor(tmp_path):
    async def main():
        async with running(functools.partial(waits, tmp_path), executor=RayExecutor()) as batcher:
            call = asyncio.create_task(outcome(batcher(1)))
            await came(tmp_path, 1)
            await batcher.aclose(timeout=0)
            assert isinstance(await call, Closed)

    run(main)  # and no actor is left behind


def test_closing_while_actors_start_leaves_none():
    async def main():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.01), Batcher(squares, executor=RayExecutor(2)):
                raise AssertionError

    run(main)


def test_an_actor_that_the_cluster_has_no_room_for_is_waited_for_and_given_up():
    async def main():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1), Batcher(squares, executor=RayExecutor(resources={"unobtainium": 1})):
                raise AssertionError

    run(main)


def test_an_actor_that_is_not_ready_in_time_is_given_up():
    class Slow:
        def __init__(self):
            time.sleep(600)

    async def main():
        for wanted in ({}, {"resources": {"unobtainium": 1}}):
            with pytest.raises(WorkerLost, match="was not ready after build_timeout=0.5"):
                async with Batcher(Slow, executor=RayExecutor(build_timeout=0.5, **wanted)):
                    raise AssertionError

    run(main)


def test_a_node_that_is_removed_under_load_fails_the_batches_that_ran_there(cluster, monkeypatch):
    """One of two nodes goes while both work: who was not aboard does not notice, and nothing runs twice."""

    def where(items):
        time.sleep(0.02)
        return [(ray.get_runtime_context().get_node_id(), item) for item in items]

    async def main():
        executor = RayExecutor(2, scheduling_strategy="SPREAD", num_cpus=1)
        async with running(where, executor=executor, max_batch_size=4) as batcher:
            calls = [asyncio.create_task(outcome(batcher(item))) for item in range(1000)]
            await asyncio.wait(calls[:200])
            await asyncio.to_thread(cluster.remove_node, node, allow_graceful=False)
            results = await asyncio.gather(*calls)
            assert conserved(batcher)
        lost = [each for each in results if isinstance(each, WorkerLost)]
        answered = {item: each for item, each in enumerate(results) if not isinstance(each, WorkerLost)}
        assert 1 <= len(lost) <= 4
        assert all(each[1] == item for item, each in answered.items())
        assert len({node for node, _ in answered.values()}) == 2
        assert conserved(batcher)

    node = cluster.add_node(num_cpus=2)
    run(main)


# Settings


def test_settings_that_make_no_sense_are_told_at_once():
    for wrong in (
        {"replicas": 0},
        {"timeout": 0},
        {"build_timeout": 0},
        {"retries": -1},
        {"restarts": 1.5},
        {"address": 1},
    ):
        (name,) = wrong
        with pytest.raises((TypeError, ValueError), match=f"{name} must be .*{name}="):
            RayExecutor(**wrong)
    with pytest.raises(ValueError, match="num_gpuz"):
        RayExecutor(num_gpuz=1)
    with pytest.raises(TypeError, match="write retries="):
        RayExecutor(max_task_retries=1)

    async def coroutine(items):
        return items

    with pytest.raises(TypeError, match="async"):
        Batcher(coroutine, executor=RayExecutor())


def test_it_can_be_compared_and_kept_in_a_set():
    assert RayExecutor(2, num_cpus=1) == RayExecutor(2, num_cpus=1) != RayExecutor(2)
    assert len({RayExecutor(2, num_cpus=1), RayExecutor(2, num_cpus=1)}) == 1


# Whole programs

PROGRAM = """
    import asyncio, ray
    from asyncbatch import Batcher, RayExecutor

    class Refused(Exception):
        pass

    def check(items):
        return [Refused("odd") if item % 2 else item for item in items]

    async def main():
        async with Batcher(check, executor=RayExecutor(address=ADDRESS)) as batcher:
            print(await batcher.map([1, 2], return_exceptions=True))
        print(ray.is_initialized(), ray.get_runtime_context().gcs_address)
        await asyncio.sleep(1)
        async with Batcher(check, executor=RayExecutor(retries=1)) as batcher:
            print(await batcher(4))
            if ADDRESS != "local":  # where it would take long
                ray.shutdown()
                ray.init(ADDRESS, log_to_driver=False, logging_level="ERROR")
            print(await batcher(6))

    asyncio.run(main())
"""


def program(folder, address):
    (folder / "program.py").write_text(textwrap.dedent(PROGRAM).replace("ADDRESS", repr(address)))
    done = subprocess.run(
        [sys.executable, "program.py"], capture_output=True, text=True, timeout=120, cwd=folder, check=False
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_a_program_starts_a_ray_that_stays_and_says_nothing(cluster, tmp_path):
    first, second, *others = program(tmp_path, "local")
    assert (first, *others) == ("[Refused('odd'), 2]", "4", "6")
    assert second.startswith("True ")
    assert cluster.address not in second


def test_a_program_connects_to_the_ray_that_it_is_given_and_may_do_so_anew(cluster, tmp_path):
    assert program(tmp_path, cluster.address) == ["[Refused('odd'), 2]", f"True {cluster.address}", "4", "6"]
    assert ray.is_initialized()
