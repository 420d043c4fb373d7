"""No batching, in FastAPI on uvicorn: each request runs the model by itself, on the loop, which is quicker than in a thread."""

from fastapi import FastAPI

from harness.network import Network

REQUIREMENTS = [".", "fastapi", "granian", "httptools", "numpy", "uvicorn"]
START = ["-m", "uvicorn", "services.alone_fastapi:app", "--port", "{port}", "--no-access-log", "--no-proxy-headers"]

app = FastAPI()
network = Network()


@app.post("/predict")
async def answer(row: list[float]) -> list[float]:
    return network([row])[0].tolist()
