"""asyncbatch in a bare ASGI function, on uvicorn with uvloop and httptools: one process, no proxy in front.

The function is a plain one, so by default it runs in a thread: numpy lets go of the GIL, and while one batch is multiplied the
loop reads the requests of the next, on the same core too. A lone request is answered sooner on the loop, see `asyncbatch_inline.py`.
It gets bodies and gives bodies, as what is decoded right before it is used is still in the cache.
"""

import orjson
from asyncbatch import batched

from harness.asgi import bare
from harness.network import Network

REQUIREMENTS = [".", "granian", "httptools", "numpy", "orjson", "uvicorn"]
START = ["-m", "uvicorn", "services.asyncbatch_asgi:app", "--port", "{port}", "--no-access-log", "--no-proxy-headers"]

network = Network()


@batched(max_batch_size=64)
def answer(bodies: list[bytes]) -> list[bytes]:
    return [orjson.dumps(row) for row in network([orjson.loads(body) for body in bodies]).tolist()]


app = bare(answer)
