"""Coalesced: requests for equal items that are under way at the same time are one, and results can be kept in a cache."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Hashable, Iterable, MutableMapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, Self, TypeAlias, overload

import anyio

from . import parameters
from .batcher import Batcher
from .decorator import Batched
from .errors import Closed, DeadlineExceeded, FunctionFailed
from .flight import CURRENT
from .function import ItemT, ResultT, name_of
from .scatter import own_copy
from .shared import SharedRequest

__all__ = ("Coalesced", "CoalescedStatistics")

_INF = math.inf
_Urgency: TypeAlias = tuple[float, float]
"""A priority, and the time by which there is to be an answer."""


@dataclass(frozen=True, slots=True)
class CoalescedStatistics:
    """Where answers came from, counted in items: `calls = hits + shared + requests`."""

    calls: int  #: items that were asked for
    hits: int  #: answered from the cache
    shared: int  #: that joined a request which was under way
    requests: int  #: handed to the batcher


class Coalesced(Generic[ItemT, ResultT]):
    """Stands in front of a batcher, or a batched function: items that are equal and under way share one request.

    `key` gives what of an item counts, a hashable; by default the item itself. Each caller keeps its own cancellation and
    `timeout`: one that leaves hurts no other, and when all have left the request is cancelled. While it waits, it is
    as urgent as the most urgent of all who joined it: it has the least `priority` and the nearest deadline, scopes counted
    as in `Batcher`, where the queue goes by those, and a batch leaves early for each deadline; but it expires for none of
    them while another caller waits.

    `cache` is any mutable mapping: a dict, one of cachetools, ...; it holds results by the `key` of their items, `None` as
    any other. Errors are never kept, nor is a result that the cache finds too large (`ValueError`). All who share a result,
    now or later, get the same object; errors are an object of each caller's own.

    Entered with `async with`, it enters and closes what it wraps; in front of what is entered elsewhere it needs neither.
    """

    def __init__(
        self,
        batcher: Batcher[ItemT, ResultT] | Batched[ItemT, ResultT],
        *,
        key: Callable[[ItemT], Hashable] | None = None,
        cache: MutableMapping[Any, ResultT] | None = None,
    ) -> None:
        parameters.callables(function=batcher, key=key)
        if cache is not None:
            parameters.instance("cache", cache, MutableMapping, "{}")
        self.batcher = batcher
        self._key = key
        self._cache = cache
        self._under_way: dict[Hashable, _Share] = {}
        self._hits = self._shared = self._requests = 0

    async def __call__(self, item: ItemT, *, timeout: float = _INF, priority: float = 0) -> ResultT:
        """Return the result for `item`; see `Batcher.__call__`.

        Raises `TypeError` for a key that is not hashable, `DeadlineExceeded` when `timeout` seconds are over, and what the
        batcher raises; `Closed`, too, if the request is cancelled from outside.
        """
        return (await self.map([item], timeout=timeout, priority=priority))[0]

    @overload
    async def map(
        self,
        items: Iterable[ItemT],
        *,
        return_exceptions: Literal[False] = ...,
        timeout: float = ...,
        priority: float = ...,
    ) -> list[ResultT]: ...
    @overload
    async def map(
        self, items: Iterable[ItemT], *, return_exceptions: bool, timeout: float = ..., priority: float = ...
    ) -> list[ResultT | BaseException]: ...
    async def map(
        self, items: Iterable[ItemT], *, return_exceptions: bool = False, timeout: float = _INF, priority: float = 0
    ) -> list[Any]:
        """Return the results for all `items`, in order; equal ones share a request here, too. See `Batcher.map`.

        Each distinct item is a request of its own, which other callers can join.
        """
        timeout = parameters.seconds("timeout", timeout)
        deadline = asyncio.get_running_loop().time() + timeout
        if self.batcher._scoped:  # noqa: SLF001  # it is one of ours
            deadline = min(deadline, anyio.current_effective_deadline())
        urgency = parameters.number("priority", priority), deadline
        keyed = [(self._key_of(item), item) for item in items]
        found: dict[Hashable, Any] = {}
        shares: dict[Hashable, _Share] = {}
        try:
            for key, item in keyed:
                self._look_up(key, item, urgency, found, shares)
            await self._answers(list(shares.values()), timeout, early=not return_exceptions)
            return [found[key] if key in found else self._outcome(shares[key]) for key, _ in keyed]
        finally:
            for share in shares.values():
                self._leave(share)

    def statistics(self) -> CoalescedStatistics:
        """Return a frozen snapshot of where answers came from; `batcher.statistics()` tells what became of requests."""
        calls = self._hits + self._shared + self._requests
        return CoalescedStatistics(calls, self._hits, self._shared, self._requests)

    async def __aenter__(self) -> Self:
        await self.batcher.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self.aclose(drain=kind is None)

    async def aclose(self, drain: bool = True, timeout: float = _INF) -> None:
        """Close the batcher, or the batched function in this event loop; see `Batcher.aclose`."""
        try:
            await asyncio.sleep(0)  # requests that were made in this pass of the loop reach the batcher in the next
        finally:
            await self.batcher.aclose(drain, timeout)

    def __repr__(self) -> str:
        return f"<Coalesced [{len(self._under_way)} under way] in front of {self.batcher!r}>"

    # A request and those who share it.

    def _key_of(self, item: Any) -> Hashable:
        key = item if self._key is None else self._key(item)
        try:
            hash(key)
        except TypeError:
            raise TypeError(
                f"what requests are compared by must be hashable, not a {type(key).__name__}; "
                "write for example key=lambda item: item.tobytes()"
            ) from None
        return key

    def _look_up(
        self, key: Hashable, item: Any, urgency: _Urgency, found: dict[Hashable, Any], shares: dict[Hashable, _Share]
    ) -> None:
        """Put the result for `key` into `found` if it is in the cache, else a request for it into `shares`."""
        if key in shares:
            self._shared += 1
        elif key in found or self._kept(key, found):
            self._hits += 1
        else:
            shares[key] = self._join(key, item, urgency)

    def _kept(self, key: Hashable, found: dict[Hashable, Any]) -> bool:
        if self._cache is None:
            return False
        try:
            found[key] = self._cache[key]
        except KeyError:
            return False
        return True

    def _join(self, key: Hashable, item: Any, urgency: _Urgency) -> _Share:
        # Futures belong to a loop. And a batch function must not wait for what may be aboard its own flight, so what is
        # asked for inside of one is shared only there: the batcher answers it, or says that it would deadlock.
        place = asyncio.get_running_loop(), CURRENT.get(), key
        share = self._under_way.get(place)
        if share is None:
            self._requests += 1
            share = self._under_way[place] = _Share(place, urgency)
            share.task = asyncio.create_task(self._ask(share, key, item))
            share.task.add_done_callback(_retrieve)
        else:
            self._shared += 1
            share.urge(*urgency)
        share.callers += 1
        return share

    async def _ask(self, share: _Share, key: Hashable, item: Any) -> ResultT:
        try:
            result: ResultT = await share.answer(self.batcher, item)
            if self._cache is not None:
                with contextlib.suppress(ValueError):  # what those of cachetools say to a result that is too large
                    self._cache[key] = result
            return result
        finally:
            self._end(share)

    def _leave(self, share: _Share) -> None:
        share.callers -= 1
        if not share.callers:
            share.task.cancel()  # if it is not done
            self._end(share)  # at once: nobody is to join what is being cancelled, or was before it could begin

    def _end(self, share: _Share) -> None:
        if self._under_way.get(share.place) is share:
            del self._under_way[share.place]

    async def _answers(self, shares: list[_Share], timeout: float, *, early: bool) -> None:
        """Wait until all are answered, or raise; with `early` the first error ends it."""
        if not shares:
            return
        _, late = await asyncio.wait(
            [share.task for share in shares],
            timeout=None if timeout == _INF else timeout,
            return_when=asyncio.FIRST_EXCEPTION if early else asyncio.ALL_COMPLETED,
        )
        for share in shares:
            if early and share.failed:
                raise self._failure(share)
        if late:
            raise DeadlineExceeded(
                f"{self.batcher!r} had no result for this caller within {timeout:.3f} s; "
                "give it more with timeout=, or the batcher more capacity"
            )

    def _outcome(self, share: _Share) -> Any:
        return self._failure(share) if share.failed else share.task.result()

    def _failure(self, share: _Share) -> BaseException:
        """Return an exception of the caller's own."""
        if share.task.cancelled():
            return Closed.by_others(getattr(self.batcher, "name", name_of(self.batcher)))
        return _own(share.task.exception())  # type: ignore[arg-type]  # there is one


