"""A mixed load: callers who come at random and do with a batcher all that callers do, and functions that fail as told.

Every answer is checked. What became of a call is a word, and the words are counted.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

from asyncbatch import Batcher, FunctionFailed, WorkerLost

PAUSE = 0.05  # seconds on average between two calls of one caller
PATIENCE = 30.0  # seconds after which a caller is lost
KEYS = 50
BAD, WORSE, FATAL = -1, -2, -3  # items that fail alone, fail their batch, kill their worker


# The functions.


async def keyed(items: list[int]) -> list[Any]:
    await asyncio.sleep(0.001)
    return results(items)


def plain(items: list[int]) -> list[Any]:
    return results(items)


def deadly(items: list[int]) -> list[Any]:
    if FATAL in items:
        os.kill(os.getpid(), signal.SIGKILL)
    return results(items)


def results(items: list[int]) -> list[Any]:
    if WORSE in items:
        raise ValueError("the whole batch fails")
    return [ValueError("one item fails") if item == BAD else item * 2 for item in items]


# The callers.


class Load:
    """Lets calls pass, or holds them."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._calls = 0

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        await self._open.wait()
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Wait until no call is under way, and let none begin inside the block."""
        self._open.clear()
        while self._calls:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # batches whose callers have all left may still run
        yield
        self._open.set()


async def caller(number: int, opened: dict[str, Batcher[int, int]], load: Load, end: float, outcomes: Counter[str]) -> None:
    chance = random.Random(number)
    while time.monotonic() < end:
        await asyncio.sleep(chance.expovariate(1 / PAUSE))
        name = chance.choice(list(opened))
        way = chance.choices(WAYS, (60, 10, 10, 5, 5, 5, 3, 2))[0]
        options = {"key": chance.randrange(KEYS)} if name == "keys" else {}
        try:
            async with load.call(), asyncio.timeout(PATIENCE):
                outcome = await way(opened[name], chance, options)
        except TimeoutError:
            outcome = "lost"
        except WorkerLost:
            outcome = "worker lost"
        except (ValueError, FunctionFailed):
            outcome = "a neighbour's error"
        except Exception as error:
            outcome = "unforeseen"
            print(f"{way.__name__} of {name}: {error!r}", file=sys.stderr, flush=True)
        outcomes[outcome] += 1


async def single(batcher: Batcher[int, int], chance: random.Random, options: dict[str, Any]) -> str:
    item = chance.randrange(1000)
    return "answered" if await batcher(item, **options) == item * 2 else "wrong"


async def mapped(batcher: Batcher[int, int], chance: random.Random, options: dict[str, Any]) -> str:
    items = [chance.randrange(1000) for _ in range(chance.randrange(1, 100))]
    return "mapped" if await batcher.map(items, **options) == [item * 2 for item in items] else "wrong"


async def iterated(batcher: Batcher[int, int], chance: random.Random, options: dict[str, Any]) -> str:
    items = [chance.randrange(1000) for _ in range(chance.randrange(1, 100))]
    stop = chance.randrange(2 * len(items))  # half of them stop early
    got = []
    async with aclosing(batcher.imap(items, **options)) as answers:
        async for answer in answers:
            got.append(answer)
            if len(got) > stop:
                break
    return "iterated" if got == [item * 2 for item in items[: len(got)]] else "wrong"


async def leaving(batcher: Batcher[int, int], chance: random.Random, options: dict[str, Any]) -> str:
    call = asyncio.create_task(batcher(1, **options))
    await asyncio.sleep(chance.choice((0, 0, 0.001, 0.005)))
    call.cancel()
    await asyncio.wait([call])
    return "left" if call.cancelled() else "answered" if not call.exception() else "a neighbour's error"


async def hasty(batcher: Batcher[int, int], chance: random.Random, options: dict[str, Any]) -> str:
    with suppress(TimeoutError):
        await batcher(1, timeout=chance.choice((0.0005, 0.002, 0.01)), **options)
        return "answered"
    return "out of time"


async def bad(batcher: Batcher[int, int], chance: random.Random, options: dict[str, Any]) -> str:
    answers = await batcher.map([1, BAD, 2], return_exceptions=True, **options)
    return "failed alone" if isinstance(answers[1], Exception) else "wrong"


async def worse(batcher: Batcher[int, int], chance: random.Random, options: dict[str, Any]) -> str:
    with suppress(ValueError):
        await batcher(WORSE, **options)
        return "wrong"
    return "failed a batch"


async def at_once(batcher: Batcher[int, int], chance: random.Random, options: dict[str, Any]) -> str:
    answers = await asyncio.gather(*(batcher(item, **options) for item in range(50)), return_exceptions=True)
    right = all(isinstance(answer, Exception) or answer == item * 2 for item, answer in enumerate(answers))
    return "at once" if right else "wrong"


WAYS = (single, mapped, iterated, leaving, hasty, bad, at_once, worse)


async def kill(batcher: Batcher[int, int], load: Load, every: float, outcomes: Counter[str]) -> None:
    while True:
        await asyncio.sleep(every)
        with suppress(WorkerLost):
            async with load.call():
                await batcher(FATAL)
        outcomes["killed"] += 1
