"""Random histories of one batcher on the virtual clock, against a model of what it promises.

Every act of a history is a callback of the loop, and 0 to 3 passes of the loop follow it: so acts fall between any two
passes, several into one. Batches end when the history says so. `ASYNCBATCH_EXAMPLES` sets how many histories there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import functools
import math
import os
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from scenarios import (
    LOOPS,
    Boom,
    Ear,
    Ouch,
    SteppedLoop,
    Work,
    Workshop,
    WorkshopExecutor,
    answer,
    chain,
    cost_of,
    unbalanced,
)

from asyncbatch import (
    Batcher,
    ByLength,
    Closed,
    CostObjective,
    DeadlineExceeded,
    EarliestDeadline,
    Fifo,
    InlineExecutor,
    Keyed,
    LatencyObjective,
    OutputCountMismatch,
    OutputTypeError,
    Priority,
    QueueFull,
)

# A batch leaves this much before it is due at most: less is no time to a loop.
INSTANT = 2e-6

WAITS = [0.0, 0.002, 0.005, 1.0, math.inf]

OUTCOMES = ("succeeded", "failed", "cancelled", "expired", "rejected", "closed")


def key_of(item: int) -> int:
    return item // 2 % 2


BY_ITEM = functools.partial(Keyed, key=key_of)


@dataclass
class Setup:
    """What a batcher is made of."""

    loop: type[SteppedLoop]
    discipline: Any
    maxsize: float
    when_full: str
    slots: int
    kind: str  # inline, or the slots of a workshop: cancellable, or like threads
    max_batch_size: int
    max_wait: float
    max_batch_cost: float
    policy: LatencyObjective | None = None

    @property
    def keyed(self) -> bool:
        return self.discipline in (Keyed, BY_ITEM)

    def make(self, yard: Yard) -> Batcher[Any, Any]:
        if self.kind == "inline":
            executor: Any = InlineExecutor(self.slots)
        else:
            executor = WorkshopExecutor(yard, self.slots, cancellable=self.kind == "cancellable")
        return Batcher(
            yard.function,
            executor=executor,
            queue=self.discipline(self.maxsize, self.when_full),  # type: ignore[arg-type]
            max_batch_size=self.max_batch_size,
            max_wait=self.max_wait,
            max_batch_cost=self.max_batch_cost,
            policy=self.policy,
            cost=None if self.max_batch_cost == math.inf and self.discipline is not ByLength else cost_of,
            name="it",
        )


SETUPS = st.builds(
    Setup,
    loop=st.sampled_from(LOOPS),
    discipline=st.sampled_from([Fifo, Fifo, EarliestDeadline, Priority, Keyed, BY_ITEM, ByLength]),
    maxsize=st.sampled_from([math.inf, 1, 2, 3, 5]),
    when_full=st.sampled_from(["wait", "wait", "reject", "evict"]),
    slots=st.integers(1, 3),
    kind=st.sampled_from(["inline", "inline", "cancellable", "thread"]),
    max_batch_size=st.integers(1, 4),
    max_wait=st.sampled_from(WAITS),
    max_batch_cost=st.sampled_from([math.inf, math.inf, 3.0]),
    policy=st.sampled_from(
        [None, None, LatencyObjective(0.001), LatencyObjective(0.02), CostObjective(0.002), CostObjective(2.0)]
    ),
)


@dataclass
class Call:
    """One call of the batcher: what the model knows of it."""

    items: list[int]
    timeout: float
    kind: str  # await, submit or map
    priority: float = 0
    key: str | None = None
    return_exceptions: bool = False
    future: asyncio.Future[Any] | None = None
    order: int | None = None  # its place among those who came in
    arrived: float = 0.0
    gone: bool = False  # its caller was cancelled
    evicted: bool = False  # it had to leave for another
    outcome: str | None = None

    @property
    def deadline(self) -> float:
        return self.arrived + self.timeout

    @property
    def details(self) -> dict[str, Any]:
        return {"timeout": self.timeout, "priority": self.priority, "key": self.key}

    @property
    def live(self) -> bool:
        return self.order is not None and self.outcome is None and not self.gone


class Yard(Workshop):
    """A batcher, those who call it, and what is known of both."""

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self.setup = setup
        self.calls: list[Call] = []
        self.by_item: dict[int, Call] = {}
        self.fates: dict[int, Any] = {}  # what the function made of each item
        self.errors: dict[int, BaseException] = {}  # each that a caller got, by identity
        self.interrupted = False  # the batcher's own tasks were cancelled in this very moment
        self.last_item = 0
        self.open(setup.make(self), setup.loop())

    # Lifetime.

    def open(self, batcher: Batcher[Any, Any], loop: SteppedLoop) -> None:
        self.batcher, self.loop = batcher, loop
        self.loop.set_exception_handler(lambda _, context: self.complain(f"logged: {context}"))
        self.calls = []
        self.closers: list[tuple[Any, float]] = []  # with the time at which each must have ended
        self.closing = False
        self.doomed: set[int] = set()  # items that waited when it closed without draining
        self.flushed = -math.inf  # when that was asked for last
        self.patient = True  # nobody has a reason to cancel what runs in threads
        self.calm = False  # nothing has happened since all that could happen had
        self.maimed = False  # some of the batcher's own tasks were cancelled, and nobody has called since
        self.order = 0
        loop.run_until_complete(batcher.__aenter__())

    def reopen(self) -> None:
        """Enter the same batcher again, in the same loop."""
        self.finish_all()
        self.settle()
        self.open(self.batcher, self.loop)

    def lose_loop(self) -> None:
        """End the loop under the batcher as `asyncio.run` does, and enter the batcher in a new one."""
        self.run(1)
        for call in self.calls:
            if isinstance(call.future, asyncio.Task):
                self.cancel(call)
        self.interrupt()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.settle()
        self.finish_all()
        self.settle()
        self.loop.close()
        self.interrupted = False
        self.open(self.batcher, self.setup.loop())

    def end(self) -> None:
        """Close, and see that nothing is left."""
        self.settle()
        self.close(drain=False, timeout=0.0)
        self.settle()
        self.finish_all()
        self.settle()
        if waiting := [call for call in self.calls if call.future is not None and not call.future.done()]:
            self.complain(f"nobody answered {waiting}")
        if left := self.loop.leftovers():
            self.complain(f"left behind: {left}")
        self.judge()

    def give_up(self) -> None:
        """Tidy up, whatever state all is in."""
        with contextlib.suppress(Exception):
            self.loop.run_until_complete(self.batcher.aclose(drain=False, timeout=0))
        self.loop.end()

    def finish_all(self) -> None:
        for work in list(self.running):
            self.finish(work, "answers")

    # Time.

    def act(self, action: Any, passes: int) -> None:
        self.loop.call_soon(action)
        self.run(passes)

    def run(self, passes: int) -> None:
        self.loop.steps = 0
        for _ in range(passes):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
            self.observe()

    def settle(self) -> None:
        """Run all that can run now. Then nothing may be left undone that is due."""
        self.loop.steps = 0
        while self.loop.has_work():
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
            self.observe()
        self.observe_rest()

    def advance(self, seconds: float) -> None:
        target = self.loop.time() + seconds
        for _ in range(200):
            self.settle()
            due = self.loop.next_timer()
            self.jump(min(due, target))
            if due >= target:
                return
        self.complain("timers go round in circles")

    def jump(self, due: float) -> None:
        self.loop.steps = 0
        self.loop.call_at(due, self.loop.stop)
        self.loop.run_forever()
        self.observe()

    # What callers do.

    def new_call(self, kind: str, size: int, timeout: float, **details: Any) -> Call:
        items = list(range(self.last_item + 1, self.last_item + 1 + size))
        self.last_item += size
        call = Call(items, timeout, kind, **details)
        self.by_item.update(dict.fromkeys(items, call))
        self.calls.append(call)
        return call

    def enter(self, call: Call) -> None:
        self.calm = False
        if not self.closing:
            self.order += 1
            call.order = self.order
            self.maimed = self.interrupted
        call.arrived = self.loop.time()

    async def wait_for(self, call: Call) -> Any:
        self.enter(call)
        if call.kind == "map":
            return await self.batcher.map(call.items, return_exceptions=call.return_exceptions, **call.details)
        return await self.batcher(call.items[0], **call.details)

    def start(self, call: Call) -> None:
        if call.kind == "submit":
            self.submit(call)
        else:
            call.future = self.loop.create_task(self.wait_for(call))

    def submit(self, call: Call) -> None:
        full = self.in_queue() >= self.setup.maxsize
        rejected = self.rejected()
        calm = self.calm
        self.enter(call)
        if self.setup.when_full == "evict" and full and calm:
            self.expect_eviction()
        try:
            call.future = self.batcher.submit(call.items[0], **call.details)
        except Exception as error:
            call.future = self.loop.create_future()
            call.future.set_exception(error)
        if self.rejected() > rejected and not full:
            self.complain("a queue that was not full turned somebody away")

    def expect_eviction(self) -> None:
        """Note who is to be evicted for the newcomer, or is it itself; if no map waits, which may do so partly outside."""
        calls = [call for call in self.calls if call.order is not None and call.outcome is None]
        waiting = [call for call in calls if not self.ran.issuperset(call.items)]
        if self.setup.keyed:  # it depends on whose line is the longest
            return
        if len(waiting) == self.setup.maxsize + 1 and not any(call.kind == "map" for call in waiting):
            victim = max(waiting, key=lambda call: (self.urgency_of(call)[0], -(call.order or 0)))
            victim.evicted = True

    def in_queue(self) -> int:
        """Return how many items may be in the queue: those whose callers were cancelled in this very pass, too."""
        leaving = [call for call in self.calls if call.order is not None and call.gone and call.outcome is None]
        return len(self.waiting()) + sum(len(call.items) for call in leaving)

    def rejected(self) -> int:
        futures = [call.future for call in self.calls if call.kind == "submit" and call.future is not None]
        return sum(each.done() and not each.cancelled() and type(each.exception()) is QueueFull for each in futures)

    def cancel(self, call: Call) -> None:
        self.calm = False
        if call.future is not None and call.future.cancel():
            call.gone = True

    # What happens to batches.

    def inspect(self, items: list[int]) -> None:
        super().inspect(items)
        batcher, slots = self.batcher, self.setup.slots
        if len(items) > batcher.max_batch_size:
            self.complain(f"{items} is larger than {batcher.max_batch_size}")
        costs = [max(map(cost_of, items))] * len(items) if self.setup.discipline is ByLength else map(cost_of, items)
        if len(items) > 1 and self.is_costed() and sum(costs) > batcher.max_batch_cost:
            self.complain(f"{items} costs more than {batcher.max_batch_cost}")
        if len(self.running) >= slots:
            self.complain(f"more than {slots} batches run")
        for item in items:
            self.inspect_item(item)
        self.inspect_order(items)
        self.inspect_haste(items)

    def inspect_item(self, item: int) -> None:
        call = self.by_item[item]
        if call not in self.calls or call.order is None:
            self.complain(f"{item} ran though it was refused")
        if call.gone or call.outcome is not None or (call.future is not None and call.future.done()):
            self.complain(f"{item} ran after its caller had left: {call}")
        if call.deadline <= self.loop.time():
            self.complain(f"{item} ran after its deadline")
        if item in self.doomed:
            self.complain(f"{item} ran though it closed without draining")

    def inspect_order(self, items: list[int]) -> None:
        """First in, first out; among those who wait in the queue, the earliest deadline or the least priority first."""
        keys = {self.key(item) for item in items}
        if len(keys) > 1:
            self.complain(f"{items} have different keys")
        mine = [self.urgency(item) for item in items]
        if self.setup.discipline is ByLength:  # only the first has to go, with whatever of it
            mine = [min(mine)[:2]]
        elif mine != sorted(mine) and self.setup.when_full != "evict":  # there a map may wait for room, and no other
            self.complain(f"{items} are out of order")
        others = [self.urgency(item) for item in self.waiting() if item not in items and self.key(item) in keys]
        if others and min(others) < max(mine) and self.is_order_known():
            self.complain(f"{items} overtook others: {mine}, {others}")

    def is_order_known(self) -> bool:
        """Not while some who seem to wait were just evicted or told of an interruption; nor who waits for room."""
        has_lobby = self.setup.discipline in (EarliestDeadline, Priority) and self.setup.maxsize < math.inf
        if self.setup.policy is not None:  # some of those may have been told in this very moment that they are too late
            return False
        return not has_lobby and not self.interrupted and self.setup.when_full != "evict"

    def urgency(self, item: int) -> tuple[float, int, int]:
        return (*self.urgency_of(self.by_item[item]), item)

    def urgency_of(self, call: Call) -> tuple[float, int]:
        # By default, one level of priority is as much as a second of waiting.
        ranks = {
            Fifo: 0,
            EarliestDeadline: min(call.deadline, self.objective(call)),
            Priority: call.arrived + call.priority,
        }
        return (ranks.get(self.setup.discipline, 0), call.order or 0)

    def objective(self, call: Call) -> float:
        """Return when the policy is to have it answered, if it cares."""
        return math.inf if self.setup.policy is None or call.kind == "map" else call.arrived + self.setup.policy.seconds

    def key(self, item: int) -> Any:
        """Return by what its batch is chosen: nothing, unless the queue goes by keys."""
        if self.setup.discipline is BY_ITEM and self.by_item[item].key is None:
            return key_of(item)
        return self.by_item[item].key if self.setup.keyed else None

    def inspect_haste(self, items: list[int]) -> None:
        """A batch that is not full may only leave when it is due."""
        everybody = {*items, *self.waiting()}
        waiting = {item for item in everybody if self.key(item) == self.key(items[0])}
        calls = [self.by_item[item] for item in waiting]
        oldest = min(call.arrived for call in calls)
        count = len(waiting) if self.setup.discipline is ByLength else len(items)  # there it may be that few fit together
        reasons = {
            "full": count >= self.batcher.max_batch_size or len(everybody) >= self.setup.maxsize,
            "cost": self.is_costed() and sum(map(cost_of, waiting)) >= self.batcher.max_batch_cost,
            "wait": self.loop.time() >= oldest + self.batcher.max_wait - INSTANT,
            "policy": self.setup.policy is not None,  # it may have learnt that now is the time
            "flush": oldest <= self.flushed,
            "deadline": min(call.deadline for call in calls) < math.inf,
            "close": self.closing,
        }
        if not any(reasons.values()):
            self.complain(f"{items} left without a reason, while {waiting} waited since {oldest}")

    def finish(self, work: Work, how: str) -> None:
        self.calm = False
        work.finish(functools.partial(self.outcome, work.items, how))

    def outcome(self, items: list[int], how: str) -> Any:
        """Return or raise what the function does, and note what that is for each of its items."""
        raises = {"error": Boom, "cancellation": asyncio.CancelledError, "exit": GeneratorExit, "base exception": Ouch}
        if how in raises:
            expected = Boom if how == "error" else RuntimeError
            self.fates.update(dict.fromkeys(items, expected))
            raise raises[how]
        strange = {"none": None, "dict": dict.fromkeys(items), "string": "x" * len(items), "lazy": map(answer, items)}
        if how in strange:
            self.fates.update(dict.fromkeys(items, OutputTypeError))
            return strange[how]
        answers: list[Any] = [answer(item) for item in items]
        if how in ("short", "long"):
            self.fates.update(dict.fromkeys(items, OutputCountMismatch))
            return answers[1:] if how == "short" else [*answers, "one more"]
        self.fates.update(dict.fromkeys(items, "answered"))
        if how == "mixed":
            for i, kind in zip(range(0, len(items), 2), [Boom, StopIteration, Ouch], strict=False):
                answers[i] = kind()
                self.fates[items[i]] = Boom if kind is Boom else RuntimeError
        return answers

    # The batcher's own lifetime.

    def adjust(self, setting: str, *value: float) -> None:
        if value:
            setattr(self.batcher, setting, *value)
        elif not self.closing:
            self.batcher.flush()
            self.flushed = self.loop.time()

    def close(self, drain: bool, timeout: float) -> None:
        self.loop.create_task(self._close(drain, timeout))

    async def _close(self, drain: bool, timeout: float) -> None:
        self.closing = True
        self.closers.append((asyncio.current_task(), self.loop.time() + timeout))
        self.patient = self.patient and timeout == math.inf
        if not drain:
            self.doomed.update(self.waiting())
        await self.batcher.aclose(drain=drain, timeout=timeout)
        statistics = self.batcher.statistics()
        if statistics.queued or statistics.in_flight or statistics.waiting_for_room:
            self.complain(f"closed while somebody waits: {statistics}")

    def cancel_closers(self) -> None:
        self.patient = self.patient and not self.closers
        for closer, _ in self.closers:
            closer.cancel()

    def interrupt(self, *numbers: int) -> None:
        """Cancel the batcher's own tasks, as who cancels all tasks does; or only some of them."""
        self.interrupted = self.maimed = True
        self.calm = False
        self.patient = False
        residents = [task for task in self.loop.tasks() if task.get_name() == "asyncbatch it"]
        for number, task in enumerate(residents):
            if not numbers or number in numbers:
                task.cancel()

    # What is seen.

    def is_costed(self) -> bool:
        return self.setup.max_batch_cost < math.inf

    def waiting(self) -> list[int]:
        """Return the items that wait for a batch, as far as the model can tell."""
        return [item for call in self.calls if self.is_wanted(call) for item in call.items if item not in self.ran]

    def is_wanted(self, call: Call) -> bool:
        """Whether it waits for a batch: not if its time is up, or it is a map with an error, though nobody was told yet."""
        failed = any(self.fates.get(item, "answered") != "answered" for item in call.items)
        return call.live and call.deadline > self.loop.time() and (call.return_exceptions or not failed)

    def observe(self) -> None:
        """Look at what must hold after every pass of the loop."""
        for call in self.calls:
            if call.outcome is None and call.future is not None and call.future.done():
                call.outcome = self.observe_outcome(call, call.future)
        self.observe_counts()
        self.judge()

    def observe_counts(self) -> None:
        statistics = self.batcher.statistics()
        if what := unbalanced(statistics):
            self.complain(what)
        if statistics.queued > self.setup.maxsize:
            self.complain(f"{statistics.queued} wait in a queue of {self.setup.maxsize}")

    def observe_outcome(self, call: Call, future: asyncio.Future[Any]) -> str:
        if future.cancelled():
            if not call.gone:
                self.complain(f"nobody cancelled {call}")
            return "cancelled"
        if call.evicted and type(future.exception()) is not QueueFull:
            self.complain(f"{call} was not evicted")
        if error := future.exception():
            self.own(error)
            return self.observe_error(call, error)
        results = future.result() if call.kind == "map" else [future.result()]
        if len(results) != len(call.items):
            self.complain(f"{call} got {results}")
        for item, result in zip(call.items, results, strict=False):
            self.observe_result(call, item, result)
        return "succeeded"

    def observe_result(self, call: Call, item: int, result: Any) -> None:
        fate = self.fates.get(item)
        if isinstance(result, BaseException) and call.return_exceptions:
            self.own(result)
            right = type(result) is fate
        else:
            right = fate == "answered" and result == answer(item)
        if not right:
            self.complain(f"{item} was to be {fate}, and {call} got {result!r}")

    def observe_error(self, call: Call, error: BaseException) -> str:
        kind = type(error)
        if kind in [self.fates.get(item) for item in call.items]:
            return "failed"
        if kind is DeadlineExceeded and call.deadline <= self.loop.time() + INSTANT:
            return "expired"
        if (
            kind is DeadlineExceeded
            and self.setup.policy is not None
            and min(call.deadline, self.objective(call)) < math.inf
        ):
            return "expired"  # it could not be answered in time any more
        if kind is QueueFull and (call.kind == "submit" or self.setup.when_full != "wait"):
            return "rejected"
        if kind is Closed and (self.closing or self.interrupted):
            return "closed" if call.order else "refused"
        self.complain(f"{call} got {error!r}")
        return "failed"

    def is_awaited(self, work: Work) -> bool:
        return any(self.by_item[item].live for item in work.items)

    def own(self, error: BaseException) -> None:
        """No two callers have the same exception object, nor the same one behind theirs."""
        mine = chain(error)
        if shared := [mine[each] for each in mine if each in self.errors]:
            self.complain(f"callers share {shared}")
        self.errors.update(mine)

    def observe_rest(self) -> None:
        """Look at what must hold when nothing more can happen now."""
        self.interrupted = False
        self.calm = not self.closing
        statistics = self.batcher.statistics()
        in_flight = f"{len(self.running)} of {self.setup.slots} batches in flight"
        if self.setup.kind != "thread" and not self.closing and in_flight not in repr(self.batcher):
            self.complain(f"{in_flight}, and it is {self.batcher!r}")
        waiting = self.waiting()
        if statistics.waiting_for_room == 0 and statistics.queued != len(waiting):
            self.complain(f"{waiting} wait, and {statistics.queued} are said to")
        flying = [item for work in self.running for item in work.items if self.by_item[item].live]
        if statistics.in_flight != len(flying):
            self.complain(f"{flying} fly, and {statistics.in_flight} are said to")
        late = [call for call in self.calls if call.live and call.deadline <= self.loop.time()]
        if late:
            self.complain(f"nobody told {late} that their time is up")
        if waiting and len(self.running) < (1 if self.maimed else self.setup.slots):
            for key in {self.key(item) for item in waiting}:
                mine = [item for item in waiting if self.key(item) == key]
                self.observe_progress(mine, len(waiting) >= self.setup.maxsize)
        if self.setup.kind != "thread" and (dead := [work.items for work in self.running if not self.is_awaited(work)]):
            self.complain(f"{dead} still run though all callers have left")
        self.observe_closers()
        self.observe_tally(statistics)
        self.judge()

    def observe_progress(self, waiting: list[int], full: bool) -> None:
        """A slot is free and somebody waits: then there must be a reason to."""
        oldest = min(self.by_item[item].arrived for item in waiting)
        reasons = {
            "full": len(waiting) >= self.batcher.max_batch_size or full,
            "cost": self.is_costed() and sum(map(cost_of, waiting)) >= self.batcher.max_batch_cost,
            "wait": self.loop.time() >= oldest + self.longest_wait(),
            "flush": oldest < self.flushed,
            "close": self.closing,
        }
        if due := [reason for reason, holds in reasons.items() if holds]:
            self.complain(f"{waiting} wait at {self.loop.time()}, with a free slot, though due: {due}")

    def longest_wait(self) -> float:
        return self.batcher.max_wait if self.setup.policy is None else self.setup.policy.seconds

    def observe_closers(self) -> None:
        for closer, until in self.closers:
            if not closer.done() and (not self.running or self.loop.time() >= until):
                self.complain("it does not close")
            elif closer.done() and not closer.cancelled() and closer.exception():
                self.complain(f"closing raised {closer.exception()!r}")
        if any(closer.done() for closer, _ in self.closers):
            if hanging := [call for call in self.calls if call.live]:
                self.complain(f"closed, and nobody told {hanging}")

    def observe_tally(self, statistics: Any) -> None:
        """Each outcome is counted once; of those who left, and of the items of a map, the model does not know which."""
        entered = [call for call in self.calls if call.order is not None]
        unclear = sum(len(call.items) for call in entered if call.gone or call.kind == "map")
        for outcome in OUTCOMES:
            clear = sum(call.outcome == outcome for call in entered if not call.gone and call.kind != "map")
            if not clear <= getattr(statistics, outcome) <= clear + unclear:
                self.complain(f"{clear} to {clear + unclear} were {outcome}, not as in {statistics}")

    def judge(self) -> None:
        assert not self.wrong, "\n".join(self.wrong[:5])


