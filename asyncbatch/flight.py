"""A flight: one batch on the executor, from the moment it was taken to the moment every caller has an outcome."""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from . import scatter
from .crowd import Crowd
from .deadlines import Deadlines

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from .metrics.statistics import Tally
    from .request import Passenger

__all__ = ("CURRENT", "Flight")

CURRENT: ContextVar[Flight | None] = ContextVar("asyncbatch.flight", default=None)
"""The flight whose function is running here; set in the context that each batch gets."""


class Flight:
    """The passengers of one batch; the queue fills them in, with their items. `aboard` counts those who still wait.

    A crowd is one passenger, with one future for all of them, and so is the portion of a bulk: then it is `mixed`.
    """

    reason = ""  # why it left; none before it does
    waited = 0.0  # how long the first of them had waited then
    aboard = 0
    size = 0
    succeeded = 0
    failed = 0
    oldest = 0.0  # when the first of them arrived
    cost = 0.0  # of all of them, kept only when requests have costs
    elements = 0  # what its function worked on, where somebody counts it,
    padding = 0  # and how much of that only filled up
    mixed = False  # whether not all of its passengers are requests
    arrived = 0.0  # the sum of all times of arrival
    landed = False
    stopped = False
    error: str | None = None  # the name of what the whole batch failed with
    _deadlines: Deadlines | None = None

    def __init__(self, batcher: Any, task: asyncio.Task[None] | None) -> None:
        self.batcher = batcher  # the house it left, with its `name`, `queue` and `tally`
        self._tally: Tally = batcher.tally  # kept, as its type lets a compiler reach into it directly
        self.passengers: list[Any] = []
        self.items: list[Any] = []
        self._task = task  # to cancel when nobody waits for the batch any more, if that stops the work

    def depart(self, now: float, reason: str) -> None:
        """Note that the batch leaves, and why."""
        self.reason = reason
        self.waited = waited = now - self.oldest
        self.aboard = self.size = size = len(self.items)
        tally = self._tally
        tally.reasons[reason] += 1
        tally.items += size
        tally.waits += now * size - self.arrived
        if waited > tally.longest_wait:
            tally.longest_wait = waited

    def part(self, crowd: Crowd) -> None:
        """Make passengers of a crowd, as one of them matters by itself."""
        index = self.passengers.index(crowd)
        self.passengers[index : index + 1] = crowd.part(self)

    def _part_all(self) -> None:
        if self.mixed:
            for crowd in [each for each in self.passengers if type(each) is Crowd]:
                self.part(crowd)

    def waits(self) -> tuple[float, ...]:
        """Return how long each of them had waited when it left."""
        return tuple([self.waited - (arrived - self.oldest) for arrived in self.came()])

    def came(self) -> Sequence[float]:
        """Return when each of them arrived."""
        came: list[float] = []
        for each in self.passengers:
            came += each.arrivals if type(each) is Crowd else (each.arrived,)
        return came

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give callers whose `timeout` runs out before the batch is back their `DeadlineExceeded` then."""
        urgent = [each for each in self.passengers if each.deadline < math.inf and not each.scoped]
        if urgent:
            self._deadlines = Deadlines(loop, self.batcher.name, lambda each: each.place is not self)
            self._deadlines.watch_all(urgent)

    def discard(self, request: Passenger, outcome: str) -> None:
        """Note that one caller left; when none is left the work is stopped, if it can be."""
        if self.landed:
            return
        self.aboard -= request.size
        self._tally.count(outcome, request.size)
        if not self.aboard and self._task is not None:
            # Not at once: the function itself may have cancelled its last caller, in the step that is running.
            self._task.get_loop().call_soon(self.stop)

    def note_padding(self, elements: int, padding: int) -> None:
        """Note what `padding.count` was told in this batch, in whatever thread."""
        tally = self._tally
        with tally.counting:
            for books in (tally, self):
                books.elements += elements
                books.padding += padding

    def stop(self) -> None:
        """Cancel the task that flies, once."""
        if self._task is not None and not self.stopped:
            self.stopped = True
            self._task.cancel()

    def deliver(self, outputs: Any) -> None:
        """Scatter what the function returned. Raises what is wrong with it, with nothing handed out."""
        if type(outputs) is not list or len(outputs) != self.size:
            outputs = scatter.checked(outputs, self.size, self.batcher.name)
        if failures := scatter.any_failed(outputs):
            self._part_all()
        passengers = self.passengers
        if len(passengers) == 1 and type(passengers[0]) is Crowd:
            passengers[0].answer(outputs)
            succeeded, failed = self.size, 0
        elif self.mixed or failures or self.aboard < self.size:
            succeeded, failed = scatter.deliver(passengers, outputs, self._note if failures else None)
        else:
            succeeded, failed = scatter.answer([each.future for each in passengers], outputs), 0
            if self.batcher.queue.handed_out or self.batcher.timed:
                # A future that was handed out knows its request: the two would keep each other alive. So would who watches.
                for each in passengers:
                    each.let_go()
        self._land(succeeded, failed)

    def sole(self, outputs: Any) -> Sequence[Any]:
        """Land with the result of an only item, which is no passenger; return it in a sequence, empty if it is an error."""
        if type(outputs) is not list or len(outputs) != 1:
            outputs = scatter.checked(outputs, 1, self.batcher.name)
        if scatter.any_failed(outputs):
            return ()
        self._land(1, 0)
        return outputs  # type: ignore[no-any-return]

    def fail(self, error: BaseException) -> None:
        """Give every caller a copy of what the function raised."""
        self.error = type(error).__name__
        scatter.let_go(error)
        self._part_all()
        self._land(0, scatter.fail(self.passengers, error, self._note()))

    def close(self, error: Callable[[], Exception]) -> None:
        """Tell every caller that the batcher closes before the batch is back. The flight itself goes on."""
        self._part_all()
        for each in self.passengers:
            if each.place is self:
                each.fail(error(), "closed")

    def _land(self, succeeded: int, failed: int) -> None:
        if self._deadlines is not None:
            self._deadlines.clear()
        self.succeeded, self.failed = succeeded, failed
        tally = self._tally
        tally.succeeded += succeeded
        if failed:
            tally.failed += failed
        left, self.aboard = self.aboard - succeeded - failed, 0
        self.landed = True
        if left:  # cancelled in this very pass, and not resumed yet
            tally.count("cancelled", left)
        self.passengers = []
        self._task = None

    def _note(self) -> str:
        return f"from the function of batcher {self.batcher.name!r}, for a batch of {self.size}"
