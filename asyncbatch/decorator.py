"""@batched: a function of a list becomes one of an item. It starts by itself, in every event loop that calls it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import weakref
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, Self, Unpack, overload

from .batcher import Batcher
from .function import BatchClass, BatchFunction, ItemT, Outputs, ResultT, behind_partials, name_of
from .keywords import spelt_out

if TYPE_CHECKING:
    from .keywords import Details, Options, Reading
    from .metrics.statistics import Statistics

__all__ = ("Batched", "BatchedMethod", "Decorator", "batched")


class Batched(Generic[ItemT, ResultT]):
    """A batched function. It has a `Batcher` for each running event loop, made on the first call there.

    After `aclose` it raises `Closed`, until another loop runs or it is entered again. A lazily made batcher needs no
    closing: it ends with its loop, or with the instance whose method it serves.
    """

    __wrapped__: Callable[..., Any]

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        functools.update_wrapper(self, behind_partials(function), updated=())
        self.__wrapped__ = function
        self._options = options
        self._batchers: _Batchers[ItemT, ResultT] = _Batchers(function, options)
        self._instances: dict[int, tuple[weakref.ref[Any], Batched[ItemT, ResultT]]] = {}
        self._instance: object = None
        self._scoped = self._batchers.latest._scoped  # noqa: SLF001  # what Coalesced goes by

    @spelt_out
    async def __call__(self, item: ItemT, **details: Unpack[Details]) -> ResultT:
        """Return the result for `item`; see `Batcher.__call__`."""
        batcher = self._batchers.here()
        # By its name, and without details that nobody gave: otherwise half of what a call costs would be this one.
        return await (batcher(item, **details) if details else batcher.__call__(item))

    @spelt_out
    def submit(self, item: ItemT, **details: Unpack[Details]) -> asyncio.Future[ResultT]:
        """Return a future of the result for `item`; see `Batcher.submit`."""
        future = self._batchers.here().submit(item, **details)
        if self._instance is not None:
            future.add_done_callback(functools.partial(_keep, self._instance))  # it lives that long
        return future

    @overload
    async def map(
        self, items: Iterable[ItemT], *, return_exceptions: Literal[False] = ..., **details: Unpack[Details]
    ) -> list[ResultT]: ...
    @overload
    async def map(
        self, items: Iterable[ItemT], *, return_exceptions: bool, **details: Unpack[Details]
    ) -> list[ResultT | BaseException]: ...
    @spelt_out
    async def map(
        self, items: Iterable[ItemT], *, return_exceptions: bool = False, **details: Unpack[Details]
    ) -> list[Any]:
        """Return the results for all `items`, in order; see `Batcher.map`."""
        return await self._batchers.here().map(items, return_exceptions=return_exceptions, **details)

    @overload
    def imap(
        self,
        source: Iterable[ItemT] | AsyncIterable[ItemT],
        *,
        return_exceptions: Literal[False] = ...,
        **reading: Unpack[Reading],
    ) -> AsyncGenerator[ResultT, None]: ...
    @overload
    def imap(
        self, source: Iterable[ItemT] | AsyncIterable[ItemT], *, return_exceptions: bool, **reading: Unpack[Reading]
    ) -> AsyncGenerator[ResultT | BaseException, None]: ...
    async def imap(
        self,
        source: Iterable[ItemT] | AsyncIterable[ItemT],
        *,
        return_exceptions: bool = False,
        **reading: Unpack[Reading],
    ) -> AsyncGenerator[Any, None]:
        """Iterate over the results for `source`; see `Batcher.imap`."""
        generator = self._batchers.here().imap(source, return_exceptions=return_exceptions, **reading)
        async with contextlib.aclosing(generator) as results:
            async for result in results:
                yield result

    def flush(self) -> None:
        """Let all that waits in this loop leave now; see `Batcher.flush`."""
        self._batchers.here().flush()

    async def resize(self, capacity: int) -> None:
        """Let `capacity` batches run at once in this event loop; see `Batcher.resize`."""
        await self._batchers.here().resize(capacity)

    def statistics(self) -> Statistics:
        """Return what has happened in this event loop; see `Batcher.statistics`."""
        return self._batchers.here().statistics()

    async def aclose(self, drain: bool = True, timeout: float = math.inf) -> None:
        """Close the batcher of this event loop; see `Batcher.aclose`."""
        await self._batchers.here().aclose(drain, timeout)

    async def __aenter__(self) -> Self:
        await self._batchers.open_one().ready()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self.aclose(drain=kind is None)

    def __repr__(self) -> str:
        return f"<batched {getattr(self, '__qualname__', name_of(self.__wrapped__))}>"

    def __get__(self, instance: object, owner: type | None = None) -> Batched[ItemT, ResultT]:
        if instance is None:
            return self
        # The copy shares all state with the original and holds the instance: while a call is under way, both live.
        bound: Batched[ItemT, ResultT] = Batched.__new__(Batched)
        vars(bound).update(vars(self._of(instance)), _instance=instance)
        return bound

    def _of(self, instance: object) -> Batched[ItemT, ResultT]:
        """Return the batched method of one instance. By identity, so that instances need neither hash nor equality."""
        place = id(instance)
        if place not in self._instances:
            try:
                reference = weakref.ref(instance, lambda _: self._instances.pop(place, None))
            except TypeError:
                raise TypeError(
                    f"instances of {type(instance).__name__} cannot have a batched method, as they cannot be weakly "
                    "referenced; add '__weakref__' to its __slots__"
                ) from None
            self._instances[place] = reference, Batched(_Method(self.__wrapped__, reference), self._options)
        return self._instances[place][1]


class _Batchers(Generic[ItemT, ResultT]):
    """The batchers of one function: one for each running event loop, made on the first call there."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self._function, self._options = function, options
        self._of: dict[asyncio.AbstractEventLoop, Batcher[ItemT, ResultT]] = {}
        self.latest = self._make()  # so that wrong options are told now, and not on the first call

    def here(self) -> Batcher[ItemT, ResultT]:
        """Return that of the running loop; mostly it is the one that was asked for last."""
        latest = self.latest
        if latest.is_here():
            return latest
        batcher = self._of.get(asyncio.get_running_loop())
        self.latest = batcher = self._start() if batcher is None or batcher.forked else batcher
        return batcher

    def open_one(self) -> Batcher[ItemT, ResultT]:
        """Return that of the running loop, or another one if it was closed."""
        batcher = self.here()
        return self._start() if batcher.closed else batcher

    def _start(self) -> Batcher[ItemT, ResultT]:
        for loop in [loop for loop in self._of if loop.is_closed()]:
            del self._of[loop]
        batcher = self._of[asyncio.get_running_loop()] = self._make()
        batcher.start_quietly()
        return batcher

    def _make(self) -> Batcher[ItemT, ResultT]:
        return Batcher(self._function, **self._options)


