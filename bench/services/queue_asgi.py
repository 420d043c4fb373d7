"""What is written by hand instead, in a bare ASGI function on uvicorn: an `asyncio.Queue`, one loop, a thread for the model.

It takes what waits, up to 64, and runs it; it has no deadline, no bound, no cancellation and no statistics, and a caller
waits for ever if the model raises.
"""

import asyncio

from harness.asgi import bare
from harness.network import Network

REQUIREMENTS = [".", "granian", "httptools", "numpy", "orjson", "uvicorn"]
START = ["-m", "uvicorn", "services.queue_asgi:app", "--port", "{port}", "--no-access-log"]

network = Network()
waiting = asyncio.Queue()
tasks = []


async def predict(row: list[float]) -> list[float]:
    if not tasks:
        tasks.append(asyncio.create_task(work()))
    future = asyncio.get_running_loop().create_future()
    waiting.put_nowait((row, future))
    return await future


async def work() -> None:
    while True:
        batch = [await waiting.get()]
        while waiting.qsize() and len(batch) < 64:
            batch.append(waiting.get_nowait())
        results = await asyncio.to_thread(lambda: network([row for row, _ in batch]).tolist())
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)


app = bare(predict)