PASSES = st.integers(0, 3)
COUNTS = st.sampled_from([1, 1, 2, 4])
TIMEOUTS = st.sampled_from([math.inf, math.inf, math.inf, 0.0, 0.003, 0.02, 3.0])
PRIORITIES = st.sampled_from([0, 0, 0, -1, 0.5, 2, math.inf])
KEYS = st.sampled_from([None, None, None, "one", "two"])
# Some are smaller than any wait, and than any slack in one.
SECONDS = st.sampled_from([0.0005, 0.001, 0.002, 0.005, 0.02, 0.5, 1.0, 5.0])
ENDS = st.sampled_from(
    ["answers", "answers", "answers", "error", "mixed", "cancellation", "exit", "base exception"]
    + ["short", "long", "none", "dict", "string", "lazy"]
)


CHANGES = st.one_of(
    st.tuples(st.just("max_batch_size"), st.integers(1, 5)),
    st.tuples(st.just("max_wait"), st.sampled_from(WAITS)),
    st.just(("flush",)),
)
TROUBLE = st.one_of(
    st.tuples(st.just("close"), st.booleans(), st.sampled_from([math.inf, math.inf, 0.0, 0.01])),
    st.just(("cancel_closers",)),
    st.tuples(st.just("interrupt"), st.integers(0, 2)),
    st.just(("interrupt",)),
)


