"""The loops every test runs on, and the gates that no test leaves anything behind.

A test that needs time to pass says `pytestmark = pytest.mark.virtual`, or carries the mark itself: it then runs on virtual
clocks only. One that waits for other processes says `real`: it runs on real clocks only. All others run on virtual clocks
and on uvloop.
"""

from __future__ import annotations

import asyncio
import collections
import gc
import signal
import sys
import threading

import pytest
import uvloop

from asyncbatch.flight import Flight
from asyncbatch.request import Bulk, DetailedRequest, LoneRequest, Portion, Request
from asyncbatch.house import House
from asyncbatch.residents import Residents
from asyncbatch.shared import SharedRequest, Wish
from asyncbatch.testing import VirtualClockLoop


def eager_loop() -> asyncio.AbstractEventLoop:
    loop = VirtualClockLoop()
    loop.set_task_factory(asyncio.eager_task_factory)
    return loop


# Of the loops that a test runs on one, asyncio's own, is in debug mode. There each future and handle keeps its stack, which in
# all of them would be most of the tests' time.
VIRTUAL = [pytest.param(("asyncio", {"loop_factory": VirtualClockLoop, "debug": True}), id="virtual")]
if sys.version_info >= (3, 12):
    VIRTUAL.append(pytest.param(("asyncio", {"loop_factory": eager_loop, "debug": False}), id="eager"))
PLAIN = [pytest.param(("asyncio", {"debug": True}), id="asyncio")]
REAL = [pytest.param(("asyncio", {"loop_factory": uvloop.new_event_loop, "debug": False}), id="uvloop")]


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # What `&` in a script does to all that it starts, and they would hand it on to programs that tests interrupt.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "virtual: needs time to pass, so runs on virtual clocks only")
    config.addinivalue_line("markers", "real: waits for other processes, so runs on real clocks only")


def pytest_itemcollected(item: pytest.Item) -> None:
    if "anyio_backend" in item.fixturenames:
        item.fixturenames.append("no_task_or_timer_is_left_behind")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "anyio_backend" in metafunc.fixturenames:
        marked = metafunc.definition.get_closest_marker
        loops = VIRTUAL if marked("virtual") else PLAIN + REAL if marked("real") else VIRTUAL + REAL
        metafunc.parametrize("anyio_backend", loops, indirect=True, scope="function")


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    return request.param


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    """No thread, and none of our own objects, outlives its test."""
    threads = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - threads:
        thread.join(5)  # a pool that was shut down without waiting ends in its own time
        assert not thread.is_alive(), f"{thread} was left behind"
    for _ in range(3):  # what a finaliser lets go of is collected in the next round
        if not _our_objects():
            break
        gc.collect()
    left = collections.Counter(type(each).__name__ for each in _our_objects())
    assert not left, f"{left} were left behind"


@pytest.fixture
async def no_task_or_timer_is_left_behind():
    """No task and no timer outlives an async test; it is the last fixture set up, so that it is the first to look."""
    before = asyncio.all_tasks()
    yield
    for _ in range(3):
        for _ in range(5):  # those that were cancelled as the test ended are let go of
            await asyncio.sleep(0)
        if not _our_objects():
            break
        gc.collect()  # a batcher that was dropped closes
    # The plugin's own task runs fixtures and tests; it is a new one in each step.
    left = {task for task in asyncio.all_tasks() - before if "TestRunner" not in repr(task.get_coro())}
    assert not left, f"{left} were left behind"
    timers = [timer for timer in getattr(asyncio.get_running_loop(), "_scheduled", ()) if not timer.cancelled()]
    assert not timers, f"{timers} were left behind"


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # what is there now is not looked through after each test


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    gc.unfreeze()  # others ask the collector, too


OURS = {Request, LoneRequest, DetailedRequest, SharedRequest, Wish, Bulk, Portion, Flight, House, Residents}


def _our_objects() -> list[object]:
    return [each for each in gc.get_objects() if type(each) in OURS]
