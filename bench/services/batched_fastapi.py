"""batched in FastAPI, on uvicorn: one process, no proxy in front. Its asyncio implementation waits 2 ms for less than a batch.

It takes a list for many items, so each row is made an array first.
"""

import numpy as np
from batched import aio
from fastapi import FastAPI

from harness.network import Network

REQUIREMENTS = ["batched", "fastapi", "httptools", "numpy", "uvicorn"]
START = ["-m", "uvicorn", "services.batched_fastapi:app", "--port", "{port}", "--no-access-log", "--no-proxy-headers"]

app = FastAPI()
network = Network()


@aio.dynamically(batch_size=64, timeout_ms=2.0)
async def predict(rows: list[np.ndarray]) -> list[list[float]]:
    return network(rows).tolist()


@app.post("/predict")
async def answer(row: list[float]) -> list[float]:
    return await predict(np.array(row, np.float32))
