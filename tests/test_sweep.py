"""One fault before each step of each scenario: nobody hangs, nobody else is hurt, nothing is left behind."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator

import pytest
from scenarios import LOOPS, SCENARIOS, Boom, Fault, Ouch, Scenario, SteppedLoop, World, play

every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
every_loop = pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)


def steps(scenario: Scenario, loop: type[SteppedLoop]) -> range:
    """Return the numbers of the steps that `scenario` takes."""
    world = play(scenario, loop)
    assert not world.wrong, f"{scenario}, undisturbed: {world.wrong}"
    return range(1, world.loop.steps + 1)


def sweep(scenario: Scenario, loop: type[SteppedLoop], *faults: Fault) -> None:
    """Run `scenario` with each of `faults` before each step."""
    wrong = []
    for step in steps(scenario, loop):
        for fault in faults:
            world = play(scenario, loop, {step: fault})
            wrong += [f"{scenario}, {fault} before step {step}: {what}" for what in world.wrong]
    assert not wrong, f"{len(wrong)} complaints, such as\n" + "\n".join(wrong[:8])


def fault(method: str, *args: object, **kwargs: object) -> Fault:
    """Return what calls `method` of a world, in words that a failure can print."""

    class Named(functools.partial):  # type: ignore[type-arg]
        def __repr__(self) -> str:
            return f"{method}{args or ''}{kwargs or ''}"

    return Named(lambda world: getattr(world, method)(*args, **kwargs))


def errors(*kinds: type[BaseException]) -> Iterator[Fault]:
    for kind in kinds:
        yield fault("fail", kind())


@every_loop
@every_scenario
def test_a_caller_that_is_cancelled_at_any_step_hurts_nobody(scenario, loop):
    callers = range(len(scenario.callers))
    sweep(scenario, loop, *(fault("cancel", caller) for caller in callers), fault("cancel", *callers))