class Histories(RuleBasedStateMachine):
    @initialize(setup=SETUPS)
    def begin(self, setup):
        self.yard = Yard(setup)
        self.sound = True

    @contextlib.contextmanager
    def step(self):
        """Do one thing; when it shows something wrong, only tidy up afterwards."""
        sound, self.sound = self.sound, False
        with Ear(self.yard.complain):
            yield self.yard
        self.yard.judge()
        self.sound = sound

    def teardown(self):
        yard = getattr(self, "yard", None)
        if yard is None:
            return
        try:
            if self.sound:
                yard.end()
        finally:
            yard.give_up()

    @rule(
        kind=st.sampled_from(["await", "await", "submit"]),
        count=COUNTS,
        timeout=TIMEOUTS,
        priority=PRIORITIES,
        key=KEYS,
        passes=PASSES,
    )
    def call(self, kind, count, timeout, passes, **details):
        with self.step() as yard:
            for _ in range(count):
                yard.act(functools.partial(yard.start, yard.new_call(kind, 1, timeout, **details)), 0)
            yard.run(passes)

    @rule(
        size=st.integers(0, 7),
        timeout=TIMEOUTS,
        priority=PRIORITIES,
        key=KEYS,
        passes=PASSES,
        return_exceptions=st.booleans(),
    )
    def map(self, size, timeout, passes, **details):
        with self.step() as yard:
            call = yard.new_call("map", size, timeout, **details)
            yard.act(functools.partial(yard.start, call), passes)

    @precondition(lambda self: any(call.outcome is None for call in self.yard.calls))
    @rule(data=st.data(), count=COUNTS, passes=PASSES)
    def cancel(self, data, count, passes):
        with self.step() as yard:
            for _ in range(count):
                calls = [call for call in yard.calls if call.outcome is None]
                call = calls[data.draw(st.integers(0, len(calls) - 1), "call")]
                yard.act(functools.partial(yard.cancel, call), 0)
            yard.run(passes)

    @precondition(lambda self: self.yard.running)
    @rule(data=st.data(), how=ENDS, passes=PASSES)
    def end_batch(self, data, how, passes):
        with self.step() as yard:
            work = yard.running[data.draw(st.integers(0, len(yard.running) - 1), "batch")]
            yard.act(functools.partial(yard.finish, work, how), passes)

    @rule(passes=PASSES)
    def go_on(self, passes):
        with self.step() as yard:
            yard.run(passes)

    @rule(seconds=SECONDS, settled=st.booleans())
    def let_time_pass(self, seconds, settled):
        with self.step() as yard:
            yard.advance(seconds)
            if settled:
                yard.settle()

    @rule(change=CHANGES, passes=PASSES)
    def adjust(self, change, passes):
        with self.step() as yard:
            yard.act(functools.partial(yard.adjust, *change), passes)

    @rule(trouble=TROUBLE, passes=PASSES)
    def make_trouble(self, trouble, passes):
        with self.step() as yard:
            yard.act(functools.partial(getattr(yard, trouble[0]), *trouble[1:]), passes)

    @precondition(lambda self: self.yard.closing and any(closer.done() for closer, _ in self.yard.closers))
    @rule()
    def enter_again(self):
        with self.step() as yard:
            yard.reopen()

    @precondition(lambda self: len(self.yard.calls) > 3)
    @rule()
    def go_on_in_another_loop(self):
        with self.step() as yard:
            yard.lose_loop()


