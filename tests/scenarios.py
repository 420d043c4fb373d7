"""Small histories of a few callers on the virtual clock, in which a fault can be put between any two steps of the loop.

A step is one handle. What a loop does within one nobody can interrupt, so faults before each step are all there are.
`play` runs a scenario, and `World.wrong` tells what was not as promised.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import itertools
import logging
import math
import sys
import weakref
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import anyio

from asyncbatch import Batcher, Closed, DeadlineExceeded, EarliestDeadline, Fifo, InlineExecutor, Keyed, Priority, QueueFull
from asyncbatch.testing import VirtualClockLoop

# No scenario comes near this many steps, unless it goes round in circles.
MOST_STEPS = 3000


def answer(item: Any) -> str:
    return f"the answer to {item}"


def unbalanced(statistics: Any) -> str:
    """Say what does not add up in a snapshot; nothing, if all does."""
    s = statistics
    parts = (s.succeeded, s.failed, s.cancelled, s.expired, s.rejected, s.closed, s.queued, s.in_flight)
    balanced = s.submitted == sum(parts) and min(*parts, s.waiting_for_room) >= 0
    return "" if balanced else f"the counts do not add up: {s}"


class Ear(logging.Handler):
    """Tells `complain` what the library logs: of itself it should have nothing to say."""

    def __init__(self, complain: Callable[[str], None]) -> None:
        super().__init__()
        self._complain = complain

    def emit(self, record: logging.LogRecord) -> None:
        self._complain(f"logged: {record.getMessage()} {record.exc_info}")

    def __enter__(self) -> None:
        logging.getLogger("asyncbatch").addHandler(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger("asyncbatch").removeHandler(self)


# Where batches run.


class Work:
    """A batch that runs. It ends when somebody says so, with what `outcome()` returns or raises."""

    def __init__(self, items: list[Any], shop: Workshop, *, detached: bool) -> None:
        self.items = list(items)
        self.end: asyncio.Future[Callable[[], Any]] = asyncio.get_running_loop().create_future()
        self._shop = shop
        self._detached = detached  # it goes on when nobody awaits it any more, as in a thread

    def finish(self, outcome: Callable[[], Any]) -> None:
        if not self.end.done():
            self.end.set_result(outcome)
            if self._detached:
                self._shop.running.remove(self)


class Workshop:
    """Runs batches, and notes in `wrong` what no batch may ever be."""

    def __init__(self) -> None:
        self.running: list[Work] = []
        self.batches: list[tuple[float, list[Any]]] = []  # and when each began
        self.ran: set[Any] = set()
        self.wrong: list[str] = []
        self.patient = True  # nobody has a reason to cancel what runs in a thread

    def complain(self, what: str) -> None:
        self.wrong.append(what)

    def inspect(self, items: list[Any]) -> None:
        """Look at a batch that is about to run."""
        if not items:
            self.complain("an empty batch ran")
        if twice := self.ran.intersection(items):
            self.complain(f"{twice} ran twice")

    def begin(self, items: list[Any], *, detached: bool = False) -> Work:
        self.inspect(items)
        self.ran.update(items)
        self.batches.append((asyncio.get_running_loop().time(), list(items)))
        work = Work(items, self, detached=detached)
        self.running.append(work)
        return work

    async def function(self, items: list[Any]) -> Any:
        """Be the function of a batcher."""
        work = self.begin(items)
        try:
            outcome = await work.end
        finally:
            self.running.remove(work)
        return outcome()


@dataclass(frozen=True)
class WorkshopExecutor:
    """Slots in a workshop; those that are not `cancellable` are like threads."""

    shop: Workshop
    slots: int = 1
    cancellable: bool = False
    opened: list[WorkshopSlot] = field(default_factory=list)

    @property
    def capacity(self) -> int:
        return self.slots

    def open(self, function: Callable[..., Any], name: str, count: int) -> list[WorkshopSlot]:
        slots = [WorkshopSlot(self.shop, self.cancellable) for _ in range(count)]
        self.opened.extend(slots)
        return slots


class WorkshopSlot:
    def __init__(self, shop: Workshop, cancellable: bool) -> None:
        self.cancellable = cancellable
        self.closed = False
        self._shop = shop
        self._work: Work | None = None

    @property
    def available(self) -> bool:
        return self._work is None or self._work.end.done()

    async def prepare(self) -> None:
        if self._work is not None:
            await asyncio.wait([self._work.end])

    async def run(self, items: list[Any], context: Any) -> Any:
        if not self.available or self.closed:
            self._shop.complain("a slot was given a batch while it was busy or closed")
        if self.cancellable:
            return await self._shop.function(items)
        self._work = self._shop.begin(items, detached=True)
        try:
            await asyncio.wait([self._work.end])
        except asyncio.CancelledError:
            if self._shop.patient:
                self._shop.complain("what runs in a thread was cancelled, though that does not stop it")
            raise
        return self._work.end.result()()

    def close(self) -> None:
        self.closed = True


# The loop.


class _Ready(collections.deque):  # type: ignore[type-arg]
    """The handles that a loop is about to run."""

    def __init__(self, loop: SteppedLoop) -> None:
        super().__init__()
        self._loop = loop

    def popleft(self) -> Any:
        self._loop.step()
        return super().popleft()


class SteppedLoop(VirtualClockLoop):
    """A virtual clock that counts its steps, and calls `before_step` before each."""

    def __init__(self) -> None:
        super().__init__(patience=0)
        self.set_debug(False)  # thousands of them run in a test, and each debug handle extracts its traceback
        self.steps = 0
        self.before_step: Callable[[], None] = lambda: None
        self._counter = itertools.count()
        self._births: weakref.WeakKeyDictionary[asyncio.Task[Any], int] = weakref.WeakKeyDictionary()
        self._ready = _Ready(self)  # what the base class runs from, one handle after the other

    def hold_up(self, seconds: float) -> None:
        """Be busy for so long, in the step that runs now."""
        self._now += seconds

    def step(self) -> None:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise RuntimeError("it goes round in circles")
        self.before_step()

    def settle(self) -> None:
        """Run what can run, without moving the clock."""
        while self.has_work():
            self.call_soon(self.stop)
            self.run_forever()

    def has_work(self) -> bool:
        """Whether anything can run before the clock moves."""
        return bool(self._ready) or self.next_timer() <= self.time()

    def timers(self) -> list[asyncio.TimerHandle]:
        return [timer for timer in self._scheduled if not timer.cancelled()]

    def next_timer(self) -> float:
        return min((timer.when() for timer in self.timers()), default=math.inf)

    def create_task(self, coroutine: Any, **details: Any) -> Any:
        task = super().create_task(coroutine, **details)
        self._births[task] = next(self._counter)
        return task

    def tasks(self) -> list[asyncio.Task[Any]]:
        """Return the tasks that have not ended, in the order in which they came to be.

        One whose first step runs at once, inside `create_task`, may not be known yet: it is the last.
        """
        return sorted(asyncio.all_tasks(self), key=lambda task: self._births.get(task, math.inf))

    def leftovers(self) -> list[Any]:
        return [*self.tasks(), *self.timers()]

    def end(self) -> None:
        """Close, whatever is left."""
        self.before_step = lambda: None
        self.set_exception_handler(lambda _, __: None)
        for task in self.tasks():
            task.cancel()
        with contextlib.suppress(RuntimeError):
            self.settle()
        self.close()


class EagerLoop(SteppedLoop):
    """The same, where a task runs at once up to its first wait."""

    def __init__(self) -> None:
        super().__init__()
        self.set_task_factory(asyncio.eager_task_factory)


LOOPS = [SteppedLoop, EagerLoop] if sys.version_info >= (3, 12) else [SteppedLoop]


# A scenario and a run of it.


class Boom(Exception):
    """What the function raises."""


class Ouch(BaseException):
    """What the function should not raise."""


class Left(Exception):
    """What a caller ends with that stopped waiting by itself."""


Fault: TypeAlias = "Callable[[World], object]"


@dataclass(frozen=True)
class Caller:
    """Somebody who hands in `items`: `run` returns the answers to them, or raises one of `or_else`.

    A `prompt` one leaves the batcher in the very moment in which it is cancelled; others are told later, by their group.
    """

    run: Callable[[World], Awaitable[Any]]
    items: tuple[Any, ...] = ()
    or_else: tuple[type[BaseException], ...] = ()
    prompt: bool = True


@dataclass(frozen=True)
class Scenario:
    name: str
    callers: tuple[Caller, ...]
    settings: dict[str, Any]
    batches: list[tuple[float, list[Any]]]  # which run when, if nothing disturbs them
    seconds: float = 1.0  # how long a batch takes; 0 is not to wait at all
    prompt: tuple[Any, ...] = ()  # items that take no time, where all of a batch do
    holds_up: bool = False  # whether a batch holds up the loop all that time
    slots: int = 1
    threads: bool = False
    leaves_early: bool = False  # the block of the batcher ends while its callers still wait
    events: tuple[tuple[float, Fault], ...] = ()  # what happens when, besides

    def __str__(self) -> str:
        return self.name

    @property
    def items(self) -> set[Any]:
        return {item for caller in self.callers for item in caller.items}


class World(Workshop):
    """One run of a scenario."""

    def __init__(self, scenario: Scenario, loop: SteppedLoop) -> None:
        super().__init__()
        self.scenario = scenario
        self.loop = loop
        self.batcher: Any = None
        self.executor: Any = None
        self.room = scenario.settings.get("queue", Fifo()).maxsize
        self.tasks: list[asyncio.Task[Any]] = []  # of the callers
        self.others: list[asyncio.Task[Any]] = []  # that must end well too
        self.ending: set[asyncio.Task[Any]] = set()  # the batcher's, that were cancelled and have not ended
        self.entered: set[Any] = set()  # items that were handed in
        self.gone: set[Any] = set()  # those whose callers left before they ran
        self.deadlines: dict[Any, float] = {}
        self.failed: set[Any] = set()  # those of batches whose function raised
        self.excused: set[Any] = set()  # those that may be told `Closed`
        self.error: BaseException | None = None  # what the function is to raise next
        self.errors: list[BaseException] = []  # what callers got

    # What callers do.

    def hand_in(self, *items: Any, timeout: float = math.inf, **_: Any) -> None:
        self.entered.update(items)
        self.deadlines.update(dict.fromkeys(items, self.loop.time() + timeout))
        if self.ending:
            self.excused.update(items)

    async def call(self, item: Any, **details: Any) -> Any:
        self.hand_in(item, **details)
        return await self.batcher(item, **details)

    def submit(self, item: Any, **details: Any) -> asyncio.Future[Any]:
        self.hand_in(item, **details)
        return self.batcher.submit(item, **details)  # type: ignore[no-any-return]

    async def map(self, items: Iterable[Any], **details: Any) -> Any:
        self.hand_in(*items, **details)
        return await self.batcher.map(items, **details)

    def reading(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            yield item
            self.hand_in(item)  # who asks for the next has handed this one in

    # What runs.

    def inspect(self, items: list[Any]) -> None:
        super().inspect(items)
        if dead := self.gone.intersection(items):
            self.complain(f"{dead} ran after their caller had left")
        if stray := set(items) - self.entered:
            self.complain(f"{stray} ran and was never handed in")
        if late := [item for item in items if self.loop.time() >= self.deadlines.get(item, math.inf)]:
            self.complain(f"{late} ran after their time was up")
        if len(self.running) >= self.scenario.slots:
            self.complain("more batches run than there are slots")
        if len(items) > self.batcher.max_batch_size:
            self.complain(f"the batch {items} is too large")
        if len(items) > 1 and sum(map(cost_of, items)) > self.batcher.max_batch_cost:
            self.complain(f"the batch {items} costs too much")

    def begin(self, items: list[Any], *, detached: bool = False) -> Work:
        work = super().begin(items, detached=detached)
        outcome = functools.partial(self.outcome, work.items)
        if self.scenario.holds_up:
            self.loop.hold_up(self.scenario.seconds)
            work.finish(outcome)
        elif self.scenario.seconds and not {*items} <= {*self.scenario.prompt}:
            timer = self.loop.call_later(self.scenario.seconds, work.finish, outcome)
            work.end.add_done_callback(lambda _: timer.cancel())
        else:
            work.finish(outcome)
        return work

    def outcome(self, items: list[Any]) -> list[Any]:
        error, self.error = self.error, None
        if error is not None:
            self.failed.update(items)
            raise error
        return [answer(item) for item in items]

    # Faults.

    def cancel(self, *callers: int) -> None:
        for number in callers:
            caller = self.scenario.callers[number]
            if self.tasks[number].cancel() and caller.prompt:
                self.gone.update(set(caller.items) - self.ran)

    def fail(self, error: BaseException) -> None:
        """Let the function raise `error`: in the batch that runs, at once, or else in the next."""
        self.error = error
        if self.running:
            self.running[0].finish(functools.partial(self.outcome, self.running[0].items))

    def close(self, *, drain: bool = True, timeout: float = math.inf) -> None:
        self.excuse_all_but({item for work in self.running for item in work.items}, self.entered if drain else ())
        if timeout < math.inf:
            self.excuse_all_but()
            self.patient = False
        self.others.append(self.loop.create_task(self._close(drain, timeout)))

    async def _close(self, drain: bool, timeout: float) -> None:
        if not drain:
            self.gone.update(self.entered - self.ran)
        await self.batcher.aclose(drain=drain, timeout=timeout)
        self.check_rest("when the batcher had closed")

    def cancel_residents(self) -> None:
        """Cancel every task of the batcher, as a sweep over all tasks does."""
        self.patient = False
        self.excused.update(self.entered)
        self.ending = {task for task in self.loop.tasks() if task.get_name() == "asyncbatch it"}
        for task in self.ending:
            task.add_done_callback(self.ending.discard)
            task.cancel()

    def excuse_all_but(self, *safe: Iterable[Any]) -> None:
        self.excused.update(self.scenario.items.difference(*safe))

    # The run.

    async def main(self) -> None:
        async with self._make_batcher() as self.batcher:
            events = [self.loop.call_later(after, event, self) for after, event in self.scenario.events]
            self.tasks = [self.loop.create_task(each.run(self)) for each in self.scenario.callers]
            if self.scenario.leaves_early:
                await asyncio.sleep(self.scenario.seconds / 2)
                self.excuse_all_but(self.entered)
            else:
                await asyncio.wait(self.tasks)
        self.check_rest("after the block")
        await asyncio.wait([*self.tasks, *self.others, *(work.end for work in self.running)])
        for event in events:
            event.cancel()

    def _make_batcher(self) -> Batcher[Any, Any]:
        slots = self.scenario.slots
        self.executor = WorkshopExecutor(self, slots) if self.scenario.threads else InlineExecutor(slots)
        return Batcher(self.function, executor=self.executor, name="it", **self.scenario.settings)

    # The verdict.

    def check_counts(self) -> None:
        if self.batcher is not None:
            statistics = self.batcher.statistics()
            if what := unbalanced(statistics):
                self.complain(what)
            if statistics.queued > self.room:
                self.complain(f"more wait in the queue than it may hold: {statistics}")

    def check_rest(self, when: str) -> None:
        statistics = self.batcher.statistics()
        if statistics.queued or statistics.in_flight or statistics.waiting_for_room:
            self.complain(f"somebody waits {when}: {statistics}")

    def check_end(self) -> None:
        self.check_rest("at the end")
        for caller, task in zip(self.scenario.callers, self.tasks, strict=True):
            self.check_caller(caller, task)
        for task in self.others:
            if task.cancelled() or task.exception():
                self.complain(f"{task} did not end well")
        if not all(slot.closed for slot in getattr(self.executor, "opened", ())):
            self.complain("a slot was not closed")
        if shared := shared_errors(self.errors):
            self.complain(f"callers share {shared}")
        if left := self.loop.leftovers():
            self.complain(f"left behind: {left}")

    def check_caller(self, caller: Caller, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            if not task.cancelling():
                self.complain(f"the caller of {caller.items} was cancelled by nobody")
        elif (error := task.exception()) is not None:
            self.check_error(caller, error)
        elif task.result() != [answer(item) for item in caller.items] or self.failed.intersection(caller.items):
            self.complain(f"the caller of {caller.items} got {task.result()}")

    def check_error(self, caller: Caller, error: BaseException) -> None:
        expected = caller.or_else
        if self.failed.intersection(caller.items):
            expected += (Boom, RuntimeError)
        if self.excused.intersection(caller.items):
            expected += (Closed,)
        for each in leaves(error):
            if type(each) not in expected:
                self.complain(f"the caller of {caller.items} got {each!r}")
            self.errors.append(each)


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in leaves(each)]
    return [error]


def chain(error: BaseException) -> dict[int, BaseException]:
    """Return `error` and all that it was raised from, or while handling, by identity."""
    found: dict[int, BaseException] = {}
    todo: list[BaseException | None] = [error]
    while todo:
        each = todo.pop()
        if each is not None and id(each) not in found:
            found[id(each)] = each
            todo += [each.__cause__, each.__context__]
    return found


def shared_errors(errors: Iterable[BaseException]) -> list[BaseException]:
    """Return the exception objects that are in the hands of more than one of those who got `errors`."""
    seen: dict[int, BaseException] = {}
    shared = []
    for error in errors:
        mine = chain(error)
        shared += [mine[each] for each in mine if each in seen]
        seen.update(mine)
    return shared


def play(
    scenario: Scenario, make_loop: Callable[[], SteppedLoop] = SteppedLoop, faults: dict[int, Fault] | None = None
) -> World:
    """Run `scenario`, with each of `faults` before the step of its number, if somebody calls by then."""
    loop = make_loop()
    world = World(scenario, loop)
    faults = faults or {0: lambda _: None}
    first = min(faults)

    def before_step() -> None:
        if loop.steps >= first:  # up to there it is as without a fault
            world.check_counts()
            if loop.steps in faults and world.tasks:
                faults[loop.steps](world)

    loop.before_step = before_step
    loop.set_exception_handler(lambda _, context: world.complain(f"logged: {context}"))
    try:
        with Ear(world.complain):
            loop.run_until_complete(world.main())
            loop.settle()
            world.check_end()
    except Exception as error:
        world.complain(f"{error!r}")
    finally:
        loop.end()
    return world


# Callers.


def one(item: Any, *or_else: type[BaseException], after: float = 0.0, **details: Any) -> Caller:
    async def run(world: World) -> Any:
        if after:
            await asyncio.sleep(after)
        return [await world.call(item, **details)]

    return Caller(run, (item,), or_else)


def ones(*items: Any) -> tuple[Caller, ...]:
    return tuple(map(one, items))


def submitted(item: Any, *or_else: type[BaseException], **details: Any) -> Caller:
    async def run(world: World) -> Any:
        return [await world.submit(item, **details)]

    return Caller(run, (item,), or_else)


def in_turn(*items: Any) -> Caller:
    async def run(world: World) -> Any:
        return [await world.call(item) for item in items]

    return Caller(run, items)


def mapped(*items: Any, or_else: tuple[type[BaseException], ...] = (), **details: Any) -> Caller:
    async def run(world: World) -> Any:
        return await world.map(items, **details)

    return Caller(run, items, or_else)


def streamed(*items: Any, ordered: bool = True) -> Caller:
    async def run(world: World) -> Any:
        results = world.batcher.imap(world.reading(items), ordered=ordered, read_ahead=2)
        async with contextlib.aclosing(results):
            got = [result async for result in results]
        return got if ordered else sorted(got)

    return Caller(run, items, prompt=False)


def within(seconds: float, item: Any) -> Caller:
    async def run(world: World) -> Any:
        with anyio.move_on_after(seconds):
            return [await world.call(item)]
        raise Left

    return Caller(run, (item,), (Left,))


def under_timeout(seconds: float, item: Any) -> Caller:
    async def run(world: World) -> Any:
        async with asyncio.timeout(seconds):
            return [await world.call(item)]

    return Caller(run, (item,), (TimeoutError,))


def in_group(*items: Any) -> Caller:
    async def run(world: World) -> Any:
        answers = {}

        async def child(item: Any) -> None:
            answers[item] = await world.call(item)

        async with anyio.create_task_group() as group:
            for item in items:
                group.start_soon(child, item)
        return [answers[item] for item in items]

    return Caller(run, items, prompt=False)


def beside_a_failing_sibling(seconds: float, *items: Any) -> Caller:
    async def fail() -> None:
        await asyncio.sleep(seconds)
        raise Left

    async def run(world: World) -> Any:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            for item in items:
                group.create_task(world.call(item))

    return Caller(run, items, (Left,), prompt=False)


# The scenarios.


def settings(max_batch_size: int, **others: Any) -> dict[str, Any]:
    return {"max_batch_size": max_batch_size, **others}


def cost_of(item: Any) -> float:
    return float(item % 3)


def parity_of(item: Any) -> int:
    return int(item % 2)


def flush(world: World) -> None:
    with contextlib.suppress(Closed):
        world.batcher.flush()


def tighten(world: World) -> None:
    world.batcher.max_batch_size = 1
    world.batcher.max_wait = 0.1


SCENARIOS = [
    Scenario("two in a batch", ones(1, 2), settings(2), [(0.0, [1, 2])]),
    Scenario("three in two batches", ones(1, 2, 3), settings(2), [(0.0, [1, 2]), (1.0, [3])]),
    Scenario("one at a time", ones(1, 2, 3), settings(1), [(0.0, [1]), (1.0, [2]), (2.0, [3])]),
    Scenario("two slots", ones(1, 2, 3, 4, 5), settings(2), [(0.0, [1, 2]), (0.0, [3, 4]), (1.0, [5])], slots=2),
    Scenario(
        "a function that does not wait",
        (in_turn(1, 2, 3), in_turn(4, 5, 6), one(7)),
        settings(2),
        [(0.0, [1, 4]), (0.0, [7, 2]), (0.0, [5, 3]), (0.0, [6])],
        seconds=0,
    ),
    Scenario(
        "callers who come alone",
        (one(1), one(2, after=0.1), one(3, after=0.2), *(one(item, after=0.3) for item in (4, 5, 6))),
        settings(2),
        [(0.0, [1]), (0.1, [2]), (0.2, [3]), (0.3, [4, 5]), (0.3, [6])],
        seconds=0,
    ),
    Scenario(
        "a function that waits now and then",
        (*(one(item, after=item / 10) for item in (1, 2, 3)), one(4, after=0.5), one(5, after=1.5)),
        settings(2),
        [(0.1, [1]), (0.2, [2]), (0.3, [3]), (1.3, [4]), (1.5, [5])],
        prompt=(1, 2, 4, 5),
    ),
    Scenario(
        "a function that holds up the loop",
        (one(1), one(2, DeadlineExceeded, timeout=0.5), one(3)),
        settings(1),
        [(0.0, [1]), (1.0, [3])],
        holds_up=True,
    ),
    Scenario(
        "callers that come straight back",
        (in_turn(1, 2), in_turn(3, 4), in_turn(5, 6)),
        settings(2),
        [(0.0, [1, 3]), (1.0, [5, 2]), (2.0, [4, 6])],
    ),
    Scenario(
        "a partial batch that waits",
        (one(1), one(2, after=0.5), one(3, after=0.5)),
        settings(4, max_wait=1.0),
        [(1.0, [1, 2, 3])],
    ),
    Scenario(
        "full batches that need not wait",
        (*ones(1, 2, 3), one(4, after=0.2)),
        settings(2, max_wait=1.0),
        [(0.0, [1, 2]), (0.2, [3, 4])],
        slots=2,
    ),
    Scenario(
        "waits that are shorter than a batch",
        (one(1), one(2, after=0.2), one(3, after=0.25), one(4, after=1.2)),
        settings(3, max_wait=0.1),
        [(0.1, [1]), (0.3, [2, 3]), (1.3, [4])],
        slots=2,
    ),
    Scenario(
        "static batches and a flush",
        ones(1, 2, 3),
        settings(2, max_wait=math.inf),
        [(0.0, [1, 2]), (0.5, [3])],
        slots=2,
        events=((0.5, flush),),
    ),
    Scenario(
        "limits that are changed",
        ones(1, 2, 3),
        settings(4, max_wait=math.inf),
        [(0.5, [1]), (1.5, [2]), (2.5, [3])],
        events=((0.5, tighten),),
    ),
    Scenario(
        "a full queue",
        (*ones(1, 2, 3), one(4, after=0.5)),
        settings(1, queue=Fifo(maxsize=1)),
        [(0.0, [1]), (1.0, [2]), (2.0, [3]), (3.0, [4])],
    ),
    Scenario(
        "a queue that is smaller than a batch",
        ones(1, 2, 3, 4, 5),
        settings(4, max_wait=0.5, queue=Fifo(maxsize=2)),
        [(0.0, [1, 2]), (1.0, [3, 4]), (2.0, [5])],
    ),
    Scenario(
        "a queue that rejects",
        (one(1, QueueFull), one(2, QueueFull), submitted(3, QueueFull), one(4, QueueFull, after=0.5)),
        settings(1, queue=Fifo(maxsize=1, when_full="reject")),
        [(0.0, [1]), (1.0, [4])],
    ),
    Scenario(
        "a queue that evicts",
        (*(one(item, QueueFull) for item in (1, 2, 3)), one(4, QueueFull, after=0.5)),
        settings(2, max_wait=1.5, queue=Fifo(maxsize=1, when_full="evict")),
        [(0.0, [3]), (1.0, [4])],
    ),
    Scenario(
        "futures that were handed out",
        (submitted(1), one(2), submitted(3)),
        settings(2),
        [(0.0, [1, 2]), (1.0, [3])],
    ),
    Scenario(
        "deadlines in the queue and in flight",
        (
            one(1, DeadlineExceeded, timeout=0.5),
            one(2),
            one(3, DeadlineExceeded, timeout=1.0),
            mapped(4, 5, or_else=(DeadlineExceeded,), timeout=1.5),
        ),
        settings(2),
        [(0.0, [1, 2]), (1.0, [4, 5])],
    ),
    Scenario(
        "the earliest deadline first",
        (one(1), one(2, DeadlineExceeded, timeout=2.5), one(3, DeadlineExceeded, timeout=1.5), within(1.2, 4)),
        settings(1, queue=EarliestDeadline(maxsize=2)),
        [(0.0, [2]), (1.0, [3]), (1.5, [1])],  # 3 comes in when 2 has left; its time is up while it flies
    ),
    Scenario(
        "the most urgent first",
        (one(1, priority=2), mapped(2, 3, priority=1), one(4), one(5, after=0.5, priority=-1)),
        settings(1, queue=Priority(ageing=0.4)),
        [(0.0, [4]), (1.0, [5]), (2.0, [2]), (3.0, [3]), (4.0, [1])],
    ),
    Scenario(
        "the least urgent evicted",
        (one(1, QueueFull, priority=1), one(2), one(3, QueueFull, priority=2), one(4, QueueFull, after=0.5)),
        settings(2, max_wait=1.5, queue=Priority(maxsize=1, when_full="evict")),
        [(0.0, [2]), (1.0, [4])],
    ),
    Scenario(
        "a queue for each key",
        (*(one(item, key="a") for item in (1, 2, 3)), one(4, key="b"), one(5), one(6, after=0.5, key="b")),
        settings(2, queue=Keyed()),
        [(0.0, [1, 2]), (1.0, [4, 6]), (2.0, [5]), (3.0, [3])],
    ),
    Scenario(
        "keys that fill by themselves",
        (one(1), one(2, DeadlineExceeded, after=0.2, timeout=4), one(3, after=0.3), one(4, after=0.4), one(5, after=1.5)),
        settings(2, max_wait=1.0, queue=Keyed(key=parity_of)),
        [(0.3, [1, 3]), (0.4, [2, 4]), (2.5, [5])],
        slots=2,
    ),
    Scenario(
        "a map of many keys through a full queue",
        (mapped(1, 2, 3, 4, 5), one(6), mapped(7, 9, or_else=(DeadlineExceeded,), timeout=2.5)),
        settings(2, queue=Keyed(2, key=parity_of), max_batch_cost=3.0, cost=cost_of),
        [(0.0, [1, 3]), (1.0, [5]), (2.0, [2]), (3.0, [4, 6])],
    ),
    Scenario(
        "the longest queue evicted from",
        (*(one(item, QueueFull) for item in (1, 2, 3, 5)), one(4, QueueFull, after=0.5), one(7, QueueFull, after=0.6)),
        settings(4, max_wait=1.5, queue=Keyed(maxsize=3, when_full="evict", key=parity_of)),
        [(0.0, [3, 5]), (1.0, [2, 4]), (2.1, [7])],
    ),
    Scenario(
        "scopes that end",
        (within(0.5, 1), one(2), within(0.5, 3), under_timeout(0.7, 4)),
        settings(2),
        [(0.0, [1, 2])],
    ),
    Scenario(
        "scopes that end with the batch",
        (within(1.0, 1), under_timeout(1.0, 2), one(3)),
        settings(2),
        [(0.0, [1, 2]), (1.0, [3])],
    ),
    Scenario("a task group", (in_group(1, 2, 3), one(4)), settings(2), [(0.0, [4, 1]), (1.0, [2, 3])]),
    Scenario("a task group that fails", (beside_a_failing_sibling(0.5, 1, 2, 3), one(4)), settings(2), [(0.0, [4, 1])]),
    Scenario(
        "maps",
        (mapped(1, 2, 3, 4, 5), one(6), mapped(7)),
        settings(2, max_wait=0.2),
        [(0.0, [1, 2]), (0.0, [3, 4]), (1.0, [5, 6]), (1.0, [7])],
        slots=2,
    ),
    Scenario(
        "maps through a full queue",
        (mapped(1, 2, 3, 4), one(5), mapped(6, 7)),
        settings(2, queue=Fifo(maxsize=1)),
        [(float(item - 1), [item]) for item in range(1, 8)],
    ),
    Scenario(
        "a stream in order",
        (streamed(1, 2, 3, 4), one(5)),
        settings(1),
        [(0.0, [5]), (1.0, [1]), (2.0, [2]), (3.0, [3]), (4.0, [4])],
    ),
    Scenario(
        "a stream as it comes",
        (streamed(1, 2, 3, 4, ordered=False), one(5)),
        settings(1, queue=Fifo(maxsize=1)),
        [(0.0, [5]), (0.0, [1]), (1.0, [2]), (1.0, [3]), (2.0, [4])],
        slots=2,
    ),
    Scenario("threads", ones(1, 2, 3, 4), settings(2), [(0.0, [1, 2]), (1.0, [3, 4])], threads=True),
    Scenario(
        "threads that are abandoned",
        (within(0.5, 1), one(2), mapped(3, 4)),
        settings(1),
        [(0.0, [1]), (0.0, [2]), (1.0, [3]), (1.0, [4])],
        threads=True,
        slots=2,
    ),
    Scenario(
        "costs",
        ones(1, 2, 3, 4, 5),
        settings(8, max_wait=0.1, max_batch_cost=3.0, cost=cost_of),
        [(0.0, [1, 2, 3]), (1.0, [4, 5])],
    ),
    Scenario(
        "a block that is left",
        (*ones(1, 2, 3), mapped(4, 5), one(6, after=1)),
        settings(1),
        [(0.0, [1]), (1.0, [2]), (2.0, [3]), (3.0, [4]), (4.0, [5])],
        leaves_early=True,
    ),
    Scenario(
        "a close that does not drain",
        (*ones(1, 2, 3), one(4, after=0.7)),
        settings(2, queue=Fifo(maxsize=2)),
        [(0.0, [1, 2])],
        events=((0.5, lambda world: world.close(drain=False)),),
    ),
    Scenario(
        "a close that runs out of time",
        (*ones(1, 2), mapped(3, 4)),
        settings(1),
        [(0.0, [1])],
        threads=True,
        events=((0.5, lambda world: world.close(timeout=0.2)),),
    ),
    Scenario(
        "a caller that leaves with the answer",
        ones(1, 2, 3),
        settings(2),
        [(0.0, [1, 2]), (1.0, [3])],
        events=((1.0, lambda world: world.cancel(0)),),
    ),
]
