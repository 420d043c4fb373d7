"""Holds every request of an httpx client back while a server has asked for it with 429 and `Retry-After`.

Where only the request that was refused waits, the others run into the same wall one by one, which servers count as well.
"""

import asyncio


class Gate:
    def __init__(self):
        self.opens = 0.0

    def hooks(self):
        """Return what goes to `event_hooks=` of an httpx client."""
        return {"request": [self.wait], "response": [self.look]}

    async def wait(self, _request):
        clock = asyncio.get_running_loop().time
        while (seconds := self.opens - clock()) > 0:
            await asyncio.sleep(seconds)

    async def look(self, response):
        if response.status_code == 429 and (after := response.headers.get("Retry-After", "")).replace(".", "").isdigit():
            self.opens = max(self.opens, asyncio.get_running_loop().time() + float(after))
