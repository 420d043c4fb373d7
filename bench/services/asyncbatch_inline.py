"""asyncbatch in a bare ASGI function on uvicorn, with an `async def` function, which runs on the loop: no trip to a thread."""

import orjson
from asyncbatch import batched

from harness.asgi import bare
from harness.network import Network

REQUIREMENTS = [".", "granian", "httptools", "numpy", "orjson", "uvicorn"]
START = ["-m", "uvicorn", "services.asyncbatch_inline:app", "--port", "{port}", "--no-access-log", "--no-proxy-headers"]

network = Network()


@batched(max_batch_size=64)
async def answer(bodies: list[bytes]) -> list[bytes]:
    return [orjson.dumps(row) for row in network([orjson.loads(body) for body in bodies]).tolist()]


app = bare(answer)
