"""asyncbatch in a bare ASGI function, on uvicorn with uvloop and httptools: one process.

A batch takes about as long as reading the requests of the next, on the same core, so the function runs on the loop
(`async def`): a thread would only take turns with it.
"""

from asyncbatch import batched

from harness.asgi import bare
from harness.network import Network

REQUIREMENTS = [".", "granian", "httptools", "numpy", "orjson", "uvicorn"]
START = ["-m", "uvicorn", "services.asyncbatch_asgi:app", "--port", "{port}", "--no-access-log"]

network = Network()


@batched(max_batch_size=64)
async def predict(rows: list[list[float]]) -> list[list[float]]:
    return network(rows).tolist()


app = bare(predict)
