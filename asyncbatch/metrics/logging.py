"""Logs: events as records of the standard `logging`. The message is for people, the attributes for programs.

    Batcher(embed, observers=[LoggingObserver()])

A record has the attribute `event`, the name of the event's class, and its fields, such as `batcher` and `size`, but for
those that have an entry for each request. No record holds an item or a result.
"""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from .events import BatchEnded, WorkerDied

if TYPE_CHECKING:
    from .events import Event

__all__ = ("LoggingObserver",)


class LoggingObserver:
    """An observer that logs each event to `logger`, by default `asyncbatch.events`, at `level`, by default DEBUG.

    A batch that failed as a whole, and a worker that was lost, are a WARNING.
    """

    def __init__(self, logger: logging.Logger | None = None, level: int = logging.DEBUG) -> None:
        self._logger = logging.getLogger("asyncbatch.events") if logger is None else logger
        self._level = level

    def __call__(self, event: Event) -> None:
        """Log `event`."""
        bad = isinstance(event, WorkerDied) or (isinstance(event, BatchEnded) and event.error is not None)
        level = logging.WARNING if bad else self._level
        if self._logger.isEnabledFor(level):
            said = {field.name: getattr(event, field.name) for field in fields(event) if field.name not in _LONG}
            text = ", ".join(f"{name} {_short(value)}" for name, value in said.items() if name != "batcher")
            kind = type(event).__name__
            self._logger.log(level, "%s of batcher %r: %s", kind, event.batcher, text, extra={"event": kind, **said})


_LONG = {"waits", "callers"}  # one for each request


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
