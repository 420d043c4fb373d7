"""Queue disciplines: which waiting request goes next, how many may wait, and what becomes of one more.

A discipline is a frozen configuration; its running state is an `IntakeQueue` that overrides the documented hooks of
`asyncio.Queue`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from . import parameters
from .discipline import Discipline
from .intake import IntakeQueue
from .ranked import RankedQueue

__all__ = ("EarliestDeadline", "Fifo", "Priority", "resolve")


@dataclass(frozen=True, slots=True)
class Fifo:
    """First in, first out: the default.

    At most `maxsize` items wait in the queue (`math.inf`: no bound). `when_full` says what becomes of one more:

    - `"wait"`: `await batcher(item)` waits for room, in turn; `submit`, which cannot wait, raises `QueueFull`;
    - `"reject"`: it raises `QueueFull`;
    - `"evict"`: it comes in, and the least urgent request leaves with `QueueFull`: here the one that waited longest.

    The items of one `map` or `imap` never push each other out: once the first is in, the others come in as room frees.
    """

    maxsize: float = 1024
    when_full: Literal["wait", "reject", "evict"] = "wait"

    detailed: ClassVar[bool] = False
    costed: ClassVar[bool] = False
    queue_class: ClassVar[type[IntakeQueue]] = IntakeQueue
    rule_class: ClassVar[Any] = None

    @property
    def uses_deadlines(self) -> bool:
        """Whether deadlines say who goes next, those of the scopes around callers, too."""
        return False

    def __post_init__(self) -> None:
        if self.maxsize != math.inf:
            parameters.count("maxsize", self.maxsize)
        parameters.choice("when_full", self.when_full, "wait", "reject", "evict")


@dataclass(frozen=True, slots=True)
class EarliestDeadline(Fifo):
    """The request with the earliest deadline first; those without one last; equals first in, first out.

    Deadlines are those of `timeout=` and of the nearest enclosing anyio cancel scope, and the seconds of an objective,
    whichever is earliest.
    `when_full="evict"` turns out the request with the latest deadline.
    """

    queue_class: ClassVar[type[IntakeQueue]] = RankedQueue

    @property
    def uses_deadlines(self) -> bool:
        return True

    def rank(self, request: Any, objective: float) -> float:
        """Return the number of a request; the least goes first. `objective` is within how many seconds all are answered."""
        deadline: float = request.deadline
        return deadline if request.patient else min(deadline, request.arrived + objective)


@dataclass(frozen=True, slots=True)
class Priority(Fifo):
    """The smallest `priority=` first, as in `asyncio.PriorityQueue`; equals first in, first out; `priority=0` by default.

    Who waits becomes more urgent, one level of priority in `ageing` seconds. So nobody starves: a request is overtaken
    only by those that arrive within `ageing` seconds after it for each level that they are more urgent: one of priority 5
    goes before all of priority 0 that arrive more than `5 * ageing` seconds later. `ageing=math.inf` is strict priority,
    under which the least urgent may wait for ever. `when_full="evict"` turns out the one that would go last; with
    `"wait"`, callers are let in in the order of their arrival.

    Raises `TypeError` or `ValueError` for an `ageing` that is no number above 0.
    """

    ageing: float = 1.0

    detailed: ClassVar[bool] = True
    queue_class: ClassVar[type[IntakeQueue]] = RankedQueue

    def __post_init__(self) -> None:
        Fifo.__post_init__(self)  # the class that slots=True makes is not the one that `super()` knows
        parameters.amount("ageing", self.ageing)

    def rank(self, request: Any, objective: float) -> float:  # noqa: ARG002
        """Return the number of a request; the least goes first: when it arrived, and later by `ageing` for each level."""
        priority = float(request.priority)
        return priority if self.ageing == math.inf else request.arrived + self.ageing * priority


def resolve(queue: Discipline | None, *, costed: bool) -> Discipline:
    """Return the discipline for `queue=`. Raises `TypeError` for what is none, `ValueError` if it needs a `cost`."""
    if queue is None:
        return Fifo()
    parameters.instance("queue", queue, Fifo, "Fifo(maxsize=1024)")
    if queue.costed and not costed:
        raise ValueError(f"queue={type(queue).__name__}() goes by the length of items; write cost=len beside it")
    return queue
