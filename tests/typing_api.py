"""What type checkers know of the public API. Never run: mypy and pyright read it, and so does `test_typing.py`.

Each `type: ignore` marks a mistake that must be found: mypy warns of those that mark none.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import math
from collections.abc import AsyncIterator, Sequence
from typing import assert_type

import asyncbatch.sync
from asyncbatch import (
    AllowedSizes,
    Batcher,
    ByLength,
    Checkpoint,
    Coalesced,
    EarliestDeadline,
    Fifo,
    InlineExecutor,
    Isolated,
    Keyed,
    Outlook,
    Padded,
    Priority,
    ProcessExecutor,
    Stacked,
    Statistics,
    ThreadExecutor,
    batched,
)
from asyncbatch.decorator import Batched
from asyncbatch.metrics.events import Event
from asyncbatch.metrics.logging import LoggingObserver
from asyncbatch.metrics.otel import OpenTelemetryObserver
from asyncbatch.metrics.prometheus import PrometheusObserver
from asyncbatch.progress import progress_bar

# The function: a list of items in, as many results out.


def lengths(words: list[str]) -> list[int]:
    return [len(word) for word in words]


async def async_lengths(words: list[str]) -> list[int]:
    return [len(word) for word in words]


def of_any_sequence(words: Sequence[str]) -> tuple[int, ...]:
    return tuple(len(word) for word in words)


class Model:
    def __call__(self, words: list[str]) -> list[int]:
        return [len(word) for word in words]


class AsyncModel:
    async def __call__(self, words: list[str]) -> list[int]:
        return [len(word) for word in words]


def some_fail(words: list[str]) -> list[int | Exception]:
    return [len(word) if word.isalpha() else ValueError("no word") for word in words]


def longer_than(least: int, words: list[str]) -> list[bool]:
    return [len(word) > least for word in words]


def no_sequence(words: list[str]) -> int:
    return len(words)


def of_one_item(word: str) -> list[int]:
    return [len(word)]


async def generator(words: list[str]) -> AsyncIterator[int]:
    for word in words:
        yield len(word)


assert_type(Batcher(lengths), Batcher[str, int])
assert_type(Batcher(async_lengths), Batcher[str, int])
assert_type(Batcher(of_any_sequence), Batcher[str, int])
assert_type(Batcher(Model), Batcher[str, int])
assert_type(Batcher(AsyncModel), Batcher[str, int])
assert_type(Batcher(Model()), Batcher[str, int])
assert_type(Batcher(some_fail), Batcher[str, int])
Batcher(functools.partial(longer_than, 3))  # mypy tells no more of it than that it fits

Batcher(no_sequence)  # type: ignore[arg-type]
Batcher(of_one_item)  # type: ignore[arg-type]
Batcher(generator)  # type: ignore[arg-type]
Batcher()  # type: ignore[call-arg]

# Adapters of functions.

assert_type(Batcher(Isolated(lengths)), Batcher[str, int])
assert_type(Batcher(Isolated(Model)), Batcher[str, int])
assert_type(Batcher(Isolated(some_fail, splits=(ValueError,))), Batcher[str, int])
assert_type(Batcher(AllowedSizes(async_lengths, (1, 2, 4))), Batcher[str, int])
assert_type(Batcher(Isolated(AllowedSizes(lengths, (1, 2, 4), filler=""))), Batcher[str, int])
assert_type(batched(Isolated(lengths)), Batched[str, int])
Batcher(Stacked(no_sequence))  # what an array function takes and returns is not known to type checkers
Batcher(Padded(no_sequence, side="left", mask=False))
Padded(no_sequence, side="top")  # type: ignore[arg-type]
AllowedSizes(lengths, (1, 2), filler=3)  # type: ignore[arg-type]


# The settings.


def policy(outlook: Outlook) -> float:
    return outlook.oldest - outlook.now if outlook.count > 1 else math.inf


def observer(event: Event) -> None:
    print(event.batcher)


def settings(pool: concurrent.futures.Executor) -> None:
    assert_type(
        Batcher(
            lengths,
            max_batch_size=8,
            max_wait=0.002,
            max_batch_cost=100,
            cost=len,
            policy=policy,
            queue=Fifo(maxsize=math.inf, when_full="reject"),
            executor=ThreadExecutor(workers=2),
            name="lengths",
            observers=[observer, print],
        ),
        Batcher[str, int],
    )
    Batcher(lengths, queue=EarliestDeadline(), executor="thread")
    Batcher(lengths, queue=Priority(ageing=math.inf))
    Batcher(lengths, queue=Keyed(when_full="evict", key=len, max_per_key=64, within=Priority(ageing=5)))
    Batcher(lengths, cost=len, max_batch_cost=16_384, queue=ByLength(window=4))
    Batcher(async_lengths, executor=InlineExecutor(concurrency=4))
    Batcher(lengths, executor=ProcessExecutor(workers=2, timeout=1.5, retries=1))
    Batcher(lengths, executor=pool)
    Batcher(lengths, observers=[PrometheusObserver(), OpenTelemetryObserver(), LoggingObserver()])

    Batcher(lengths, cost=len, max_batch_cost=4096, oversized="reject")
    Batcher(lengths, oversized="split")  # type: ignore[arg-type]
    Batcher(lengths, max_size=8)  # type: ignore[call-arg]
    Batcher(lengths, max_wait="2ms")  # type: ignore[arg-type]
    Batcher(lengths, policy=len)  # type: ignore[arg-type]
    Batcher(lengths, queue=asyncio.Queue())  # type: ignore[arg-type]
    Batcher(lengths, executor=4)  # type: ignore[arg-type]
    Fifo(when_full="drop")  # type: ignore[arg-type]


# The calls.


async def calls(entered: Batcher[str, int]) -> None:
    async with entered as batcher:
        assert_type(batcher, Batcher[str, int])
        assert_type(await batcher("item"), int)
        assert_type(await batcher("item", timeout=1, priority=2, key="k"), int)
        assert_type(batcher.submit("item", timeout=1), asyncio.Future[int])
        assert_type(await batcher.map(["item"], timeout=1), list[int])
        assert_type(await batcher.map(("item" for _ in range(3)), return_exceptions=False), list[int])
        assert_type(await batcher.map(["item"], return_exceptions=True), list[int | BaseException])
        assert_type([result async for result in batcher.imap(["item"], ordered=False, read_ahead=9)], list[int])
        assert_type([result async for result in batcher.imap(words())], list[int])
        assert_type([each async for each in batcher.imap(words(), return_exceptions=True)], list[int | BaseException])
        with progress_bar(5) as bar:
            job = batcher.imap(["item"], on_progress=bar, checkpoint=Checkpoint("job.sqlite", key=len, fingerprint="v1"))
            assert_type([result async for result in job], list[int])
        assert_type(batcher.statistics(), Statistics)
        batcher.max_batch_size = 9

        await batcher(1)  # type: ignore[arg-type]
        await batcher("item", timout=1)  # type: ignore[call-arg]
        await batcher("item", key=[])  # type: ignore[arg-type]
        batcher.submit(["item"])  # type: ignore[arg-type]
        await batcher.map([1])  # type: ignore[list-item]
        await batcher.map(["item"], timout=1)  # type: ignore[call-overload]
        batcher.imap([1])  # type: ignore[list-item]
        batcher.imap(["item"], checkpoint="job.sqlite")  # type: ignore[call-overload]
        batcher.max_batch_size = "9"  # type: ignore[assignment]

        async with asyncio.TaskGroup() as tg:
            assert_type(tg.create_task(batcher("item")), asyncio.Task[int])


async def words() -> AsyncIterator[str]:
    yield "item"


# The decorator.


@batched
def bare(words: list[str]) -> list[int]:
    return lengths(words)


@batched
async def async_bare(words: list[str]) -> list[int]:
    return lengths(words)


@batched()
def empty(words: list[str]) -> list[int]:
    return lengths(words)


@batched(max_batch_size=8, max_wait=0.002)
def with_options(words: list[str]) -> list[int]:
    return lengths(words)


@batched(executor=InlineExecutor(concurrency=2))
async def async_with_options(words: list[str]) -> list[int]:
    return lengths(words)


assert_type(bare, Batched[str, int])
assert_type(async_bare, Batched[str, int])
assert_type(empty, Batched[str, int])
assert_type(with_options, Batched[str, int])
assert_type(async_with_options, Batched[str, int])
assert_type(batched(Model), Batched[str, int])
assert_type(batched(some_fail), Batched[str, int])
assert_type(batched(max_wait=0.002)(AsyncModel), Batched[str, int])

batched(no_sequence)  # type: ignore[arg-type]
batched(max_size=8)  # type: ignore[call-overload]
batched(max_wait=0.002)(no_sequence)  # type: ignore[arg-type]


async def decorated_calls() -> None:
    assert_type(await bare("item", timeout=1), int)
    assert_type(bare.submit("item", timeout=1), asyncio.Future[int])
    assert_type(await bare.map(["item"], timeout=1), list[int])
    assert_type(await bare.map(["item"], return_exceptions=True), list[int | BaseException])
    assert_type([result async for result in bare.imap(["item"])], list[int])
    assert_type([each async for each in bare.imap(["item"], return_exceptions=True)], list[int | BaseException])
    async with bare as entered:
        assert_type(entered, Batched[str, int])

    await bare(["item"])  # type: ignore[arg-type]
    await bare("item", timout=1)  # type: ignore[call-arg]
    bare.submit("item", timout=1)  # type: ignore[call-arg]
    await bare.map("item", timout=1)  # type: ignore[call-overload]
    bare(["item"])[0]  # type: ignore[index, arg-type]


# Methods.


class Service:
    @batched
    def bare(self, words: list[str]) -> list[int]:
        return lengths(words)

    @batched(max_batch_size=8)
    async def with_options(self, words: list[str]) -> list[int]:
        return lengths(words)

    @staticmethod
    @batched
    def static(words: list[str]) -> list[int]:
        return lengths(words)


async def methods(service: Service) -> None:
    assert_type(service.bare, Batched[str, int])
    assert_type(await service.bare("item"), int)
    assert_type(await service.with_options("item"), int)
    assert_type(await service.with_options.map(["item"]), list[int])
    assert_type(await service.static("item"), int)
    assert_type(await Service.static("item"), int)

    await service.bare(1)  # type: ignore[arg-type]


# In front of a batcher.


async def coalesced(batcher: Batcher[str, int], cache: dict[str, int]) -> None:
    async with Coalesced(batcher, key=len, cache=cache) as shared:
        assert_type(shared, Coalesced[str, int])
        assert_type(await shared("item", timeout=1, priority=2), int)
        assert_type(await shared.map(["item"], timeout=1), list[int])
        assert_type(await shared.map(["item"], return_exceptions=True), list[int | BaseException])
        assert_type(shared.statistics().hits, int)

        await shared(1)  # type: ignore[arg-type]
        await shared("item", timout=1)  # type: ignore[call-arg]
    assert_type(Coalesced(bare), Coalesced[str, int])
    Coalesced(batcher, cache=100)  # type: ignore[arg-type]


# Threads.


def threads() -> None:
    with asyncbatch.sync.Batcher(async_lengths, max_batch_size=8) as batcher:
        assert_type(batcher, asyncbatch.sync.Batcher[str, int])
        assert_type(batcher("item", timeout=1), int)
        assert_type(batcher.submit("item", timeout=1), concurrent.futures.Future[int])
        assert_type(batcher.map(["item"], timeout=1), list[int])
        assert_type(batcher.map(["item"], return_exceptions=True), list[int | BaseException])
        assert_type(batcher.statistics(), Statistics)

        batcher(1)  # type: ignore[arg-type]
        batcher("item", timout=1)  # type: ignore[call-arg]
        batcher.submit("item", timout=1)  # type: ignore[call-arg]
    assert_type(asyncbatch.sync.Batcher(Model), asyncbatch.sync.Batcher[str, int])
    asyncbatch.sync.Batcher(lengths, max_size=8)  # type: ignore[call-arg]
