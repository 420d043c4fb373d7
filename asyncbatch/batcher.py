"""The batcher: item -> request -> queue -> policy -> batch -> executor -> scatter -> caller."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Hashable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, Unpack, overload

import anyio

from . import imap, parameters
from .alone import served
from .controls import Controls
from .crowd import Parted
from .discipline import Discipline
from .errors import NotRunning
from .executors import Executor, resolve
from .flight import CURRENT
from .function import BatchClass, BatchFunction, ItemT, ResultT, name_of
from .here import future_maker, here
from .keywords import spelt_out
from .metrics.events import Observer, curious
from .objectives import LatencyObjective
from .policies import Limits, Policy
from .queues import resolve as resolve_queue
from .request import Bulk, DetailedRequest, PatientRequest, Request
from .residents import Residents

if TYPE_CHECKING:
    import concurrent.futures

    from .checkpoint import Checkpoint
    from .keywords import Details, Reading

__all__ = ("Batcher",)

_INF = math.inf


class Batcher(Controls, Generic[ItemT, ResultT]):
    """Gathers single items into batches, runs `function` on each batch, and answers every caller.

    `function` takes a list of items and returns a sequence with one result for each, in order. It may be sync, async, or
    a class that is built once in each worker and then called. Enter the batcher with `async with`, in the event loop
    that it is to serve; leaving the block answers all who wait, then closes. All times are seconds.

    - `max_batch_size` bounds the items in a batch; `max_batch_cost` the sum of `cost(item)` over them, the padding included
      with `queue=ByLength()`. An `oversized` item, which alone costs more, runs alone or is rejected. Without `cost` each
      costs 1.
    - `max_wait` is how long the oldest request may wait for a batch to fill, counted from its arrival, while a slot is
      free: 0 never waits, `math.inf` waits for a full batch or a `flush`. These three can be set at any time.
    - `policy` decides in place of `max_wait`: `LatencyObjective(seconds)`, `CostObjective(seconds)`, or one of your own,
      see `asyncbatch.policies`. `queue` is a discipline, `Fifo()` by default.
    - `executor` says where the function runs: `"inline"` (the default for async), `"thread"` (for all else),
      `"process"`, an executor of asyncbatch, or any `concurrent.futures.Executor`.
    - `observers` are called with the events of `asyncbatch.metrics.events`.

    Raises `TypeError` or `ValueError`, with what to write instead, for parameters that make no sense.
    """

    def __init__(
        self,
        function: BatchFunction[ItemT, ResultT] | BatchClass[ItemT, ResultT],
        *,
        max_batch_size: int = 32,
        max_wait: float = 0.0,
        max_batch_cost: float = _INF,
        cost: Callable[[ItemT], float] | None = None,
        oversized: Literal["alone", "reject"] = "alone",
        policy: Policy | LatencyObjective | None = None,
        queue: Discipline | None = None,
        executor: str | Executor | concurrent.futures.Executor | None = None,
        name: str | None = None,
        observers: Iterable[Observer] = (),
    ) -> None:
        super().__init__(Limits(max_batch_size, max_wait, max_batch_cost))
        parameters.callables(function=function, cost=cost, policy=None if isinstance(policy, LatencyObjective) else policy)
        self._function, self._cost = function, cost
        parameters.choice("oversized", oversized, "alone", "reject")
        observers = parameters.observers(observers)
        self._settings = {"policy": policy, "cost": cost, "oversized": oversized, "observers": observers}
        self._discipline = resolve_queue(queue, costed=cost is not None)
        self._executor = resolve(executor, function)
        self.name = name_of(function) if name is None else parameters.instance("name", name, str, "'embed'")
        self._waits = self._discipline.when_full == "wait"
        self._scoped = self._discipline.uses_deadlines or getattr(policy, "uses_deadlines", False)
        self._unusual = self._cost is not None or self._scoped or self._discipline.detailed or curious(observers)

    def _make_residents(self) -> Residents:
        residents = Residents(
            self.name,
            self._limits,
            self._executor.capacity,
            partial(self._executor.open, self._function, self.name),
            discipline=self._discipline,
            **self._settings,
        )
        house = residents.house
        self._queue, self._gate, self._flights = house.queue, house.queue.gate, house.flights
        self._time, self._future, self._runs = house.loop.time, future_maker(house.loop), house.loop.is_running
        return residents

    def __repr__(self) -> str:
        inside = self._house if self._state == "open" else "closed" if self._state == "closed" else "not entered"
        return f"<Batcher {self.name!r} [{inside}] max_batch_size={self.max_batch_size}>"

    def is_here(self) -> bool:
        """Whether it takes requests, and its event loop is the one that runs here."""
        return here() == self._home and self._runs()

    # One item.

    @spelt_out
    async def __call__(self, item: ItemT, **details: Unpack[Details]) -> ResultT:
        """Return the result for `item`; waits for room when the queue is full.

        `timeout` bounds the whole call, the time in the queue included. `priority` and `key` are for queue disciplines
        that use them.

        Raises what the function raised for this item or its batch, as an object of the caller's own; `DeadlineExceeded`
        when the time is up, or an objective cannot be met; `QueueFull` or `ItemTooLarge` when it is rejected or evicted;
        `Closed` when the batcher closes first or is closed; `NotRunning` from the wrong loop or thread, or before it was
        entered; `WouldDeadlock` when the batcher's own function calls it and no slot is left. An item whose caller is
        cancelled may have run already.
        """
        crowd: Any
        # What every request costs is spelled out: a call to a helper is a tenth of the whole, a named keyword a hundredth.
        if here() == self._home and not details and not self._unusual:
            del details  # an empty dict for each who waits would add a sixth to what that takes
            if self._flights and (CURRENT.get() is not None or not self._runs()):
                self._refuse_misplaced()
            gate = self._gate
            if gate.admitted < gate.alarm:
                crowd, row, future = gate.crowd
                request, seat = None, len(row)
                row += (item, gate.now or self._time())  # from here to the next line no signal can come between
                gate.admitted += 1
            elif gate.host is not None and self._runs():
                return await served(gate, item, gate.now or self._time())  # type: ignore[no-any-return]
            else:
                request, crowd, future, seat = self._queue.welcome(item, gate.now or self._time(), self._waits)
        else:
            future, request = self._enter(item, self._waits, DetailedRequest, details)
            crowd, seat = None, 0
        try:
            if request is None:
                try:
                    return (await future)[seat]  # type: ignore[no-any-return]
                except (Parted, RuntimeError) as news:
                    request, future = crowd.own(seat, news)
            return await future  # type: ignore[no-any-return]
        except BaseException as error:
            if request is not None:
                request.leave("cancelled")
            else:
                crowd.leave(seat)
            del request, future, crowd  # or the exception, this frame and the future would keep each other alive
            if not isinstance(error, RuntimeError | TypeError) or self._runs():
                raise
            raise NotRunning.elsewhere(self.name) from error  # what runs this could not await a future of that loop

    @spelt_out
    def submit(self, item: ItemT, **details: Unpack[Details]) -> asyncio.Future[ResultT]:
        """Return a future of the result for `item`, at once; cancelling it is leaving.

        Raises as `__call__` does, but for what comes later: that is the future's. A full queue is a `QueueFull` here, as
        there is nothing to wait with.
        """
        # As in `__call__`, but with a request, as whoever has the future may cancel it at any time.
        if here() != self._home or details or self._unusual:
            return self._hand_out(*self._enter(item, False, DetailedRequest, details))
        if self._flights and (CURRENT.get() is not None or not self._runs()):
            self._refuse_misplaced()
        request, queue = Request(), self._queue
        request.item, request.arrived, request.place = item, queue.gate.now or self._time(), queue
        request.future = future = self._future()
        queue.put_nowait(request, False)
        future.cancel = request.cancel  # type: ignore[method-assign]  # see `_hand_out`
        queue.handed_out = True
        return future

    def _hand_out(self, future: asyncio.Future[Any], request: Request) -> asyncio.Future[Any]:
        # Whoever holds the future may cancel it, a task that awaits it for one. It tells of that by a callback only, a pass
        # later, so its method is covered up; a subclass would be awaited the slow way by tasks.
        future.cancel = request.cancel  # type: ignore[method-assign]
        self._queue.handed_out = True
        return future

    def _enter(self, item: Any, waits: bool, kind: Any, details: Details) -> tuple[asyncio.Future[Any], Request]:
        if here() != self._home:
            raise self._refusal()
        if CURRENT.get() is not None or not self._runs():
            self._refuse_misplaced()
        now = self._time()
        seen = self._details(now, details)
        cost = 1.0 if self._cost is None else self._house.prices([item])[0]
        future = self._future()
        request = kind(item, future, now, self._queue, cost, self._house.told, *seen)
        self._queue.put_nowait(request, waits)
        if request.deadline < _INF or request.context is not None:
            self._house.receive(request)
        return future, request

    def _details(self, now: float, details: Details) -> tuple[float, bool, float, Hashable]:
        """Return the deadline, whether it is that of a scope, the priority and the key."""
        timeout, priority, key = parameters.call(**details)
        deadline = now + timeout
        if self._scoped and asyncio.current_task() is not None:  # a callback of the loop has no scope around it
            scope = anyio.current_effective_deadline()
            if scope < deadline:
                return scope, True, priority, key
        return deadline, False, priority, key

    # Many items.

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
        """Return the results for all `items`, in order. The bulk path: one request, split over batches.

        When the queue is full the items come in as room frees. The first error is raised, and what has not run by then
        does not; with `return_exceptions=True` errors stand among the results instead. The other arguments, and what is
        raised, are as for one item; `timeout` is for all of them together.
        """
        if here() != self._home:
            raise self._refusal()
        self._refuse_misplaced()
        if isinstance(items, AsyncIterable):
            raise TypeError("map takes an iterable; for an async one write `async for result in batcher.imap(source)`")
        items = list(items)
        now = self._time()
        seen = self._details(now, details)
        if not items:
            return items
        costs = None if self._cost is None else self._house.prices(items)
        future = self._future()
        bulk = Bulk(items, future, now, None, 0.0, self._house.told, *seen)
        bulk.costs, bulk.return_exceptions = costs, return_exceptions
        self._queue.put_bulk(bulk)
        if bulk.deadline < _INF or bulk.context is not None:
            self._house.receive(bulk)
        try:
            return await future  # type: ignore[no-any-return]
        except BaseException:
            bulk.leave("cancelled")
            del bulk, future
            raise

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
    @spelt_out
    def imap(
        self,
        source: Iterable[ItemT] | AsyncIterable[ItemT],
        *,
        ordered: bool = True,
        read_ahead: int | None = None,
        return_exceptions: bool = False,
        on_progress: imap.OnProgress | None = None,
        checkpoint: Checkpoint | None = None,
        **details: Unpack[Details],
    ) -> AsyncGenerator[Any, None]:
        """Return an async iterator over the results for `source`, sync or async, which need not fit in memory.

        Results come in the order of the source, or with `ordered=False` as they are there. At most `read_ahead` items
        are read and not yet yielded, by default enough for two batches in every slot. `on_progress` is called with a
        `Progress` after each. An error is raised in its place and ends the iteration, or is yielded with
        `return_exceptions=True`. Stopping early cancels what was read ahead. With a `checkpoint` a job that is started
        again goes on where it stopped; see `Checkpoint`.
        """
        if here() != self._home:
            raise self._refusal()
        parameters.call(**details)
        ahead = 2 * self._limits.max_batch_size * self._house.capacity if read_ahead is None else read_ahead

        def submit(item: ItemT, waits: bool) -> asyncio.Future[ResultT]:
            return self._hand_out(*self._enter(item, waits or self._waits, PatientRequest, details))

        return imap.results(source, submit, checkpoint, ordered, ahead, return_exceptions, on_progress)
