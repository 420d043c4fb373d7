"""No batching, in a bare ASGI function on uvicorn: each request runs the model by itself, on the loop."""

from harness.asgi import bare
from harness.network import Network

REQUIREMENTS = [".", "granian", "httptools", "numpy", "orjson", "uvicorn"]
START = ["-m", "uvicorn", "services.alone_asgi:app", "--port", "{port}", "--no-access-log"]

network = Network()


async def predict(row: list[float]) -> list[float]:
    return network([row])[0].tolist()


app = bare(predict)
