"""The loop written by hand, in FastAPI on uvicorn: one process."""

from fastapi import FastAPI

from services.queue_asgi import predict

REQUIREMENTS = [".", "fastapi", "granian", "httptools", "numpy", "uvicorn"]
START = ["-m", "uvicorn", "services.queue_fastapi:app", "--port", "{port}", "--no-access-log"]

app = FastAPI()


@app.post("/predict")
async def answer(row: list[float]) -> list[float]:
    return await predict(row)
