"""A web service around a model in worker processes: each HTTP request hands in one query, the model sees batches.

Run it: python examples/web_service/service.py

It needs `pip install asyncbatch[prometheus] fastapi uvicorn`. Then open http://127.0.0.1:8000/, and in another terminal give it
something to do: `python examples/web_service/load.py`. What it answers:

    GET /search?q=...   200 with the best match. The header `X-Timeout: 0.2` is how many seconds the caller will wait: 504 when
                        they are over. 503 with `Retry-After` when the queue is full, or a worker was lost. A caller that hangs
                        up leaves the queue at once, and costs nothing.
    GET /health         200 while workers are ready, else 503
    GET /metrics        for Prometheus, and for `python -m asyncbatch top http://127.0.0.1:8000/metrics`
    GET /               a page that shows what the batcher does, live, by way of the server-sent events at /live

It stops on Ctrl-C or SIGTERM: who was let in is answered, and asked to come to another server with what comes next.
"""

import argparse
import asyncio
import contextlib
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Header, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from model import Search
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from asyncbatch import Batcher, DeadlineExceeded, Fifo, ProcessExecutor, QueueFull, WorkerLost
from asyncbatch.metrics.events import BatchEnded, BatchStarted
from asyncbatch.metrics.prometheus import PrometheusObserver

OUTCOMES = ("succeeded", "failed", "cancelled", "expired", "rejected", "closed")
HUNG_UP = 499  # that nobody reads; the number that proxies log for it


def make_app(options: argparse.Namespace, stopping: Callable[[], bool]) -> FastAPI:
    live = Live()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI):
        async with Batcher(
            Search,
            max_batch_size=64,
            max_wait=options.max_wait,
            queue=Fifo(options.queue, when_full="reject"),
            executor=ProcessExecutor(options.workers, timeout=30),
            name="search",
            observers=[PrometheusObserver(), live],
        ) as app.state.search:
            yield

    app = FastAPI(title="search", lifespan=lifespan)
    app.add_middleware(Farewell, stopping=stopping)

    @app.get("/search")
    async def search(request: Request, q: str, x_timeout: Annotated[float, Header(ge=0)] = math.inf):
        future = app.state.search.submit(q, timeout=x_timeout)
        watch = asyncio.create_task(hung_up(request))
        watch.add_done_callback(lambda _: future.cancel())
        try:
            return await future
        except asyncio.CancelledError:
            return Response(status_code=HUNG_UP)
        finally:
            watch.cancel()

    @app.exception_handler(QueueFull)
    async def full(_, error: QueueFull):
        seconds = max(1, math.ceil(error.retry_after))
        return JSONResponse({"detail": "too many queries wait already"}, 503, {"Retry-After": str(seconds)})

    @app.exception_handler(WorkerLost)
    async def lost(_, error: WorkerLost):
        return JSONResponse({"detail": "the worker was lost, another takes its place"}, 503, {"Retry-After": "1"})

    @app.exception_handler(DeadlineExceeded)
    async def late(_, error: DeadlineExceeded):
        return JSONResponse({"detail": "your time is up"}, 504)

    @app.get("/health")
    async def health():
        ready = app.state.search.statistics().workers_ready
        return JSONResponse({"workers_ready": ready}, 200 if ready else 503)

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", response_class=FileResponse)
    async def page():
        return Path(__file__).with_name("page.html")

    @app.get("/live")
    async def events():
        ticks = live.ticks(app.state.search, stopping)
        return StreamingResponse(ticks, media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    return app


class Farewell:
    """Says `Connection: close` with each answer while the server stops, so that its client asks nothing more there."""

    def __init__(self, app, stopping: Callable[[], bool]) -> None:
        self.app, self.stopping = app, stopping

    async def __call__(self, scope, receive, send):
        async def told(message):
            if message["type"] == "http.response.start" and self.stopping():
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self.app(scope, receive, told)


async def hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Live:
    """An observer that collects, for each page that is open, what has happened since that page was last told."""

    def __init__(self) -> None:
        self.pages: list[list[BatchStarted | BatchEnded]] = []

    def __call__(self, event: object) -> None:
        if isinstance(event, BatchStarted | BatchEnded):
            for page in self.pages:
                page.append(event)

    async def ticks(self, batcher: Batcher, stopping: Callable[[], bool], every: float = 0.25):
        """Yield a server-sent event `every` so many seconds."""
        events: list[BatchStarted | BatchEnded] = []
        self.pages.append(events)
        try:
            before, due = batcher.statistics(), time.monotonic()
            while not stopping():
                due += every  # not later and later, however busy the loop is
                await asyncio.sleep(due - time.monotonic())
                now = batcher.statistics()
                yield f"data: {json.dumps(summary(events, before, now))}\n\n"
                before = now
                events.clear()
        finally:
            self.pages.remove(events)


def summary(events, before, now) -> dict[str, object]:
    started = [event for event in events if isinstance(event, BatchStarted)]
    ended = [event for event in events if isinstance(event, BatchEnded)]
    return {
        "queued": now.queued,
        "in_flight": now.in_flight,
        "capacity": now.capacity,
        "ready": now.workers_ready,
        "outcomes": {name: getattr(now, name) - getattr(before, name) for name in OUTCOMES},
        "batches": [(event.size, event.reason) for event in started],
        "busy": now.busy_seconds - before.busy_seconds,
        "waits": middle_and_slow([wait for event in started for wait in event.waits]),
        "runs": middle_and_slow([event.seconds for event in ended]),
    }


def middle_and_slow(seconds: list[float]) -> list[float]:
    """The median, and what one in a hundred exceeds; nothing of nothing."""
    if len(seconds) < 2:
        return seconds * 2
    cuts = quantiles(seconds, n=100, method="inclusive")
    return [cuts[49], cuts[98]]


class Server(uvicorn.Server):
    """Stops in two steps: nobody new, but who is connected is answered once more, and told; then as uvicorn does."""

    leaving = False

    async def shutdown(self, sockets=None) -> None:
        for each in self.servers:
            each.close()
        self.leaving = True
        await asyncio.sleep(0.5)
        await super().shutdown(sockets)


def main() -> None:
    parser = argparse.ArgumentParser(description="A search service that batches.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=1, help="processes, with a model each")
    parser.add_argument("--max-wait", type=float, default=0.0, help="seconds a lone query may wait for company")
    parser.add_argument("--queue", type=int, default=512, help="queries that may wait; more are turned away")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a worker has a core; numpy's threads would fight over all of them
    # The streams of open pages would never end by themselves, so they ask whether the server is to stop.
    app = make_app(options, lambda: server.leaving)
    server = Server(uvicorn.Config(app, port=options.port, access_log=False))
    server.run()


if __name__ == "__main__":
    main()
