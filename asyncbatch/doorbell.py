"""The doorbell: an `asyncio.Queue` that counts what arrives, and wakes those who doze on it only when it matters.

Counts are absolute (`admitted`, `gone`), so that arriving is one addition and one comparison with `alarm`, below which
nobody has to be woken and the queue is not full.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import Any

from .compiling import mypyc_attr
from .crowd import Crowd
from .gate import Gate
from .here import future_maker

__all__ = ("Doorbell",)

# As good as none, and a whole number: each caller compares with what follows from it, which is slow with a float.
_NO_BOUND = 2**28


@mypyc_attr(allow_interpreted_subclasses=True)
class Doorbell(asyncio.Queue[Any]):
    """A queue that holds `bound` items; `watchful` makes every arrival matter."""

    gone: int

    def __init__(self, bound: float, *, watchful: bool) -> None:
        self.gone = 0  # items that were taken or left
        self.outside = 0  # items that wait for room, and are in the order all the same
        self.watchful = self._always = watchful
        self.bound = int(min(bound, _NO_BOUND))
        self._loop = asyncio.get_running_loop()
        self._make_future = future_maker(self._loop)
        self.gate = Gate(Crowd(type(self._make_future()).done))
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
        self._set_alarm()
        return getter

    def ring(self) -> None:
        """Wake the resident that has been idle longest, if there is one."""
        while self.idle:
            getter, timer = self.idle.popleft()
            if timer is not None:
                timer.cancel()
            if not getter.done():
                getter.set_result(False)
                self.gate.now = self._loop.time()
                break
        self._wake_at = math.inf
        self.gate.alarm = -1 if self.watchful else self.gone + self.bound

    def ring_all(self) -> None:
        while self.idle:
            self.ring()

    def hand_over(self) -> None:
        """See to it that what still waits, or else the next arrival, wakes one of the residents that are idle."""
        if not self.idle:
            self._wake_at = math.inf
            self.gate.alarm = -1 if self.watchful else self.gone + self.bound
        elif self.gate.admitted != self.gone:
            self.ring()
        else:
            self._wake_at = float(self.gate.admitted)  # mypyc takes no int for it
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
        self.watchful = watchful or self._always
        self._set_alarm()

    def _set_alarm(self) -> None:
        full_at, wake_at = self.gone + self.bound, self._wake_at
        self.gate.alarm = -1 if self.watchful else full_at if full_at < wake_at else wake_at
