"""asyncbatch in the bare ASGI function on peregrine, waiting 2 ms for company, as mosec does: one worker."""

from asyncbatch import batched

from harness.asgi import bare
from services.asyncbatch_inline import answer

REQUIREMENTS = [".", "numpy", "orjson", "peregrine-server"]
START = ["-m", "peregrine", "--port", "{port}", "services.asyncbatch_peregrine_2ms:app"]

app = bare(batched(max_batch_size=64, max_wait=0.002)(answer.__wrapped__))
