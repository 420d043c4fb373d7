"""What the benches share: environments for the peers, the cases that run in them, and reports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

Function: TypeAlias = Callable[[list[Any]], Coroutine[Any, Any, list[Any]]]
Call: TypeAlias = Callable[[Any], Awaitable[Any]]
Open: TypeAlias = Callable[[Function, int], AbstractAsyncContextManager[Call]]


def blocking(function: Function) -> Callable[[list[Any]], list[Any]]:
    """Return the function for a library that runs a plain one in a thread of its own.

    That is the case's own plain form of it, `function.plain`. If it has none, the thread waits for the loop to run the
    coroutine, which takes a trip from the thread to the loop and back.
    """
    loop = asyncio.get_running_loop()

    def wait(items: list[Any]) -> list[Any]:
        return asyncio.run_coroutine_threadsafe(function(items), loop).result()

    return getattr(function, "plain", wait)
