"""What a queue discipline is: a frozen configuration, and the classes of what runs by it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Protocol

__all__ = ("Discipline",)


class Discipline(Protocol):
    """The frozen configuration of a queue; see `asyncbatch.queues`."""

    @property
    def maxsize(self) -> float: ...
    @property
    def when_full(self) -> Literal["wait", "reject", "evict"]: ...
    @property
    def uses_deadlines(self) -> bool: ...

    detailed: ClassVar[bool]  # whether it needs a request of each, and more than its item and when it came
    costed: ClassVar[bool]  # whether it goes by what items cost, so that a `cost` must be given
    queue_class: ClassVar[Any]  # of an `asyncbatch.intake.IntakeQueue`
    rule_class: ClassVar[Any]  # of an `asyncbatch.departures.Departures`; None is the one for the queue as a whole
