"""A batched service with Starlette, in little more than twenty lines.

Run it: uvicorn --app-dir examples/frameworks starlette_app:app

It needs `pip install starlette uvicorn`. Then ask: curl -H 'X-Timeout: 0.2' 'http://127.0.0.1:8000/length?text=one'
"""

import contextlib
import math

from hanging_up import while_connected
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from asyncbatch import Batcher, DeadlineExceeded, Fifo, QueueFull


async def lengths(texts):
    return [len(text) for text in texts]


@contextlib.asynccontextmanager
async def lifespan(app):
    async with Batcher(lengths, queue=Fifo(512, when_full="reject")) as app.state.length:
        yield


async def length(request):
    timeout = float(request.headers.get("X-Timeout", "inf"))
    call = request.app.state.length.submit(request.query_params["text"], timeout=timeout)
    return JSONResponse(await while_connected(request.receive, call))


async def full(_, error):
    return JSONResponse("busy", 503, {"Retry-After": str(max(1, math.ceil(error.retry_after)))})


async def late(_, error):
    return JSONResponse("late", 504)


errors = {QueueFull: full, DeadlineExceeded: late}
app = Starlette(routes=[Route("/length", length)], lifespan=lifespan, exception_handlers=errors)
