"""A batched service with gRPC, in little more than twenty lines. The deadline is that of the call, and a call that is cancelled
leaves its batch. Messages are plain bytes here; with a .proto file they are what it makes.

Run it: python examples/frameworks/grpc_app.py

It needs `pip install grpcio`. It serves the method /it/Length.
"""

import argparse
import asyncio
import math
import signal

import grpc

from asyncbatch import Batcher, DeadlineExceeded, Fifo, QueueFull


async def lengths(texts):
    return [str(len(text)).encode() for text in texts]


async def main(port):
    async def length(text, context):
        left = context.time_remaining()
        try:
            return await batcher(text, timeout=math.inf if left is None else max(0, left))
        except QueueFull as error:
            context.set_trailing_metadata([("retry-after", str(max(1, math.ceil(error.retry_after))))])
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
        except DeadlineExceeded:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "late")

    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(length)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("it", {"Length": method})])
    server.add_insecure_port(f"127.0.0.1:{port}")
    stop = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    async with Batcher(lengths, queue=Fifo(512, when_full="reject")) as batcher:
        await server.start()
        await stop.wait()
        await server.stop(grace=30)  # who was let in is answered, before the batcher closes


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    asyncio.run(main(parser.parse_args().port))
