"""The loop written by hand, in FastAPI on uvicorn: one process, no proxy in front."""

from fastapi import FastAPI

from harness.network import Network
from services._by_hand import by_hand

REQUIREMENTS = [".", "fastapi", "granian", "httptools", "numpy", "uvicorn"]
START = ["-m", "uvicorn", "services.queue_fastapi:app", "--port", "{port}", "--no-access-log", "--no-proxy-headers"]

app = FastAPI()
network = Network()
predict = by_hand(lambda rows: network(rows).tolist())


@app.post("/predict")
async def answer(row: list[float]) -> list[float]:
    return await predict(row)
