"""asyncbatch in FastAPI, on uvicorn, with an `async def` function, which runs on the loop: no trip to a thread."""

from asyncbatch import batched
from fastapi import FastAPI

from harness.network import Network

REQUIREMENTS = [".", "fastapi", "granian", "httptools", "numpy", "uvicorn"]
START = [
    "-m",
    "uvicorn",
    "services.asyncbatch_fastapi_loop:app",
    "--port",
    "{port}",
    "--no-access-log",
    "--no-proxy-headers",
]

app = FastAPI()
network = Network()


@batched(max_batch_size=64)
async def predict(rows: list[list[float]]) -> list[list[float]]:
    return network(rows).tolist()


@app.post("/predict")
async def answer(row: list[float]) -> list[float]:
    return await predict(row)
