"""The doorbell: an `asyncio.Queue` that counts what arrives, and wakes those who doze on it only when it matters.

Counts are absolute (`admitted`, `gone`), so that arriving is one addition and one comparison with `alarm`, below which
nobody has to be woken, and neither the queue nor the crowd that is open is full.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import Any

from .compiling import mypyc_attr
from .gate import Gate
from .here import future_maker

__all__ = ("Doorbell",)

# As good as none, and a whole number: each caller compares with what follows from it, which is slow with a float.
_NO_BOUND = 2**28


@mypyc_attr(allow_interpreted_subclasses=True)
class Doorbell(asyncio.Queue[Any]):
    """A queue that holds `bound` items; where they are `costed`, or it is `watchful`, every arrival matters."""

    gone: int
    _queue: deque[Any]

    def __init__(self, bound: float, *, costed: bool) -> None:
        self.gone = 0  # items that were taken or left
        self.outside = 0  # items that wait for room, and are in the order all the same
        self.alone: Any = None  # a request that waits, and does not stand in the line yet, see `alone`
        self.watchful = self.costed = costed
        self.bound = int(min(bound, _NO_BOUND))
        self._loop = asyncio.get_running_loop()
        self._make_future = future_maker(self._loop)
        self.gate = Gate()
        self.idle: deque[tuple[asyncio.Future[bool], asyncio.TimerHandle | None]] = deque()
        self._wake_at: float = math.inf
        super().__init__(bound)  # type: ignore[arg-type]  # inf is a size here, and compares as one

    def qsize(self) -> int:
        return self.gate.admitted - self.gone

    def empty(self) -> bool:
        return self.gate.admitted == self.gone

    def full(self) -> bool:
        return self.qsize() >= self.bound

    def let_in(self) -> None:
        """Let as many of those outside in as there is room for."""
        entering = min(self.outside, self.bound - self.qsize())
        self.outside -= entering
        self.gate.admitted += entering
        if self.gate.admitted > self._wake_at:
            self.ring()

    def doze(self, more: float, timeout: float) -> asyncio.Future[bool]:
        """Return a future: False once `more` further items are in, or at a `ring`; True if `timeout` seconds came first."""
        getter: asyncio.Future[bool] = self._make_future()
        timer = self._loop.call_later(timeout, self._time_up, getter) if timeout < math.inf else None
        self.idle.append((getter, timer))
        self._wake_at = self.gate.admitted + more - 1
        if self.gate.end >= 0:
            self._set_alarm()
        return getter

    def ring(self, now: float = 0.0) -> None:
        """Wake the resident that has been idle longest, if there is one; the time need not be asked for if it is given."""
        self.gate.host = None
        if (request := self.alone) is not None:
            self.alone = None
            request.give(self._make_future())
            self._queue.append(request)
        while self.idle:
            getter, timer = self.idle.popleft()
            if timer is not None:
                timer.cancel()
            if not getter.done():
                getter.set_result(False)
                self.gate.now = now or self._loop.time()
                break
        self._wake_at = math.inf  # where that raises the alarm, the next arrival will

    def ring_all(self) -> None:
        while self.idle:
            self.ring()

    def hand_over(self) -> None:
        """See to it that what still waits, or else the next arrival, wakes one of the residents that are idle."""
        if not self.idle:
            self._wake_at = math.inf
        elif self.gate.admitted != self.gone:
            self.ring()
        else:
            self._wake_at = float(self.gate.admitted)  # mypyc takes no int for it
            if self.gate.end >= 0:
                self._set_alarm()

    def forget(self, getter: asyncio.Future[bool]) -> None:
        """Take the future of a resident that was cancelled out of the line of those to wake."""
        for each in tuple(self.idle):
            if each[0] is getter:
                self.idle.remove(each)
                if each[1] is not None:
                    each[1].cancel()

    def _time_up(self, getter: asyncio.Future[bool]) -> None:
        self.forget(getter)
        if not getter.done():
            getter.set_result(True)

    def be_watchful(self, watchful: bool) -> None:
        """Let every arrival matter, or only those that must."""
        self.watchful = watchful or self.costed
        self._set_alarm()

    def _set_alarm(self) -> None:
        alarm, full_at, wake_at = self.gate.end, self.gone + self.bound, self._wake_at
        if self.watchful:
            alarm = -1
        elif full_at < alarm:
            alarm = full_at
        self.gate.alarm = wake_at if wake_at < alarm else alarm
