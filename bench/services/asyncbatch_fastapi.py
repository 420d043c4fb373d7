"""asyncbatch in FastAPI, on uvicorn: one process, no proxy in front.

The handler awaits the batched function, which is a plain one and so runs in a thread.
"""

from asyncbatch import batched
from fastapi import FastAPI

from harness.network import Network

REQUIREMENTS = [".", "fastapi", "granian", "httptools", "numpy", "uvicorn"]
START = ["-m", "uvicorn", "services.asyncbatch_fastapi:app", "--port", "{port}", "--no-access-log", "--no-proxy-headers"]

app = FastAPI()
network = Network()


@batched(max_batch_size=64)
def predict(rows: list[list[float]]) -> list[list[float]]:
    return network(rows).tolist()


@app.post("/predict")
async def answer(row: list[float]) -> list[float]:
    return await predict(row)
