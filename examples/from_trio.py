"""Callers on trio: the batcher runs in a thread of its own, and a trio task waits for its future without blocking.

Run it: python examples/from_trio.py

It prints:

    [0, 10, 20, 30]
    one batch of 4.0
    gave up in time
"""

import math
from concurrent.futures import Future

import trio

from asyncbatch import sync


async def result(future: "Future[int]") -> int:
    """Wait for `future` in trio; a caller that is cancelled leaves the batcher, too."""
    done, token = trio.Event(), trio.lowlevel.current_trio_token()
    future.add_done_callback(lambda _: token.run_sync_soon(done.set))
    try:
        await done.wait()
    finally:
        future.cancel()  # does nothing to one that is done
    return future.result()


async def main(batcher: "sync.Batcher[int, int]") -> None:
    results = [0] * 4

    async def call(i: int) -> None:
        results[i] = await result(batcher.submit(i))

    async with trio.open_nursery() as nursery:
        for i in range(4):
            nursery.start_soon(call, i)
    print(results)
    print("one batch of", batcher.statistics().mean_batch_size)

    with trio.move_on_after(0.01):
        await result(batcher.submit(5))  # waits for three more, which do not come
    print("gave up in time")


def tens(items: list[int]) -> list[int]:
    return [10 * item for item in items]


with sync.Batcher(tens, max_batch_size=4, max_wait=math.inf) as batcher:
    trio.run(main, batcher)
