"""No batching, in a bare ASGI function on uvicorn: each request runs the model by itself, on the loop."""

import orjson

from harness.asgi import bare
from harness.network import Network

REQUIREMENTS = [".", "granian", "httptools", "numpy", "orjson", "uvicorn"]
START = ["-m", "uvicorn", "services.alone_asgi:app", "--port", "{port}", "--no-access-log", "--no-proxy-headers"]

network = Network()


async def answer(body: bytes) -> bytes:
    return orjson.dumps(network([orjson.loads(body)])[0].tolist())


app = bare(answer)
