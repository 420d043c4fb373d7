"""Restarts: how often the lost worker of a slot is replaced, and how soon."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from asyncbatch.errors import WorkerLost

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Restarts",)

_WINDOW = 60.0
_BACKOFF = 0.1
_LONGEST_BACKOFF = 5.0


class Restarts:
    """The losses of one slot: `allowed` a minute are made good, each of them a little later than the one before.

    Who sets `on_loss` is told of each, in whichever thread it is known: the reason and the exit code.
    """

    on_loss: Callable[[str, int | None], None] | None = None

    def __init__(self, name: str, allowed: int) -> None:
        self._name = name
        self._allowed = allowed
        self._losses: deque[float] = deque(maxlen=allowed + 1)

    def lost(self, reason: str, exit_code: int | None = None) -> None:
        """Count a loss."""
        self._losses.append(time.monotonic())
        if self.on_loss is not None:
            self.on_loss(reason, exit_code)

    async def turn(self) -> None:
        """Wait until a worker may be started. Raises `WorkerLost` if too many were lost of late."""
        while self._losses and self._losses[0] <= time.monotonic() - _WINDOW:
            self._losses.popleft()
        lost = len(self._losses)
        if lost > self._allowed:
            raise WorkerLost.too_often(self._name, lost, _WINDOW)
        if lost > 1:
            await asyncio.sleep(min(_BACKOFF * 2 ** (lost - 2), _LONGEST_BACKOFF))
