"""A function that mostly waits, as one does that asks a device or another service; where it does that the environment says.

`WHERE` is "loop", "thread", "process" or "hand", the loop written by hand with a thread; `FIXED` and `EACH` are what a batch and
an item take, in seconds. `bench/halves.py` starts it.
"""

import asyncio
import os
import time

from asyncbatch import batched

from harness.asgi import bare
from services._by_hand import by_hand

FIXED, EACH = float(os.environ["FIXED"]), float(os.environ["EACH"])


def answer(bodies: list[bytes]) -> list[bytes]:
    time.sleep(FIXED + EACH * len(bodies))
    return [b"[0]"] * len(bodies)


async def answer_on_the_loop(bodies: list[bytes]) -> list[bytes]:
    return await asyncio.to_thread(answer, bodies)  # for a client's socket, as timers of uvloop are a millisecond late


def app_where(where: str):
    if where == "hand":
        return bare(by_hand(answer))
    if where == "loop":
        return bare(batched(max_batch_size=64)(answer_on_the_loop))
    return bare(batched(max_batch_size=64, executor=where)(answer))


app = app_where(os.environ["WHERE"])
