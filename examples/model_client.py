"""An async client of a remote model, wrapped so that callers hand in one text each: requests of up to 8 texts, 4 at once.

Run it: python examples/model_client.py

It prints:

    64 vectors from 8 requests, at most 4 at once
"""

import asyncio

from asyncbatch import Batcher, InlineExecutor


class Client:
    """Stands for the client of a service that takes a list of texts in one request."""

    def __init__(self) -> None:
        self.requests = self.open = self.most_open = 0

    async def embed(self, texts: list[str]) -> list[list[float]]:
        self.requests += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await asyncio.sleep(0.02)  # the network, and the model behind it
        self.open -= 1
        return [[float(len(text))] for text in texts]


async def main() -> None:
    client = Client()
    # The function is async, so it runs on the event loop: a slow answer holds up nobody, and costs no thread.
    async with Batcher(client.embed, max_batch_size=8, executor=InlineExecutor(concurrency=4)) as embed:
        async with asyncio.TaskGroup() as tg:
            calls = [tg.create_task(embed(f"text {i}", timeout=30)) for i in range(64)]
    vectors = [call.result() for call in calls]
    print(f"{len(vectors)} vectors from {client.requests} requests, at most {client.most_open} at once")


asyncio.run(main())
