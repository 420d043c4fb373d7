"""Policies: when a batch leaves. A decision is numbers in, numbers out: no clock, no await, no future, no item.

A policy of one's own is any callable from an `Outlook` to the seconds that what waits may still wait: 0 or less lets the
batch leave now, `math.inf` has no opinion. It is asked when a slot is free, somebody waits and nothing else lets the batch
leave: a full batch, a flush and a close never ask. It is asked again on the next arrival, and when its time is up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from . import parameters

__all__ = ("INSTANT", "TIMER_SLACK", "Limits", "Outlook", "Policy", "SizeAndWait", "latest_start")

# Less than this is not worth a timer, and may be the rounding of a due time that has come.
INSTANT = 1e-6

# Timers are whole milliseconds on either loop and fire up to two late; a deadline is met that much earlier.
TIMER_SLACK = 0.002


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a policy is told of the queue; of one key, if each has its own. Times are the event loop's, in seconds."""

    now: float
    count: int  #: items that wait
    cost: float  #: what they cost together; their count if there is no `cost` function
    oldest: float  #: when the one that waited longest arrived
    nearest_deadline: float  #: the earliest deadline among them, `inf` if none has one
    run_time: float  #: the slowest of the last batches, 0.0 before any was measured


Policy: TypeAlias = Callable[[Outlook], float]


class Limits:
    """How large a batch may be and how long it may wait. Each is checked when it is set, which may be at any time."""

    __slots__ = ("max_batch_cost", "max_batch_size", "max_wait")

    max_batch_size: int
    max_wait: float
    max_batch_cost: float

    def __init__(self, max_batch_size: int, max_wait: float, max_batch_cost: float) -> None:
        self.max_batch_size = max_batch_size
        self.max_wait = max_wait
        self.max_batch_cost = max_batch_cost

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, _CHECKS[name](name, value))


_CHECKS: dict[str, Callable[[str, object], float]] = {
    "max_batch_size": parameters.count,
    "max_wait": parameters.seconds,
    "max_batch_cost": parameters.amount,
}


class SizeAndWait:
    """The default: the oldest request waits at most `max_wait` since it arrived, and no request past its deadline.

    A request with a deadline must start early enough to end in time, going by the slowest of the last batches. Until one
    was measured it gives half of its time to waiting.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def __call__(self, outlook: Outlook) -> float:
        return min(outlook.oldest + self._limits.max_wait, latest_start(outlook)) - outlook.now


def latest_start(outlook: Outlook) -> float:
    """Return when the request with the nearest deadline must leave to be back in time, `inf` if none has one."""
    deadline = outlook.nearest_deadline
    if deadline == math.inf or outlook.run_time:
        return deadline - outlook.run_time - TIMER_SLACK
    return (outlook.oldest + deadline) / 2
