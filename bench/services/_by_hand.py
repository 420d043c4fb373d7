"""What is written by hand instead of a batcher: an `asyncio.Queue`, a loop that takes what waits, and a thread for the model.

It has no deadline, no bound, no statistics; who has left is still run, and if the model raises, all wait for ever.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any


def by_hand(function: Callable[[list[Any]], list[Any]]) -> Callable[[Any], Awaitable[Any]]:
    waiting: asyncio.Queue[tuple[Any, asyncio.Future[Any]]] = asyncio.Queue()
    tasks: list[asyncio.Task[None]] = []

    async def call(item: Any) -> Any:
        if not tasks:
            tasks.append(asyncio.create_task(work()))
        future = asyncio.get_running_loop().create_future()
        waiting.put_nowait((item, future))
        return await future

    async def work() -> None:
        while True:
            batch = [await waiting.get()]
            while waiting.qsize() and len(batch) < 64:
                batch.append(waiting.get_nowait())
            results = await asyncio.to_thread(function, [item for item, _ in batch])
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

    return call