def _keep(*_: object) -> None:
    """Do nothing, with whatever is bound to it."""


class _Method(functools.partial[Any]):
    """A method of an instance that may be collected: a partial, so that what it is part of can be told."""

    def __call__(self, items: list[Any]) -> Any:
        return self.func(self.args[0](), items)

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial, (self.func, self.args[0]())  # where the function runs nobody else holds the instance


class BatchedMethod(Protocol[ItemT, ResultT]):
    """What a batched method is to its class; on an instance it is a `Batched`."""

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Batched[ItemT, ResultT]: ...


class Decorator(Protocol):
    """What `batched(...)` with options returns."""

    @overload
    def __call__(self, function: BatchFunction[ItemT, ResultT], /) -> Batched[ItemT, ResultT]: ...
    @overload
    def __call__(self, function: BatchClass[ItemT, ResultT], /) -> Batched[ItemT, ResultT]: ...
    @overload
    def __call__(
        self,
        function: Callable[[Any, list[ItemT]], Outputs[ResultT | Exception] | Awaitable[Outputs[ResultT | Exception]]],
        /,
    ) -> BatchedMethod[ItemT, ResultT]: ...


@overload
def batched(function: BatchFunction[ItemT, ResultT], /) -> Batched[ItemT, ResultT]: ...
@overload
def batched(function: BatchClass[ItemT, ResultT], /) -> Batched[ItemT, ResultT]: ...
@overload
def batched(
    function: Callable[[Any, list[ItemT]], Outputs[ResultT | Exception] | Awaitable[Outputs[ResultT | Exception]]], /
) -> BatchedMethod[ItemT, ResultT]: ...
@overload
def batched(**options: Unpack[Options]) -> Decorator: ...
def batched(function: Any = None, /, **options: Any) -> Any:
    """Make a function that takes one item of a function that takes a list of them.

    Works on functions, methods and classes, sync and async, with or without parentheses; the keywords are those of
    `Batcher`. A method has a batcher for each instance, which is collected with it. `__wrapped__` is the original.
    """
    if function is None:
        return functools.partial(batched, **options)
    return Batched(function, options)
