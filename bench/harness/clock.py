"""Time for a peer: virtual, so that no machine is in the figures, or real, to check that it makes no difference.

Peers read the loop's clock or the system's. On the virtual loop both are the same, so that no peer can tell it from a real
one, but for two things: whatever it computes takes no time, and its timers are not late.
"""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

EPOCH = time.time()
# By its path, as it needs nothing of asyncbatch, which the environments of the peers do not have.
TESTING = Path(__file__).resolve().parents[2] / "asyncbatch" / "testing.py"


def virtual() -> asyncio.AbstractEventLoop:
    """Return a loop whose clock jumps; from now on the clocks of `time` go by it."""
    spec = importlib.util.spec_from_file_location("virtual_clock", TESTING)
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loop: asyncio.AbstractEventLoop = module.VirtualClockLoop()
    loop.set_debug(False)
    time.time = lambda: EPOCH + loop.time()
    time.monotonic = time.perf_counter = loop.time
    return loop


@asynccontextmanager
async def kept_awake() -> AsyncIterator[None]:
    """Never let a real loop sleep, as its timers would then be a millisecond late."""

    async def turn() -> None:
        while True:
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    yield
    turning.cancel()


async def until(at: float) -> None:
    loop = asyncio.get_running_loop()
    if at > loop.time():
        come = loop.create_future()
        loop.call_at(at, come.set_result, None)
        await come
