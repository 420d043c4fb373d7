"""Embeddings from TEI (text-embeddings-inference): the same shape, with the limits that the server itself tells.

Run it: python examples/clients/tei_embeddings.py

It needs `pip install httpx stamina aiohttp`; the last is for the server of its own that it asks (stand_in.py), which takes two
requests at once and refuses a third. It prints:

    200 texts, 1 of them too long to be sent: 199 vectors
    in requests of at most 32 texts, of which 2 were answered at once
"""

import asyncio
import logging

import httpx
import stamina
from stand_in import Service, tokens  # for the real one: len(tokenizers.Tokenizer.from_pretrained(model).encode(text).ids)

from asyncbatch import Batcher, InlineExecutor, ItemTooLarge


def worth_another_try(error):
    """429 is how TEI says that it is overloaded, without a `Retry-After`; the client has no retries of its own."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in (429, 500, 502, 503)
    return isinstance(error, httpx.TransportError)


class Embed:
    def __init__(self, client):
        self.client = client

    @stamina.retry(on=worth_another_try, attempts=8, wait_initial=0.05)
    async def __call__(self, texts):
        answer = await self.client.post("/embed", json={"inputs": texts, "truncate": False})
        return answer.raise_for_status().json()


async def embedder(client, concurrency=4):
    limits = (await client.get("/info")).raise_for_status().json()

    def cost(text):
        if (count := tokens(text)) > limits["max_input_length"]:
            raise ItemTooLarge(f"a text has {count} tokens, and may have {limits['max_input_length']}; cut it in parts")
        return count

    return Batcher(
        Embed(client),
        max_batch_size=limits["max_client_batch_size"],
        cost=cost,
        max_batch_cost=16_384,  # what the server puts in one batch of its own, so that a request is one
        executor=InlineExecutor(concurrency),
    )


async def main():
    logging.getLogger("stamina").setLevel(logging.ERROR)  # it warns of each new try
    service = Service(max_inputs=32, max_input_tokens=512, max_at_once=2, mishaps=[503])
    texts = [f"text {n}" for n in range(199)] + ["too long " * 300]
    async with service.serving() as url, httpx.AsyncClient(base_url=url, timeout=10) as client:
        async with await embedder(client) as embed:
            vectors = [each async for each in embed.imap(texts, return_exceptions=True)]
    long = sum(isinstance(each, ItemTooLarge) for each in vectors)
    print(
        f"{len(texts)} texts, {long} of them too long to be sent: {sum(isinstance(each, list) for each in vectors)} vectors"
    )
    assert service.statuses.count(413) == service.statuses.count(422) == 0
    largest = max(map(len, service.requests))
    print(f"in requests of at most {largest} texts, of which {service.max_at_once} were answered at once")


if __name__ == "__main__":
    asyncio.run(main())
