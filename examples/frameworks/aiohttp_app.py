"""A batched service with aiohttp, in little more than twenty lines. Here a client that hangs up cancels its call.

Run it: python examples/frameworks/aiohttp_app.py

It needs `pip install aiohttp`. Then ask: curl -H 'X-Timeout: 0.2' 'http://127.0.0.1:8000/length?text=one'
"""

import argparse
import math

from aiohttp import web

from asyncbatch import Batcher, DeadlineExceeded, Fifo, QueueFull

BATCHER = web.AppKey("batcher", Batcher)


async def lengths(texts):
    return [len(text) for text in texts]


async def running(app):
    async with Batcher(lengths, queue=Fifo(512, when_full="reject")) as app[BATCHER]:
        yield


async def length(request):
    timeout = float(request.headers.get("X-Timeout", "inf"))
    try:
        return web.json_response(await request.app[BATCHER](request.query["text"], timeout=timeout))
    except QueueFull as error:
        return web.json_response("busy", status=503, headers={"Retry-After": str(max(1, math.ceil(error.retry_after)))})
    except DeadlineExceeded:
        return web.json_response("late", status=504)


app = web.Application()
app.cleanup_ctx.append(running)
app.router.add_get("/length", length)

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    web.run_app(app, host="127.0.0.1", port=parser.parse_args().port, handler_cancellation=True)
