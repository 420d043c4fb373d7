"""asyncbatch in a bare ASGI function, on uvicorn with uvloop and httptools: one process, no proxy in front.

A batch takes 1 or 2 ms, and there is one core, where a thread would only take turns with the loop, so the function is `async def`
and runs on it. It gets bodies and gives bodies: what is decoded right before it is used is still in the cache.
"""

import orjson
from asyncbatch import batched

from harness.asgi import bare
from harness.network import Network

REQUIREMENTS = [".", "granian", "httptools", "numpy", "orjson", "uvicorn"]
START = ["-m", "uvicorn", "services.asyncbatch_asgi:app", "--port", "{port}", "--no-access-log", "--no-proxy-headers"]

network = Network()


@batched(max_batch_size=64)
async def answer(bodies: list[bytes]) -> list[bytes]:
    return [orjson.dumps(row) for row in network([orjson.loads(body) for body in bodies]).tolist()]


app = bare(answer)
