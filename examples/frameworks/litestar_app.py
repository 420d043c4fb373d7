"""A batched service with Litestar, in little more than twenty lines.

Run it: uvicorn --app-dir examples/frameworks litestar_app:app

It needs `pip install litestar uvicorn`. Then ask: curl -H 'X-Timeout: 0.2' 'http://127.0.0.1:8000/length?text=one'
"""

import contextlib
import math
from typing import Annotated

from hanging_up import while_connected
from litestar import Litestar, Request, Response, get
from litestar.params import Parameter

from asyncbatch import Batcher, DeadlineExceeded, Fifo, QueueFull


async def lengths(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


@contextlib.asynccontextmanager
async def lifespan(app: Litestar):
    async with Batcher(lengths, queue=Fifo(512, when_full="reject")) as app.state.length:
        yield


@get("/length")
async def length(request: Request, text: str, x_timeout: Annotated[float, Parameter(header="X-Timeout")] = math.inf) -> int:
    return await while_connected(request.receive, request.app.state.length.submit(text, timeout=x_timeout))


def full(_: Request, error: QueueFull) -> Response:
    return Response("busy", status_code=503, headers={"Retry-After": str(max(1, math.ceil(error.retry_after)))})


def late(_: Request, error: DeadlineExceeded) -> Response:
    return Response("late", status_code=504)


app = Litestar([length], lifespan=[lifespan], exception_handlers={QueueFull: full, DeadlineExceeded: late})