@pytest.mark.parametrize("sweeping", [False, True], ids=["", "sweeping"])
def test_every_history_of_calls_and_faults_keeps_the_promises(sweeping, monkeypatch):
    if sweeping:  # as it goes where many come and leave, which no history here is long enough for
        monkeypatch.setattr("asyncbatch.order.SWEEP_AT", 0)
        monkeypatch.setattr("asyncbatch.order.LARGEST", 3)
        monkeypatch.setattr("asyncbatch.order.SMALLEST", 1)
        monkeypatch.setattr("asyncbatch.intake.SMALLEST", 1)
        monkeypatch.setattr("asyncbatch.lobby.SWEEP_AT", 0)
        monkeypatch.setattr("asyncbatch.deadlines._SLACK", 1)
    examples = int(os.environ.get("ASYNCBATCH_EXAMPLES", "250"))
    # Making a history that failed shorter takes longer than a test should.
    faulthandler.dump_traceback_later(600 + examples, exit=True)
    many = settings(
        max_examples=examples,
        derandomize="ASYNCBATCH_EXAMPLES" not in os.environ,  # the same histories for everybody, but at night
        stateful_step_count=40,
        deadline=None,
        print_blob=True,
        report_multiple_bugs=False,
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Histories, settings=many)


def one_slot(maxsize: float = math.inf, when_full: str = "wait") -> Yard:
    return Yard(Setup(SteppedLoop, Fifo, maxsize, when_full, 1, "inline", 1, 0.0, math.inf))


def test_no_timer_is_set_for_callers_that_have_left():
    yard = one_slot()
    calls = [yard.new_call("await", 1, timeout) for timeout in (math.inf, 3600.0)]
    for call in calls:
        yard.start(call)
    yard.settle()
    yard.cancel(calls[1])
    yard.finish_all()
    yard.settle()
    timers = yard.loop.timers()
    yard.end()
    yard.give_up()
    assert not timers


@pytest.mark.parametrize("when_full", ["wait", "reject", "evict"])
def test_the_place_of_a_caller_that_is_cancelled_is_free_at_once(when_full):
    yard = one_slot(2, when_full)
    calls = [yard.new_call("await", 1, math.inf) for _ in range(3)]
    late = yard.new_call("submit", 1, math.inf)
    for call in calls:
        yard.start(call)
        yard.settle()
    yard.act(functools.partial(yard.cancel, calls[2]), 1)  # a pass, for the caller to leave
    yard.act(functools.partial(yard.submit, late), 1)
    for _ in calls:
        yard.finish_all()
        yard.settle()
    yard.end()
    yard.give_up()
    assert [call.outcome for call in [*calls, late]] == ["succeeded", "succeeded", "cancelled", "succeeded"]
