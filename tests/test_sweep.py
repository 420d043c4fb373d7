"""A fault before each step of each scenario: nobody hangs, nobody else is hurt, nothing is left behind."""

from __future__ import annotations

import asyncio

import pytest
from scenarios import LOOPS, SCENARIOS, Boom, Fault, Ouch, Scenario, SteppedLoop, World, play

every_loop = pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)


def sweep(scenario: Scenario, loop: type[SteppedLoop], faults: dict[str, Fault]) -> list[str]:
    """Run `scenario` with each of `faults` before each of its steps; return what was wrong."""
    undisturbed = play(scenario, loop)
    wrong = [f"{scenario}, undisturbed: {what}" for what in undisturbed.wrong]
    for step in range(1, undisturbed.loop.steps + 1):
        for name, fault in faults.items():
            world = play(scenario, loop, {step: fault})
            wrong += [f"{scenario}, {name} before step {step}: {what}" for what in world.wrong]
    return wrong


def sweep_all(faults: dict[str, Fault], loop: type[SteppedLoop] = SteppedLoop) -> None:
    report([what for scenario in SCENARIOS for what in sweep(scenario, loop, faults)])


def report(wrong: list[str]) -> None:
    assert not wrong, f"{len(wrong)} complaints, such as\n" + "\n".join(wrong[:8])


def cancel(*callers: int) -> Fault:
    return lambda world: world.cancel(*callers)


def fail(kind: type[BaseException]) -> Fault:
    return lambda world: world.fail(kind())


@every_loop
def test_a_caller_that_is_cancelled_at_any_step_hurts_nobody(loop):
    wrong = []
    for scenario in SCENARIOS:
        callers = range(len(scenario.callers))
        faults = {f"cancelling caller {number}": cancel(number) for number in callers}
        wrong += sweep(scenario, loop, faults | {"cancelling all": cancel(*callers)})
    report(wrong)


@every_loop
def test_an_error_at_any_step_reaches_its_own_batch_and_no_other(loop):
    sweep_all({"an error": fail(Boom)}, loop)


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit, Ouch])
def test_what_is_no_plain_error_at_any_step_reaches_its_own_batch_and_no_other(kind):
    sweep_all({kind.__name__: fail(kind)})


@every_loop
def test_closing_at_any_step_answers_all_who_were_there(loop):
    sweep_all({"closing": World.close}, loop)


def test_closing_without_draining_at_any_step_tells_all_who_were_there():
    sweep_all({"closing": lambda world: world.close(drain=False)})


@pytest.mark.parametrize("timeout", [0.0, 0.3])
def test_closing_with_too_little_time_at_any_step_tells_all_who_were_there(timeout):
    sweep_all({"closing": lambda world: world.close(timeout=timeout)})


def test_a_batcher_whose_tasks_are_cancelled_at_any_step_tells_its_callers_and_serves_the_next():
    sweep_all({"cancelling the batcher's tasks": World.cancel_residents})
