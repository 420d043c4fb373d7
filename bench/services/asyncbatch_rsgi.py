"""asyncbatch in a bare function of RSGI, which is granian's own in place of ASGI: one worker, as it starts by default."""

from services.asyncbatch_asgi import answer

REQUIREMENTS = [".", "granian", "httptools", "numpy", "orjson", "uvicorn"]
START = ["-m", "granian", "--interface", "rsgi", "--loop", "uvloop", "--port", "{port}", "services.asyncbatch_rsgi:app"]
JSON = [("content-type", "application/json")]


async def app(scope, protocol):
    protocol.response_bytes(200, JSON, await answer(await protocol()))
