"""A web service that is one function: ASGI as it is, with no framework in the path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

JSON = (b"content-type", b"application/json")


def bare(answer: Callable[[bytes], Awaitable[bytes]]) -> Callable[..., Awaitable[None]]:
    """Return the application that answers the body of each POST."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        answered = await answer(body)
        headers = [JSON, (b"content-length", b"%d" % len(answered))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answered})

    return app


async def _lifespan(receive: Any, send: Any) -> None:
    message = {"type": ""}
    while message["type"] != "lifespan.shutdown":
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
