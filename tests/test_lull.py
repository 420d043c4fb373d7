"""Whether the loop goes first: who is on the way back shares the batch, and nobody waits for what does not stir."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from callers import passes, running, until
import pytest

from asyncbatch import Fifo, InlineExecutor, LatencyObjective, QueueFull
from asyncbatch.intake import IntakeQueue
from asyncbatch.lull import Lull
from asyncbatch.metrics.statistics import Tally
from asyncbatch.testing import RecordingFunction

pytestmark = pytest.mark.virtual


@dataclass(frozen=True)
class Place:
    """An executor that says where its one slot works, and in a thread for how many seconds; in truth that is on the loop."""

    where: str
    worked: float | None = None
    capacity: int = 1

    def open(self, function: Any, name: str, count: int) -> list[Any]:
        return [Somewhere(self, function) for _ in range(count)]


class Somewhere:
    cancellable = False
    available = True

    def __init__(self, place: Place, function: Any) -> None:
        self.where = place.where
        if place.worked is not None:
            self.worked = place.worked
        self._function = function

    async def prepare(self) -> None:
        pass

    async def run(self, items: list[Any], context: Any) -> Any:
        return await self._function(items)

    def close(self) -> None:
        pass


SHARING = [Place("thread"), Place("thread", worked=1.0)]
BESIDE = [InlineExecutor(), Place("apart"), Place("thread", worked=0.0)]
ALL = [*SHARING, *BESIDE]


class Journal(RecordingFunction):
    """A function that notes when its batches begin, as callers note when they are answered."""

    def __init__(self, seconds: float = 0.010) -> None:
        super().__init__(seconds=seconds)
        self.notes: list[str] = []

    async def __call__(self, items: list[Any]) -> Any:
        self.notes.append("began")
        return await super().__call__(items)

    async def call(self, batcher: Any, item: Any) -> None:
        await batcher(item)
        self.notes.append("answered")


async def call_again(batcher: Any, later: int) -> None:
    """Call again and again, each time so many passes after the answer, as one who comes over a network."""
    await batcher(later)
    for _ in range(11):
        await passes(later)
        await batcher(later)


async def one_pass_after_the_other(batcher: Any, items: str) -> None:
    first, *others = items
    calls = [asyncio.create_task(batcher(first))]
    for item in others:
        calls.append(asyncio.create_task(batcher(item)))
        await asyncio.sleep(0)
    await asyncio.gather(*calls)


def now() -> float:
    return asyncio.get_running_loop().time()


async def hold_up(seconds: float) -> None:
    """Keep the loop busy for so long in each of its passes."""
    while True:
        asyncio.get_running_loop()._now += seconds
        await asyncio.sleep(0)


@pytest.mark.parametrize("executor", ALL, ids=str)
async def test_callers_back_in_one_pass_after_the_other_share_a_batch(executor):
    function = RecordingFunction(seconds=0.0005)
    async with running(function, max_batch_size=16, executor=executor) as batcher:
        await asyncio.gather(*[call_again(batcher, later) for later in range(8)])
    assert function.batches == [[*range(8)]] * 12


@pytest.mark.parametrize("executor", ALL, ids=str)
async def test_a_pass_that_costs_nothing_is_given_however_often_it_brought_nobody(executor):
    function = RecordingFunction(seconds=0.0005)
    async with running(function, max_batch_size=16, executor=executor) as batcher:
        for _ in range(20):
            await asyncio.gather(*map(batcher, range(8)))
        await asyncio.gather(*[call_again(batcher, later) for later in range(8)])
    assert function.batches == [[*range(8)]] * 32


@pytest.mark.parametrize("executor", ALL, ids=str)
async def test_those_who_come_one_pass_after_the_other_share_a_batch_after_a_silence_too_but_not_beside_the_loop(executor):
    function = RecordingFunction(seconds=0.0005)
    async with running(function, max_batch_size=16, executor=executor) as batcher:
        await asyncio.gather(*map(batcher, "ab"))
        await asyncio.sleep(1)
        await one_pass_after_the_other(batcher, "cdef")
    first = [["a", "b"], ["c", "d", "e", "f"]]
    assert function.batches == first if executor in SHARING else len(function.batches[1]) < 4


@pytest.mark.parametrize("executor", ALL, ids=str)
async def test_a_lone_caller_is_not_held_up(executor):
    function = Journal()
    counts = []
    async with running(function, max_batch_size=16, executor=executor) as batcher:
        await asyncio.gather(*map(batcher, "abc"))
        await batcher("d")  # after whom nobody knows of others
        for _ in range(5):
            await asyncio.sleep(0)
            function.notes.clear()
            call = asyncio.create_task(batcher(1))
            for count in range(100):
                if function.notes:
                    break
                await asyncio.sleep(0)
            counts.append(count)
            await call
    assert max(counts) <= 2


@pytest.mark.parametrize("executor", ALL, ids=str)
async def test_where_a_full_batch_waits_only_the_loop_itself_lets_those_answered_go_first(executor):
    function = Journal()
    async with running(function, max_batch_size=4, executor=executor) as batcher:
        await asyncio.gather(*[function.call(batcher, item) for item in range(8)])
    four = ["answered"] * 4
    first = [*four, "began"] if isinstance(executor, InlineExecutor) else ["began", *four]
    assert function.notes == ["began", *first, *four]


@pytest.mark.parametrize(
    ("held", "slept", "shares"),
    [(0.0005, 0, True), (0.0003, 0.0003, True), (0.00005, 0.0005, False), (0, 0.0005, False)],
    ids=["works", "half of it", "a tenth of it", "waits"],
)
async def test_a_function_on_the_loop_that_mostly_waits_is_beside_it(held, slept, shares):
    batches = []

    async def function(items: list[str]) -> list[str]:
        batches.append(items)
        asyncio.get_running_loop()._now += held
        if slept:
            await asyncio.sleep(slept)
        return items

    async with running(function, max_batch_size=16) as batcher:
        await asyncio.gather(*map(batcher, "ab"))
        await asyncio.sleep(1)
        await one_pass_after_the_other(batcher, "cdef")
    assert (batches[1] == [*"cdef"]) == shares


@pytest.mark.parametrize("first", ["ab", "a"])
async def test_it_is_so_as_long_as_its_last_batch_was(first):
    seconds = iter([0.0, 0.0005, 0.0005])
    batches = []

    async def function(items: list[str]) -> list[str]:
        batches.append(items)
        if held := next(seconds):
            asyncio.get_running_loop()._now += held
        else:
            await asyncio.sleep(0.0005)
        return items

    async with running(function, max_batch_size=16) as batcher:
        for items in (first, "ab"):
            await asyncio.gather(*map(batcher, items))
            await asyncio.sleep(1)
        await one_pass_after_the_other(batcher, "cdef")
    assert batches[2] == [*"cdef"]


# How long


@pytest.mark.parametrize(("seconds", "begins"), [(0.0006, 0.0125), (0.0004, 0.0105)], ids=["work", "hardly any"])
@pytest.mark.parametrize("executor", SHARING, ids=str)
async def test_a_busy_loop_goes_first_for_a_while_at_the_most(executor, seconds, begins):
    function = Journal()
    async with running(function, max_batch_size=16, executor=executor) as batcher:
        first = [batcher.submit(item) for item in "ab"]
        await passes()
        second = batcher.submit("c")
        await asyncio.sleep(0.0099)
        busy = asyncio.create_task(hold_up(seconds))
        await asyncio.gather(*first, second)
        busy.cancel()
    assert begins <= function.times[1] < begins + 4 * seconds


@pytest.mark.parametrize(
    ("executor", "longest"), [*[(each, 1) for each in SHARING], *[(each, 0.5) for each in BESIDE]], ids=str
)
async def test_the_loop_goes_first_for_the_time_of_a_batch_but_for_half_of_it_beside_the_loop(executor, longest):
    function = Journal(0.001)
    async with running(function, max_batch_size=16, executor=executor) as batcher:
        first = [batcher.submit(item) for item in "ab"]
        await passes()
        second = batcher.submit("c")
        await asyncio.sleep(0.00099)
        busy = asyncio.create_task(hold_up(0.0001))
        await asyncio.gather(*first, second)
        busy.cancel()
    begins = 0.001 + longest * 0.001
    assert begins <= function.times[1] < begins + 0.0009


@pytest.mark.parametrize(("after", "goes_first"), [(0.0009, True), (0.0011, False)])
@pytest.mark.parametrize("executor", BESIDE, ids=str)
async def test_beside_the_loop_that_counts_from_when_a_batch_came_back(executor, after, goes_first):
    function = RecordingFunction(seconds=0.002)
    async with running(function, max_batch_size=16, executor=executor) as batcher:
        await asyncio.gather(*map(batcher, "ab"))
        await asyncio.sleep(after)
        await one_pass_after_the_other(batcher, "cdef")
    assert function.batches[1] == [*"cdef"] if goes_first else len(function.batches[1]) == 2


@pytest.mark.parametrize("executor", BESIDE, ids=str)
async def test_and_so_it_ends_however_late_the_first_came(executor):
    function = Journal(0.002)
    async with running(function, max_batch_size=16, executor=executor) as batcher:
        await asyncio.gather(*map(batcher, "ab"))
        landed = now()
        await asyncio.sleep(0.0003)
        busy = asyncio.create_task(hold_up(0.00015))
        await asyncio.gather(*map(batcher, "cd"))
        busy.cancel()
    assert landed + 0.001 <= function.times[1] < landed + 0.0014


@pytest.mark.parametrize(
    ("seconds", "back", "shared"),
    [(0.010, 0.0003, True), (0.010, 0.0007, False), (0.0026, 0.00006, True), (0.0024, 0.00006, False)],
)
@pytest.mark.parametrize("executor", ALL, ids=str)
async def test_it_may_be_quiet_for_a_moment_until_all_who_were_answered_are_back(executor, seconds, back, shared):
    function = RecordingFunction(seconds=seconds)

    async def twice(item: str) -> None:
        await batcher(item)
        await asyncio.sleep(back)
        await batcher(item)

    async with running(function, max_batch_size=16, executor=executor) as batcher:
        ticking = asyncio.create_task(hold_up(0.00001))
        first = [asyncio.create_task(twice(item)) for item in "abc"]
        await passes()
        await asyncio.gather(*first, batcher("d"))
        ticking.cancel()
    assert function.batches[1] == ([*"dabc"] if shared else ["d"])


@pytest.mark.parametrize("executor", ALL, ids=str)
async def test_and_not_once_they_are(executor):
    function = RecordingFunction(seconds=0.010)
    async with running(function, max_batch_size=16, executor=executor) as batcher:
        ticking = asyncio.create_task(hold_up(0.00001))
        await asyncio.gather(*map(batcher, "abc"))
        landed = now()
        await asyncio.gather(*map(batcher, "abc"))
        ticking.cancel()
    assert function.times[1] < landed + 0.00005


@pytest.mark.parametrize("executor", SHARING, ids=str)
async def test_a_loop_that_is_busy_with_something_else_is_not_waited_for_in_the_long_run(executor):
    function = Journal(0.001)
    waits = []
    async with running(function, max_batch_size=16, executor=executor) as batcher:
        busy = asyncio.create_task(hold_up(0.0001))
        for _ in range(264):
            called = now()
            await asyncio.gather(*map(batcher, "abc"))
            waits.append(function.times[-1] - called > 0.0009)
        busy.cancel()
    assert waits == [False] + [True] * 8 + [False] * 248 + [True] + [False] * 6


async def test_where_that_is_given_up_those_answered_are_told_before_the_next_batch_holds_up_the_loop_and_no_more():
    function = Journal(0.001)
    async with running(function, max_batch_size=16) as batcher:
        busy = asyncio.create_task(hold_up(0.0001))
        for _ in range(8):
            function.notes.clear()
            first = [asyncio.create_task(function.call(batcher, item)) for item in "ab"]
            await until(lambda: function.notes)
            second = [asyncio.create_task(function.call(batcher, item)) for item in "cd"]
            await asyncio.gather(*first)
            landed = now()
            await asyncio.gather(*second)
        busy.cancel()
    assert function.notes == ["began", "answered", "answered", "began", "answered", "answered"]
    assert function.times[-1] <= landed + 0.0002


@pytest.mark.parametrize("seconds", [0.00009, 0.0])
async def test_a_pass_is_not_given_before_batches_that_take_no_longer_than_that(seconds):
    function = RecordingFunction(seconds=seconds)
    async with running(function, max_batch_size=16) as batcher:
        await asyncio.gather(*[call_again(batcher, later) for later in range(8)])
    assert len(function.batches[1]) < 8


async def test_nor_before_one_that_follows_such_a_batch():
    function = RecordingFunction(script=[0.001, 0.00009])
    async with running(function, max_batch_size=16) as batcher:
        await asyncio.gather(*[call_again(batcher, later) for later in range(8)])
    assert [len(batch) == 8 for batch in function.batches[:3]] == [True, True, False]


@pytest.mark.parametrize("details", [{"timeout": 0.0155}, {}], ids=["timeout", "objective"])
async def test_nobody_is_late_for_it(details):
    function = Journal()
    policy = None if details else LatencyObjective(0.0155)
    async with running(function, max_batch_size=16, policy=policy) as batcher:
        for _ in range(3):
            await asyncio.gather(*map(batcher, "ab"))
        first = [batcher.submit(item) for item in "ab"]
        await asyncio.sleep(0.0099)
        second = batcher.submit("c", **details)
        busy = asyncio.create_task(hold_up(0.0006))
        await asyncio.gather(*first)
        landed = now()
        assert await second == "c"
        busy.cancel()
    assert function.times[-1] < landed + 0.0012


# Beside the loop


async def test_callers_who_come_back_as_they_are_answered_share_a_batch():
    function = Journal()
    async with running(function, max_batch_size=16, executor=Place("apart")) as batcher:

        async def calls(item: str, times: int) -> None:
            for _ in range(times):
                await batcher(item)

        first = asyncio.create_task(calls("a", 5))
        await passes()
        await asyncio.gather(first, calls("b", 4))
    assert [*map(len, function.batches)] == [1, 2, 2, 2, 2]


async def test_as_long_as_they_come_back_a_slot_beside_the_loop_gives_them_a_pass():
    function = RecordingFunction(seconds=0.001)
    async with running(function, max_batch_size=16, executor=Place("apart")) as batcher:

        async def guest(arrives: float) -> None:
            await asyncio.sleep(arrives)
            await batcher("guest")

        async def regular() -> None:
            for _ in range(13):
                await batcher("regular")

        await asyncio.gather(regular(), *[guest(0.0005 + 0.001 * after) for after in range(12)])
    assert function.batches == [["regular"]] + [["guest", "regular"]] * 12


async def test_a_slot_beside_the_loop_stops_giving_passes_that_bring_nobody_but_tries_again():
    function = Journal(0.001)  # too short for anybody to be lingered for
    at_once = []
    async with running(function, max_batch_size=16, executor=Place("apart")) as batcher:
        ahead = asyncio.create_task(function.call(batcher, 0))
        await passes()
        for _ in range(258):
            behind = asyncio.create_task(function.call(batcher, 0))
            await passes()
            function.notes.clear()
            await ahead
            await passes()
            at_once.append(function.notes[0] == "began")
            ahead = behind
        await ahead
    assert at_once == [False] * 8 + [True] * 248 + [False, True]


class Line:
    """What a slot beside the loop sees of it, on a clock that moves."""

    def __init__(self) -> None:
        queue: Any = IntakeQueue(Fifo(), Tally(None), list, QueueFull, costed=False)
        queue.most = 64
        self.gate, self.now = queue.gate, 0.0
        self.lull = Lull(queue, lambda: self.now, SimpleNamespace(where="apart"))

    def lands(self, *back: float, size: int = 3, seconds: float = 0.004, a_pass: float = 0.00001) -> float:
        """Return for how long the loop goes first after a batch, if some of those answered are `back` after so long."""
        lull, landed = self.lull, self.now
        lull.waits(0.0, size)
        lull.landed(self.now, seconds, size)
        goes_first = lull.opens()
        while goes_first or (lull.took and lull.stirs(math.inf)):
            before, self.now = self.now, self.now + a_pass
            self.gate.admitted += sum([before < landed + each <= self.now for each in back])
            if lull.trying:
                lull.learn()
            goes_first = False
        return self.now - landed

    def halves(self) -> bool:
        """Return whether the loop goes first, and cannot bring them all in time."""
        return self.lands(*[0.0005 * n for n in range(1, 7)], size=6, a_pass=0.0005) > 0.0


@pytest.mark.parametrize("alone", [0, 1])
async def test_where_the_loop_cannot_bring_them_in_time_halves_are_better_and_stay_undisturbed_for_long(alone):
    line = Line()
    for _ in range(alone):
        line.lands(size=1)
    went = [line.halves() for _ in range(600)]
    assert went[: 8 - alone] == [True] * (8 - alone)
    assert [number + alone for number, each in enumerate(went) if each][8 - alone :] == [256, 512]


async def test_beside_the_loop_once_in_time_outweighs_one_late_and_no_more():
    line = Line()
    all_back = 0.0001, 0.0002, 0.0003
    assert [(line.halves(), line.lands(*all_back) > 0.0) for _ in range(40)] == [(True, True)] * 40
    assert [line.halves() for _ in range(10)] == [True] * 8 + [False] * 2
    while not line.lands(*all_back):
        pass
    assert [line.halves() for _ in range(3)] == [True, False, False]


async def test_one_who_is_slow_to_return_does_not_part_the_others():
    line = Line()
    went = [line.lands(0.0001, 0.0002) for _ in range(40)]
    assert went == [pytest.approx(0.0004, abs=0.00003)] * 40


@pytest.mark.parametrize("ends", [(), (0.0001,)], ids=["or none does", "or by chance"])
async def test_where_nobody_returns_no_moment_is_lost_in_the_long_run(ends):
    line = Line()
    line.lands(0.0001, 0.0002, 0.0003)
    went = [(line.lands(), line.lands(*ends) if ends else 0.0)[0] for _ in range(12)]
    assert went == [pytest.approx(0.0002, abs=0.00003)] * 8 + [0.0] * 4


async def test_a_pass_that_brought_nobody_makes_up_for_none_that_was_in_vain():
    line = Line()
    went = [(line.halves(), line.lands(seconds=0.001))[0] for _ in range(10)]
    assert went == [True] * 8 + [False] * 2


async def test_before_short_batches_a_pass_is_given_as_long_as_that_brings_somebody():
    line = Line()
    assert all([line.lands(0.00001, seconds=0.00005) for _ in range(20)])
    assert [line.lands(seconds=0.00005) > 0.0 for _ in range(9)] == [True] * 8 + [False]
