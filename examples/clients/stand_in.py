"""Stands in for two embedding services, and is as strict as they are: OpenAI's `/v1/embeddings`, and TEI's `/embed`.

Run it: python examples/clients/stand_in.py --port 8000

It needs `pip install aiohttp`. It counts a word as a token, remembers what it was asked, and follows a script of mishaps.
"""

import argparse
import array
import asyncio
import base64
import contextlib
import dataclasses
import math
import time
import zlib

from aiohttp import web


def tokens(text):
    return len(text.split())


def embedding(text):
    """What tells a text from others, in numbers that a float32 holds."""
    return [float(len(text)), float(zlib.crc32(text.encode()) >> 8), float(tokens(text))]


@dataclasses.dataclass
class Service:
    max_inputs: int = 2048
    max_input_tokens: int = 8192
    max_request_tokens: int = 300_000
    requests_a_period: float = math.inf
    period: float = 60.0
    max_at_once: float = math.inf
    seconds: float = 0.01
    mishaps: list = dataclasses.field(default_factory=list)  # a status, or seconds, for each of the first requests
    requests: list = dataclasses.field(default_factory=list)  # the texts of each that was answered
    statuses: list = dataclasses.field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    _began: float = -math.inf
    _taken: int = 0

    def app(self):
        app = web.Application()
        app.router.add_post("/v1/embeddings", self.openai)
        app.router.add_post("/embed", self.tei)
        app.router.add_get("/info", self.info)
        return app

    async def openai(self, request):
        body = await request.json()
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        status, message, headers = await self.take(texts)
        if status != 200:
            kind = "invalid_request_error" if status == 400 else "requests" if status == 429 else "server_error"
            error = {
                "message": message,
                "type": kind,
                "param": None,
                "code": "rate_limit_exceeded" if status == 429 else None,
            }
            return web.json_response({"error": error}, status=status, headers=headers)
        used = sum(map(tokens, texts))
        data = [
            {"object": "embedding", "index": n, "embedding": as_asked(embedding(text), body.get("encoding_format"))}
            for n, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": used, "total_tokens": used}
        return web.json_response({"object": "list", "data": data, "model": body["model"], "usage": usage})

    async def tei(self, request):
        texts = (await request.json())["inputs"]
        status, message, headers = await self.take([texts] if isinstance(texts, str) else texts)
        if status == 200:
            return web.json_response([embedding(text) for text in texts])
        kind = {400: "Validation", 429: "Overloaded"}.get(status, "Backend")
        status = status if status != 400 else 422 if len(texts) > self.max_inputs else 413
        return web.json_response({"error": message, "error_type": kind}, status=status, headers=headers)

    async def info(self, _):
        return web.json_response({"max_client_batch_size": self.max_inputs, "max_input_length": self.max_input_tokens})

    async def take(self, texts):
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            answer = await self.judge(texts)
        finally:
            self.at_once -= 1
        self.statuses.append(answer[0])
        if answer[0] == 200:
            self.requests.append(texts)
        return answer

    async def judge(self, texts):
        now = time.monotonic()
        if now >= self._began + self.period:
            self._began, self._taken = now, 0
        self._taken += 1
        if self._taken > self.requests_a_period:
            left = self._began + self.period - now
            return 429, "Rate limit reached: requests per period", {"Retry-After": f"{math.ceil(1000 * left) / 1000}"}
        if self.at_once > self.max_at_once:
            return 429, "Model is overloaded", {}
        mishap = self.mishaps.pop(0) if self.mishaps else self.seconds
        if mishap in (500, 502, 503):
            return mishap, "The server had an error while processing your request", {}
        await asyncio.sleep(mishap)
        return self.limits(texts)

    def limits(self, texts):
        counts = list(map(tokens, texts))
        if len(texts) > self.max_inputs:
            return 400, f"{len(texts)} inputs, and at most {self.max_inputs} are allowed", {}
        if not all(counts):
            return 400, "an input cannot be empty", {}
        if max(counts) > self.max_input_tokens:
            return 400, f"an input of {max(counts)} tokens, and at most {self.max_input_tokens} are allowed", {}
        if sum(counts) > self.max_request_tokens:
            return 400, f"{sum(counts)} tokens, and at most {self.max_request_tokens} are allowed", {}
        return 200, "", {}

    @contextlib.asynccontextmanager
    async def serving(self, port=0):
        """Serve on this machine; gives the address."""
        runner = web.AppRunner(self.app(), handler_cancellation=True)  # who hangs up gets no answer
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", port)
            await site.start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


def as_asked(vector, form):
    return base64.b64encode(array.array("f", vector).tobytes()).decode() if form == "base64" else vector


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    web.run_app(Service().app(), host="127.0.0.1", port=parser.parse_args().port, handler_cancellation=True)
