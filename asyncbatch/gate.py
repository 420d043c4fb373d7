"""The gate: what every caller passes by. It is apart from the queue, as it is read on every request."""

from __future__ import annotations

from typing import Any

__all__ = ("Gate",)


class Gate:
    """How many items were ever `admitted`, and below which count, the `alarm`, one more need not be told to anybody.

    `now` is the time, as long as a resident is about to look: less than a pass, so that the clock need not be asked. The
    `crowd` that is open to those who come is here, with its row and its future, and the count at which it `end`s; None, and
    below any, if the next one has to open one, and so is the alarm. Who comes first then may be served by the `host`, if
    there is one: a resident that dozes, see `alone`.

    It is not compiled when the queue is, see `compiling`: callers are not, and what is compiled is slow to read for them.
    """

    __slots__ = ("admitted", "alarm", "crowd", "end", "host", "now")
    admitted: int
    alarm: float
    end: int
    now: float
    crowd: Any
    host: Any

    def __init__(self) -> None:
        self.admitted = 0
        self.alarm, self.end, self.now = -1, -1, 0.0
        self.crowd = self.host = None
