"""At least 8 items in a batch, unless that would keep somebody waiting for more than 50 ms or past a deadline.

Run it: python examples/minimum_fill.py

It prints:

    8 left at 0.0 s
    3 left at 0.05 s
    2 left at 0.068 s
    {'policy': 3}
"""

import asyncio
import math
from dataclasses import dataclass, replace

from asyncbatch import Batcher, Outlook
from asyncbatch.testing import RecordingFunction, VirtualClockLoop


@dataclass(frozen=True)
class MinimumFill:
    """A policy: `fewest` items make a batch, and none waits longer than `patience` seconds, or so long that it is late."""

    fewest: int
    patience: float

    def __call__(self, outlook: Outlook) -> float:
        if outlook.count >= self.fewest:
            return 0.0
        last_start = outlook.nearest_deadline - outlook.run_time - 0.002  # timers are whole milliseconds, and a little late
        return min(outlook.oldest + self.patience, last_start) - outlook.now


def test_it_without_a_loop() -> None:
    policy = MinimumFill(8, 0.050)
    few = Outlook(now=5.0, count=7, cost=7.0, oldest=4.990, nearest_deadline=math.inf, run_time=0.0)
    assert math.isclose(policy(few), 0.040)
    assert policy(replace(few, count=8)) <= 0
    assert policy(replace(few, now=5.040)) <= 0
    assert math.isclose(policy(replace(few, nearest_deadline=5.030, run_time=0.020)), 0.008)


async def main() -> None:
    function = RecordingFunction()
    async with Batcher(function, max_batch_size=32, policy=MinimumFill(8, 0.050)) as batcher:
        await asyncio.gather(*map(batcher, range(8)))
        await asyncio.gather(*map(batcher, range(3)))
        await asyncio.gather(batcher("in no hurry"), batcher("urgent", timeout=0.020))
    for batch, time in zip(function.batches, function.times, strict=True):
        print(len(batch), "left at", round(time, 6), "s")
    print(dict(batcher.statistics().reasons))


if __name__ == "__main__":
    test_it_without_a_loop()
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:  # so that the times are exact
        runner.run(main())
