"""The loop written by hand, in a bare ASGI function on uvicorn: one process, no proxy in front."""

import orjson

from harness.asgi import bare
from harness.network import Network
from services._by_hand import by_hand

REQUIREMENTS = [".", "granian", "httptools", "numpy", "orjson", "uvicorn"]
START = ["-m", "uvicorn", "services.queue_asgi:app", "--port", "{port}", "--no-access-log", "--no-proxy-headers"]

network = Network()


def answer(bodies: list[bytes]) -> list[bytes]:
    return [orjson.dumps(row) for row in network([orjson.loads(body) for body in bodies]).tolist()]


app = bare(by_hand(answer))
