"""The scenarios as they are, and under other orders of tasks, with a random fault or none.

Nothing relies on which of two tasks goes first. What asyncio promises is kept: the steps of one task and the callbacks of one future stay in order, and what is no step of
a task neither overtakes nor is overtaken. A failure prints its seed: `ASYNCBATCH_SEED` replays that one, and
`ASYNCBATCH_SCHEDULES` sets how many there are.
"""

from __future__ import annotations

import asyncio
import functools
import os
import random
from typing import Any

import pytest
from scenarios import LOOPS, SCENARIOS, Boom, Ouch, Scenario, SteppedLoop, World, play

SEEDS = range(int(os.environ.get("ASYNCBATCH_SCHEDULES", "40")))
if "ASYNCBATCH_SEED" in os.environ:
    SEEDS = range(int(os.environ["ASYNCBATCH_SEED"]), int(os.environ["ASYNCBATCH_SEED"]) + 1)

ERRORS = [Boom, Ouch, asyncio.CancelledError, GeneratorExit]


def shuffling(base: type[SteppedLoop], rng: random.Random) -> SteppedLoop:
    """Return a loop that runs what is ready in a pass in an order that `rng` decides."""

    class ShuffledLoop(base):  # type: ignore[misc, valid-type]
        new_pass = False

        def _run_once(self) -> None:
            self.new_pass = True
            super()._run_once()

        def step(self) -> None:
            if self.new_pass:  # from here on, timers have come in too
                self.new_pass = False
                handles = shuffled(list(self._ready), rng)
                self._ready.clear()
                self._ready.extend(handles)
            super().step()

    return ShuffledLoop()


def shuffled(handles: list[Any], rng: random.Random) -> list[Any]:
    """Return `handles` in an order in which those that have a subject in common stay as they were."""
    order = []
    left = [(handle, subjects(handle)) for handle in handles]
    while left:
        free = [i for i, (_, mine) in enumerate(left) if not any(collide(mine, before) for _, before in left[:i])]
        order.append(left.pop(rng.choice(free))[0])
    return order


def subjects(handle: Any) -> set[Any] | None:
    """Return what a handle is about; None is everything."""
    if handle.cancelled():
        return set()
    if isinstance(handle, asyncio.TimerHandle):
        return {"time"}
    task = getattr(handle._callback, "__self__", None)
    if isinstance(task, asyncio.Task):
        return {task, *(each for each in handle._args if isinstance(each, asyncio.Future))}
    return None


def collide(mine: set[Any] | None, other: set[Any] | None) -> bool:
    return mine is None or other is None or not mine.isdisjoint(other)


def some_fault(scenario: Scenario, rng: random.Random) -> tuple[str, Any]:
    caller = rng.randrange(len(scenario.callers))
    error = rng.choice(ERRORS)
    return rng.choice(
        [
            ("nothing", lambda world: None),
            (f"cancel {caller}", lambda world: world.cancel(caller)),
            (f"fail with {error.__name__}", lambda world: world.fail(error())),
            ("close", lambda world: world.close()),
            ("abort", lambda world: world.close(drain=False)),
            ("close in time", lambda world: world.close(timeout=0.3)),
            ("interrupt", World.cancel_residents),
        ]
    )


def play_shuffled(scenario: Scenario, base: type[SteppedLoop], seed: int) -> list[str]:
    rng = random.Random(f"{scenario} {seed}")
    faults = {rng.randrange(1, 50): some_fault(scenario, rng) for _ in range(rng.randrange(3))}
    world = play(scenario, functools.partial(shuffling, base, rng), {step: fault for step, (_, fault) in faults.items()})
    story = ", ".join(f"{words} before step {step}" for step, (words, _) in faults.items())
    return [f"ASYNCBATCH_SEED={seed}, {scenario}, {story or 'undisturbed'}: {what}" for what in world.wrong]


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_any_order_of_tasks_will_do(loop):
    wrong = [what for scenario in SCENARIOS for seed in SEEDS for what in play_shuffled(scenario, loop, seed)]
    assert not wrong, f"{len(wrong)} complaints, such as\n" + "\n".join(wrong[:8])


def test_undisturbed_each_batch_runs_in_its_time():
    for scenario in SCENARIOS:
        world = play(scenario)
        assert not world.wrong, scenario
        assert world.batches == [(pytest.approx(begins), items) for begins, items in scenario.batches], scenario


class EarlyLoop(SteppedLoop):
    """Fires its timers up to a millisecond early, as loops do that count in those."""

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        early = when - 0.0009
        return super().call_at(early if early > self.time() else when, callback, *args, context=context)


def test_a_timer_that_fires_a_little_early_is_no_reason_to_wait_again():
    for scenario in SCENARIOS:
        world, on_time = play(scenario, EarlyLoop), play(scenario)
        assert not world.wrong, scenario
        assert world.batches == [(pytest.approx(begins, abs=0.01), items) for begins, items in scenario.batches], scenario
        assert world.loop.steps <= on_time.loop.steps + 10, scenario


def test_a_shuffled_loop_keeps_what_asyncio_promises():
    """The steps of a task stay in order, and so do callbacks; but tasks overtake each other."""
    seen = set()
    for seed in range(20):
        loop = shuffling(SteppedLoop, random.Random(seed))
        order: list[Any] = []

        async def steps(name: str, order: list[Any] = order) -> None:
            for step in range(3):
                order.append((name, step))
                await asyncio.sleep(0)

        async def main(order: list[Any] = order) -> None:
            tasks = [asyncio.ensure_future(steps(name)) for name in "abc"]
            for number in range(3):
                asyncio.get_running_loop().call_soon(order.append, number)
            await asyncio.wait(tasks)

        loop.run_until_complete(main())
        loop.close()
        for name in "abc":
            assert [step for each, step in (row for row in order if isinstance(row, tuple)) if each == name] == [0, 1, 2]
        assert [row for row in order if isinstance(row, int)] == [0, 1, 2]
        seen.add(tuple(map(str, order)))
    assert len(seen) > 10
