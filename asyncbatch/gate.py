"""The gate: what every caller passes by. It is apart from the queue, as it is read on every request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .crowd import Crowd

__all__ = ("Gate",)


class Gate:
    """How many items were ever `admitted`, and below which count, the `alarm`, one more need not be told to anybody.

    `now` is the time, as long as a resident is about to look: less than a pass, so that the clock need not be asked. The
    `crowd`, with its `row`, is who came last, side by side.

    It is not compiled when the queue is, see `compiling`: callers are not, and what is compiled is slow to read for them.
    """

    __slots__ = ("admitted", "alarm", "crowd", "now", "row")
    admitted: int
    alarm: float
    now: float
    crowd: Crowd
    row: list[Any]

    def __init__(self, crowd: Crowd) -> None:
        self.admitted = 0
        self.alarm, self.now = 0, 0.0
        self.gather(crowd)

    def gather(self, crowd: Crowd) -> None:
        """Let those who come from now on come to `crowd`."""
        self.crowd, self.row = crowd, crowd.row
