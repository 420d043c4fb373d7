"""The controls of a batcher: what can be read and set while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import parameters
from .here import here
from .lifetime import Lifetime
from .policies import Limits

if TYPE_CHECKING:
    from .metrics.statistics import Statistics

__all__ = ("Controls",)


class Controls(Lifetime):
    """Limits, flush and statistics."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self._limits = limits

    def flush(self) -> None:
        """Let all that waits now leave without further waiting, as soon as there are slots for it."""
        if here() != self._home:
            raise self._refusal()
        self._house.flush()

    def statistics(self) -> Statistics:
        """Return a frozen snapshot of what has happened since the batcher was entered; it stays readable after closing.

        Raises `NotRunning` if it never was.
        """
        if self._state == "new":
            raise self._refusal()
        return self._residents.statistics()

    async def resize(self, capacity: int) -> None:
        """Let `capacity` batches run at once: that many workers, threads or concurrent calls.

        Returns when the new workers have built their class, or when those that are too many have ended, each after the
        batch that it runs; what waits is served meanwhile. Raises what a class raised as it was built; that worker tries
        again with its next batch. Called by the batcher's own function it does not wait.
        """
        if here() != self._home:
            raise self._refusal()
        parameters.count("capacity", capacity)
        await self._residents.resize(capacity, wait=not self.in_own_flight())

    @property
    def max_batch_size(self) -> int:
        """How many items a batch may have; can be set at any time."""
        return self._limits.max_batch_size

    @max_batch_size.setter
    def max_batch_size(self, value: int) -> None:
        self._limits.max_batch_size = value
        self._consider()

    @property
    def max_wait(self) -> float:
        """How many seconds the oldest request may wait for its batch to fill; can be set at any time."""
        return self._limits.max_wait

    @max_wait.setter
    def max_wait(self, value: float) -> None:
        self._limits.max_wait = value
        self._consider()

    @property
    def max_batch_cost(self) -> float:
        """What the items of a batch may cost together; can be set at any time on a batcher that has a `cost`."""
        return self._limits.max_batch_cost

    @max_batch_cost.setter
    def max_batch_cost(self, value: float) -> None:
        self._limits.max_batch_cost = value
        self._consider()

    def _consider(self) -> None:
        if self._state == "open":
            self._house.queue.ring_all()
