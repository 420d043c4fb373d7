"""asyncbatch in the bare ASGI function on peregrine, waiting 2 ms for company, as mosec does: one worker."""

import orjson
from asyncbatch import batched

from harness.asgi import bare
from harness.network import Network

REQUIREMENTS = [".", "numpy", "orjson", "peregrine-server"]
START = ["-m", "peregrine", "--port", "{port}", "services.asyncbatch_peregrine_2ms:app"]

network = Network()


@batched(max_batch_size=64, max_wait=0.002)
async def answer(bodies: list[bytes]) -> list[bytes]:
    return [orjson.dumps(row) for row in network([orjson.loads(body) for body in bodies]).tolist()]


app = bare(answer)
