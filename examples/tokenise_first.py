"""Tokenise each text in its caller's own task, before it queues: so its cost is known, and no batch waits for it.

Run it: python examples/tokenise_first.py

It prints:

    100 vectors, no batch of more than 64 tokens
"""

import asyncio

from asyncbatch import Batcher, ByLength

sizes: list[int] = []


def tokenise(text: str) -> list[int]:
    """Stand for a tokeniser, which takes its time: it runs in threads, beside the batches, and for many texts at once."""
    return [hash(word) for word in text.split()]


def model(batch: list[list[int]]) -> list[int]:
    """Stand for a model that pads all texts of a batch to the longest."""
    sizes.append(len(batch) * max(map(len, batch)))
    return [sum(tokens) for tokens in batch]


async def main() -> None:
    # The callers queue what the model takes. While one batch runs, those of the next are being tokenised.
    async with Batcher(model, cost=len, max_batch_cost=64, queue=ByLength()) as batcher:

        async def embed(text: str) -> int:
            tokens = await asyncio.to_thread(tokenise, text)
            return await batcher(tokens)

        async with asyncio.TaskGroup() as tg:
            calls = [tg.create_task(embed("so many words " * (1 + n % 7))) for n in range(100)]
    assert max(sizes) <= 64
    print(f"{len([call.result() for call in calls])} vectors, no batch of more than 64 tokens")


asyncio.run(main())
