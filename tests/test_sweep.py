"""A fault before each step of each scenario: nobody hangs, nobody else is hurt, nothing is left behind."""

from __future__ import annotations

import asyncio

import pytest
from scenarios import LOOPS, SCENARIOS, Boom, Fault, Ouch, Scenario, SteppedLoop, play

pytestmark = [
    pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__),
    pytest.mark.parametrize("scenario", SCENARIOS, ids=str),
]


def sweep(scenario: Scenario, loop: type[SteppedLoop], **faults: Fault) -> None:
    """Run `scenario` with each of `faults` before each of its steps."""
    undisturbed = play(scenario, loop)
    assert not undisturbed.wrong, f"undisturbed: {undisturbed.wrong}"
    assert undisturbed.batches, "there is nothing to disturb"
    wrong = []
    for step in range(1, undisturbed.loop.steps + 1):
        for name, fault in faults.items():
            world = play(scenario, loop, {step: fault})
            wrong += [f"{name} before step {step}: {what}" for what in world.wrong]
    assert not wrong, f"{len(wrong)} complaints, such as\n" + "\n".join(wrong[:8])


def cancel(*callers: int) -> Fault:
    return lambda world: world.cancel(*callers)


def fail(kind: type[BaseException]) -> Fault:
    return lambda world: world.fail(kind())


def test_a_caller_that_is_cancelled_at_any_step_hurts_nobody(scenario, loop):
    callers = range(len(scenario.callers))
    sweep(scenario, loop, **{f"cancel_{number}": cancel(number) for number in callers}, cancel_all=cancel(*callers))


def test_an_error_at_any_step_reaches_its_own_batch_and_no_other(scenario, loop):
    sweep(scenario, loop, error=fail(Boom))


def test_what_is_no_plain_exception_at_any_step_reaches_its_own_batch_and_no_other(scenario, loop):
    sweep(scenario, loop, cancellation=fail(asyncio.CancelledError), base_exception=fail(Ouch))


def test_closing_at_any_step_answers_all_who_were_there(scenario, loop):
    sweep(scenario, loop, drain=lambda world: world.close())


def test_closing_without_draining_at_any_step_tells_all_who_were_there(scenario, loop):
    sweep(scenario, loop, abort=lambda world: world.close(drain=False))


def test_closing_with_little_time_at_any_step_tells_all_who_were_there(scenario, loop):
    sweep(scenario, loop, timeout=lambda world: world.close(timeout=0.3), at_once=lambda world: world.close(timeout=0))


def test_a_batcher_whose_tasks_are_cancelled_at_any_step_tells_its_callers_and_serves_the_next(scenario, loop):
    sweep(scenario, loop, interruption=lambda world: world.cancel_residents())
