"""Departures: whether a batch leaves now and why, else when to ask again. Synchronous, over numbers only."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from .policies import Limits, Outlook, Policy, SizeAndWait, latest_start

if TYPE_CHECKING:
    from .deadlines import Deadlines
    from .intake import IntakeQueue
    from .metrics.statistics import Tally

__all__ = ("INSTANT", "Departures")

logger = logging.getLogger("asyncbatch")

# Less than this is not worth a timer, and may be the rounding of a due time that has come.
INSTANT = 1e-6


class Departures:
    """The rule of one batcher: full, over budget, closing or flushed leaves at once; of the rest, the policy decides."""

    def __init__(
        self,
        name: str,
        limits: Limits,
        policy: Policy | None,
        queue: IntakeQueue,
        deadlines: Deadlines,
        tally: Tally,
        *,
        costed: bool,
    ) -> None:
        self.closing = False
        self._name = name
        self._limits = limits
        self._policy = policy
        self._default = SizeAndWait(limits)
        self._queue = queue
        self._deadlines = deadlines
        self._tally = tally
        self._costed = costed
        self.flushing = False  # whether some are left to leave because of a flush: those who had arrived by
        self._flushed_at = -math.inf

    def decide(self, now: float) -> tuple[float, str]:
        """Return why a batch of those who wait leaves now; or, with no reason, in how many seconds to ask again."""
        queue = self._queue
        patient = self._limits.max_wait or self._policy is not None
        reason = self._filled()
        if reason and patient:
            queue.prune(self._limits.max_batch_size)  # or a batch would leave that is not full after all
            reason = self._filled()
        if reason:
            return 0.0, reason
        if queue.admitted == queue.gone:
            return math.inf, ""
        if self.closing:
            return 0.0, "close"
        if self.flushing and queue.oldest() <= self._flushed_at:
            return 0.0, "flush"
        return self._consult(now) if patient else (0.0, "idle")

    def _filled(self) -> str:
        queue = self._queue
        waiting = queue.admitted - queue.gone
        if waiting >= self._limits.max_batch_size or waiting >= queue.bound:  # no room is as good as full
            return "full"
        if (queue.cost if self._costed else waiting) >= self._limits.max_batch_cost:
            return "cost"
        return ""

    def enough(self) -> int:
        """Return how many more arrivals could let a batch leave."""
        waiting = self._queue.admitted - self._queue.gone
        if not waiting or self._policy is not None or self._costed:
            return 1
        return max(1, int(min(self._limits.max_batch_size, self._limits.max_batch_cost, self._queue.bound)) - waiting)

    def flush(self, now: float) -> None:
        """Let all that waits `now` leave without further waiting, those who wait for room included."""
        self.flushing = not self._queue.empty() or len(self._queue.lobby) > 0
        self._flushed_at = now

    def _consult(self, now: float) -> tuple[float, str]:
        queue = self._queue
        cost = queue.cost if self._costed else float(queue.qsize())
        outlook = Outlook(now, queue.qsize(), cost, queue.oldest(), self._nearest(), self._tally.run_time)
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
