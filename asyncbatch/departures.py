"""Departures: whether a batch leaves now and why, else when to ask again. Synchronous, over numbers only."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

from .compiling import mypyc_attr
from .crowd import Crowd
from .errors import DeadlineExceeded
from .objectives import Aim, LatencyObjective
from .policies import INSTANT, TIMER_SLACK, Limits, Outlook, Policy, SizeAndWait, latest_start
from .returning import SHORTEST, Returning

if TYPE_CHECKING:
    from .deadlines import Deadlines
    from .flight import Flight
    from .intake import IntakeQueue
    from .metrics.statistics import Tally
    from .turns import Group

__all__ = ("Departures",)

logger = logging.getLogger("asyncbatch")


@mypyc_attr(allow_interpreted_subclasses=True)
class Departures:
    """The rule of one batcher: full, over budget, closing or flushed leaves at once; of the rest, the policy decides.

    A batch that leaves has at most `size` items and costs at most `budget`.
    """

    lingers = True  # whether it waits for callers just answered that come straight back

    def __init__(
        self,
        name: str,
        limits: Limits,
        policy: Policy | LatencyObjective | None,
        queue: IntakeQueue,
        deadlines: Deadlines,
        tally: Tally,
        *,
        costed: bool,
    ) -> None:
        self.closing = False
        self.flushing = False  # whether some are left to leave because of a flush: those who had arrived by
        self._flushed_at = -math.inf
        self.size, self.budget = 1, math.inf
        self.returning = Returning()
        self._aim: Aim | None = None
        self._policy: Policy | None = None
        if isinstance(policy, LatencyObjective):
            self._aim = Aim(policy, costed=costed)
            queue.objective = policy.seconds
        else:
            self._policy = policy
        self.heeds = SHORTEST if self._aim is None else 0.0  # how long a batch has to run for anything to be learnt from it
        self._default = SizeAndWait(limits)
        self._name = name
        self._limits = limits
        self._queue = queue
        self._line: IntakeQueue | Group = queue  # what is looked at; where each key has a line of its own, one of those
        self._deadlines = deadlines
        self._tally = tally
        self._costed = costed
        self._more = math.inf  # so many further arrivals are what is waited for, if that is less than a full batch

    def decide(self, now: float) -> tuple[float, str]:
        """Return why a batch of those who wait leaves now; or, with no reason, in how many seconds to ask again."""
        line, limits, aim = self._line, self._limits, self._aim
        self.size, self.budget, self._more = limits.max_batch_size, limits.max_batch_cost, math.inf
        if aim is not None:
            self._drop_late(aim, now)
            patient = aim.thrifty
        else:
            patient = limits.max_wait > 0 or self._policy is not None
        reason = self._filled(waiting := line.qsize())
        if reason and patient:
            line.prune(self.size)  # or a batch would leave that is not full after all
            reason = self._filled(waiting := line.qsize())
        if reason:
            return 0.0, reason
        if not waiting:
            return math.inf, ""
        if self.closing:
            return 0.0, "close"
        if self.flushing and line.oldest() <= self._flushed_at:
            return 0.0, "flush"
        if aim is not None:
            return self._hold(aim, now)
        if patient:
            return self._consult(now)
        return self._linger(now) if self.returning.expected and self.lingers else (0.0, "idle")

    def _filled(self, waiting: int) -> str:
        line = self._line
        if waiting >= self.size or waiting >= line.bound:  # no room is as good as full
            return "full"
        if (line.cost if self._costed else waiting) >= self.budget:
            return "cost"
        return ""

    def holds(self) -> bool:
        """Tell whether a batch that is not full may be held back, whoever was answered before."""
        return self._limits.max_wait > 0 or self._policy is not None or self._aim is not None

    def enough(self) -> int:
        """Return how many more arrivals could let a batch leave."""
        waiting = self._line.qsize()
        if not waiting or self._policy is not None or self._costed:
            return 1
        return max(1, int(min(self.size - waiting, self.budget - waiting, self._line.bound - waiting, self._more)))

    def spare(self, now: float) -> float:
        """Return for how many seconds a batch that may leave `now` could wait, and all of it still be in time."""
        return self._latest(0) - now

    def _latest(self, more: int) -> float:
        """Return until when a batch of those who wait, and of `more` like them, can wait and still be in time."""
        aim, due = self._aim, self._nearest()
        if aim is None:
            return due - self._tally.run_time - TIMER_SLACK
        return aim.latest_start(min(due, self._line.oldest() + aim.seconds), self._load(more))

    def flush(self, now: float) -> None:
        """Let all that waits `now` leave without further waiting, those who wait for room included."""
        self.flushing = not self._queue.empty() or len(self._queue.lobby) > 0
        self._flushed_at = now

    def landed(self, flight: Flight, seconds: float, now: float) -> None:
        """Learn from a batch that came back after `seconds`."""
        if seconds >= SHORTEST:
            waiting, admitted = self._queue.qsize(), self._queue.gate.admitted
            self.returning.landed(now, flight.size, waiting, admitted, self._tally.recent)
        if self._aim is not None and flight.error is None:
            self._aim.landed(now, flight.cost if self._costed else flight.size, seconds)

    # With max_wait, or a policy.

    def _consult(self, now: float) -> tuple[float, str]:
        line = self._line
        waiting = line.qsize()
        cost = line.cost if self._costed else float(waiting)
        outlook = Outlook(now, waiting, cost, line.oldest(), self._nearest(), self._tally.run_time)
        wait = self._ask(outlook)
        if wait > INSTANT:
            return wait, ""
        if self._policy is not None:
            return 0.0, "policy"
        return 0.0, "deadline" if latest_start(outlook) < outlook.oldest + self._limits.max_wait else "wait"

    def _nearest(self) -> float:
        return self._deadlines.nearest()

    def _ask(self, outlook: Outlook) -> float:
        if self._policy is not None:
            try:
                wait = float(self._policy(outlook))
                if not math.isnan(wait):
                    return wait
                logger.error("the policy of batcher %r returned NaN; max_wait was used instead", self._name)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:
                logger.exception("the policy of batcher %r raised; max_wait was used instead", self._name)
        return self._default(outlook)

    # With neither.

    def _linger(self, now: float) -> tuple[float, str]:
        until = min(self._until_back(now), self._latest(0))
        return (until - now, "") if until - now > INSTANT else (0.0, "idle")

    def _until_back(self, now: float) -> float:
        """Return until when to wait for callers just answered."""
        missing = self.returning.expected - self._queue.qsize()
        if missing <= 0:
            return now
        self._more = float(missing)
        return self.returning.until(now, self._queue.gate.admitted)

    # With an objective.

    def _hold(self, aim: Aim, now: float) -> tuple[float, str]:
        """Return for how long a batch that is not full waits for more, or why it leaves."""
        if aim.thrifty:
            more = max(1, self._line.qsize() // 4)  # each look costs: not at every arrival
            self._more = float(more)
            until = self._latest(more)
        elif self.returning.expected and self.lingers:
            until = min(self._until_back(now), self._latest(1))
        else:
            return 0.0, "idle"
        return (until - now, "") if until - now > INSTANT else (0.0, "deadline" if aim.thrifty and aim.known else "idle")

    def _load(self, more: int) -> float:
        """Return the load of a batch of those who wait, and of `more` like them: their cost, or else their number."""
        count = min(self._line.qsize() + more, self.size)
        return min(self._line.worth(count) if self._costed else count, self.budget)

    def _drop_late(self, aim: Aim, now: float) -> None:
        """Tell those who cannot be answered in time, even if the batch leaves now."""
        line = self._line
        if self._costed:
            self.budget = min(self.budget, aim.ceiling)
        else:
            self.size = int(min(self.size, aim.ceiling))
        # Mostly nobody is late, however large the batch.
        if now + aim.longest <= line.oldest() + aim.seconds and self._nearest() == math.inf:
            return
        while line.qsize():
            request, due = self._most_urgent(aim.seconds)
            if request is None or not aim.misses(now, due, self._load(0), full=bool(self._filled(line.qsize()))):
                return
            size = 1 if type(request) is Crowd else request.size
            if size == line.qsize() and aim.probes(now):
                return
            request = self._queue.single(request)
            error = self._too_late(now - request.arrived, aim.batch_time(self._load(0)))
            if due < request.deadline:
                request.fail(error, "expired")
            else:
                self._deadlines.dismiss(request, error)

    def _most_urgent(self, seconds: float) -> tuple[Any, float]:
        """Return who has the least time left, and when that is up."""
        eldest, hurried = self._line.eldest(), self._first_due()
        due = math.inf if eldest is None or eldest.patient else eldest.arrived + seconds
        return (eldest, due) if hurried is None or due <= hurried.deadline else (hurried, hurried.deadline)

    def _first_due(self) -> Any:
        return self._deadlines.first()

    def _too_late(self, waited: float, needed: float) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"batcher {self._name!r} could not answer this request in time any more: it waited {waited:.3f} s, and a batch "
            f"takes {needed:.3f} s by now; let fewer requests come, or give the batcher more capacity or a larger objective"
        )
