"""Objectives: policies that learn how long batches take, so that callers are answered in time.

A batch is never made smaller to save whoever has waited longest, as that is what lets a queue collapse under overload:
who cannot be answered in time any more is told so, and the batch stays as large as it can be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from . import parameters
from .batchtime import BatchTime
from .policies import INSTANT

__all__ = ("Aim", "CostObjective", "LatencyObjective")

_KNOWN = 2  # after so many batches what was learnt counts: two make a line, and the first alone is often slow
_FIRST = 4  # items in the first batches, before anything is known of larger ones
# A batch is at most so many times larger than the largest before it: further the line is a guess, and it may well take as
# many times as long. With smaller steps there are more of them, each a batch that leaves most of those who wait behind.
_GROWTH = 8


@dataclass(frozen=True, slots=True)
class LatencyObjective:
    """Answer every caller within `seconds` of the call, and as many callers as can be.

    Batches leave as soon as a slot is free. When one leaves, whoever could not be answered in time even so gets
    `DeadlineExceeded` at once, the one with the least time left first, rather than making all who come after late as
    well: under twice the load that can be served, as many are served as without any overload. How long a batch takes is
    learnt. While the batch has room, an even chance to be in time is enough; when it is full, whoever would take the place
    of another must be in time for a share of `quantile` of all batches.

    The earlier of the objective and a caller's own `timeout=` counts. Of the items of a `map` or `imap`, which is work
    without a hurry, only its own `timeout=` counts. Those who wait while all slots are busy are told when the next is
    free, and who is in a batch that takes longer than expected gets the result late; where neither will do, give a
    `timeout=`. With deadlines of many lengths, use it over `queue=EarliestDeadline()`.

    Raises `TypeError` or `ValueError` for `seconds` that are no number above 0, or a `quantile` not between 0 and 1.
    """

    seconds: float
    quantile: float = 0.9

    thrifty: ClassVar[bool] = False

    def __post_init__(self) -> None:
        parameters.amount("seconds", self.seconds)
        parameters.fraction("quantile", self.quantile)


@dataclass(frozen=True, slots=True)
class CostObjective(LatencyObjective):
    """Answer every caller within `seconds` of the call, with as few batches as can be.

    A batch that is not full is held to the last moment at which it is still back in time, going by how long batches have
    taken. At low load, where `LatencyObjective` runs nearly every item by itself, this makes a fraction of the calls, and
    callers wait for most of their `seconds`. All else is as for `LatencyObjective`.
    """

    thrifty: ClassVar[bool] = True


class Aim:
    """The running state of an objective: what it has learnt, and what follows from it. Numbers in, numbers out."""

    def __init__(self, objective: LatencyObjective, *, costed: bool) -> None:
        self.seconds = objective.seconds
        self.thrifty = objective.thrifty
        self.batch_time = BatchTime(objective.quantile)
        self.known = False
        self.ceiling = self._first = 0.0 if costed else _FIRST  # the largest load that is not a guess,
        self.longest = 0.0  # and how long that takes
        # A timer is whole milliseconds and fires up to two late; of a long time a fiftieth is no loss.
        self._slack = max(0.001, objective.seconds / 50)
        self._landed_at = -math.inf

    def landed(self, now: float, load: float, seconds: float) -> None:
        """Learn from a batch that came back."""
        batch_time = self.batch_time
        self._landed_at = now
        batch_time.observe(load, seconds)
        self.known = batch_time.batches >= _KNOWN
        self.ceiling = max(self._first, _GROWTH * batch_time.largest)
        self.longest = batch_time(self.ceiling)

    def misses(self, now: float, deadline: float, load: float, *, full: bool) -> bool:
        """Tell whether a batch of `load` that leaves `now` comes back after `deadline`.

        In one that is `full`, whoever is not rather sure to be in time would take the place of another; in one that
        has room an even chance is worth a try.
        """
        seconds = self.batch_time(load) if full else self.batch_time.even(load)
        return self.known and now + seconds > deadline + INSTANT

    def probes(self, now: float) -> bool:
        """Tell whether a batch has to run whatever is known: nothing else shows that it is wrong.

        Where nothing was learnt for a while; and at once where nobody could be in time, however soon and small the batch.
        """
        return now - self._landed_at > self.seconds or self.batch_time.even(0) > self.seconds

    def latest_start(self, deadline: float, load: float) -> float:
        """Return until when a batch of `load` can wait and still be back by `deadline`; nothing known is no waiting."""
        return deadline - self.batch_time(load) - self._slack if self.known else -math.inf
