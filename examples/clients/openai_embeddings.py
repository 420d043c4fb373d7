"""Embeddings from OpenAI's API, or any that speaks it: callers hand in one text each, requests stay within all its limits.

Run it: python examples/clients/openai_embeddings.py

It needs `pip install openai aiohttp`, and no key: it asks a server of its own (stand_in.py) with small limits, which refuses
requests, fails and dawdles. It prints:

    1,000 texts, 3 of them too long to be sent: 997 vectors
    300 different ones were sent, once, in requests of at most 32 texts and 120 tokens, at most 4 at once
    the usage adds up: 1,350 tokens
"""

import asyncio

from gate import Gate
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from stand_in import Service, tokens  # for the real one: len(tiktoken.encoding_for_model(model).encode(text))

from asyncbatch import Batcher, Coalesced, InlineExecutor, ItemTooLarge


class Embed:
    """A batch function: one request for a list of texts. The client tries again by itself, and the gate says when."""

    def __init__(self, client, model):
        self.client, self.model, self.tokens = client, model, 0

    async def __call__(self, texts):
        answer = await self.client.embeddings.create(model=self.model, input=texts)
        self.tokens += answer.usage.total_tokens
        return [each.embedding for each in sorted(answer.data, key=lambda each: each.index)]


def embedder(function, *, max_inputs=2048, max_input_tokens=8192, max_request_tokens=300_000, concurrency=4):
    """What callers hold: `await embed(text)`, `await embed.map(texts)`."""

    def cost(text):
        count = tokens(text)
        if not 0 < count <= max_input_tokens:
            raise ItemTooLarge(f"a text has {count} tokens, and may have 1 to {max_input_tokens}; cut it in parts")
        return count

    batcher = Batcher(
        function,
        max_batch_size=max_inputs,
        max_batch_cost=max_request_tokens,
        cost=cost,
        oversized="reject",
        executor=InlineExecutor(concurrency),  # requests at once
    )
    return Coalesced(batcher)  # texts that are asked for twice at a time are sent once; with cache={} for good


def client(url, key, timeout=60.0):
    http = DefaultAsyncHttpxClient(event_hooks=Gate().hooks(), timeout=timeout)
    return AsyncOpenAI(base_url=url, api_key=key, http_client=http, max_retries=5, timeout=timeout)


async def main():
    limits = {"max_inputs": 32, "max_input_tokens": 50, "max_request_tokens": 120}
    service = Service(**limits, requests_a_period=5, period=1.0, mishaps=[0.01, 503, 500, 3.0])
    texts = [f"text {n % 300} " + "word " * (n % 6) for n in range(997)] + ["too long " * 100] * 3
    async with service.serving() as url, client(f"{url}/v1", "no key", timeout=1.0) as openai:
        function = Embed(openai, "text-embedding-3-small")
        async with embedder(function, **limits, concurrency=4) as embed:
            vectors = await embed.map(texts, return_exceptions=True)
    sent = [text for request in service.requests for text in request]
    long = sum(isinstance(each, ItemTooLarge) for each in vectors)
    print(
        f"{len(texts):,} texts, {long} of them too long to be sent: {sum(isinstance(each, list) for each in vectors)} vectors"
    )
    assert len(sent) == len(set(sent)) and service.statuses.count(400) == 0
    print(f"{len(sent)} different ones were sent, once, in requests of at most 32 texts and 120 tokens, at most 4 at once")
    assert function.tokens == sum(map(tokens, sent))
    print(f"the usage adds up: {function.tokens:,} tokens")


if __name__ == "__main__":
    asyncio.run(main())
