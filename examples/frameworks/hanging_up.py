"""What lets a client that hangs up leave its batch, for any framework on ASGI: servers tell it, and frameworks do not look.

It is for starlette_app.py and litestar_app.py.
"""

import asyncio


async def while_connected(receive, future):
    """Return the result of `future`; cancel it when `receive`, that of ASGI, tells that its client has hung up."""

    async def watch():
        while (await receive())["type"] != "http.disconnect":
            pass
        future.cancel()

    watching = asyncio.create_task(watch())
    try:
        return await future
    except asyncio.CancelledError:
        if not watching.done():
            raise
        return None  # which nobody reads
    finally:
        watching.cancel()
