"""A policy of one's own: the fuller the batch, the less it waits. First tested without a loop, then at work.

Run it: python examples/custom_policy.py

It prints:

    {'policy': 2, 'full': 1}
"""

import asyncio
import math
from dataclasses import replace

from asyncbatch import Batcher, Outlook
from asyncbatch.testing import RecordingFunction, VirtualClockLoop


def shrinking(outlook: Outlook) -> float:
    """Seconds to wait still: 20 ms since the oldest arrival for a lonely item, none for a half full batch of 16."""
    patience = 0.020 * (1 - (outlook.count - 1) / 7)
    return outlook.oldest + patience - outlook.now


def test_it_without_a_loop() -> None:
    one = Outlook(now=5.0, count=1, cost=1.0, oldest=5.0, nearest_deadline=math.inf, run_time=0.0)
    assert math.isclose(shrinking(one), 0.020)
    assert math.isclose(shrinking(replace(one, now=5.015)), 0.005)
    assert shrinking(replace(one, count=8)) <= 0


async def main() -> None:
    function = RecordingFunction()
    async with Batcher(function, max_batch_size=16, policy=shrinking) as batcher:
        await batcher("lonely")  # leaves after 20 ms
        await asyncio.gather(*map(batcher, range(8)))  # at once: half full
        await asyncio.gather(*map(batcher, range(16)))  # at once: a full batch asks no policy
    assert [round(time, 6) for time in function.times] == [0.020, 0.020, 0.020]
    print(dict(batcher.statistics().reasons))


if __name__ == "__main__":
    test_it_without_a_loop()
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:  # so that the times are exact
        runner.run(main())