class _Share:
    """One request that is under way, how many callers wait for it, and how urgent it is to those who ever did."""

    __slots__ = ("_made", "_urgencies", "callers", "place", "task")
    task: asyncio.Task[Any]

    def __init__(self, place: Hashable, urgency: _Urgency) -> None:
        self.place = place
        self.callers = 0
        self._urgencies = [urgency]  # until it is made
        self._made: Callable[[float, float], None] | None = None

    def urge(self, priority: float, deadline: float) -> None:
        """Let it go as early as one more caller needs it."""
        if self._made is None:
            self._urgencies.append((priority, deadline))
        else:
            self._made(priority, deadline)

    async def answer(self, batcher: Any, item: Any) -> Any:
        """Make the request, and return its result."""
        if isinstance(batcher, Batched):
            batcher = batcher._batchers.here()  # noqa: SLF001  # it is one of ours
        least = min(priority for priority, _ in self._urgencies)
        future, request = batcher._enter(item, batcher._waits, SharedRequest, {"priority": least})  # noqa: SLF001
        self._made = partial(batcher._house.urge, request)  # noqa: SLF001
        for urgency in self._urgencies:
            self._made(*urgency)
        try:
            return await future
        except BaseException:
            request.leave("cancelled")
            raise

    @property
    def failed(self) -> bool:
        return self.task.done() and (self.task.cancelled() or self.task.exception() is not None)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Look at the exception, as nobody else may: all callers may have left."""
    if not task.cancelled():
        task.exception()


def _own(error: BaseException) -> BaseException:
    try:
        return own_copy(error, {})
    except Exception:  # noqa: BLE001  # the user's class, see scatter
        own = FunctionFailed(f"the request failed with a {type(error).__name__}, which cannot be copied for each caller")
        own.__cause__ = error
        return own
