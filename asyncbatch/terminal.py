"""What the commands show on a terminal: a bar while something goes on, and tables."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import Self

__all__ = ("Bar", "aligned")


class Bar:
    """One line on standard error while something goes on, gone when it ends; nothing if that is no terminal."""

    def __init__(self, label: str, total: int = 0, unit: str = "") -> None:
        self._label, self._total, self._unit = label, total, unit
        self._done, self._next = 0, 0.0
        self._shown = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def __enter__(self) -> Self:
        self.advance(0)
        return self

    def __exit__(self, *_: object) -> None:
        self._show("")

    def advance(self, done: int = 1) -> None:
        """Note that so many more are done."""
        self.reach(self._done + done)

    def reach(self, done: int) -> None:
        """Note that so many are done in all."""
        self._done = done
        if self._shown and perf_counter() >= self._next:
            self._next = perf_counter() + 0.05  # seconds: as often as an eye follows
            filled = min(30, 30 * done // self._total) if self._total else 0
            of = f"[{'#' * filled:.<30}] {done:,} of {self._total:,}{self._unit}" if self._total else "..."
            self._show(f"{self._label:<15} {of}")

    def _show(self, line: str) -> None:
        if self._shown:
            sys.stderr.write(f"\r{line}\x1b[K")
            sys.stderr.flush()


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table that is aligned as it stands, too: the first column to the left, all others to the right."""
    first, *widths = (max(map(len, column)) for column in zip(header, *rows, strict=True))
    lines = [[name.ljust(first), *map(str.rjust, figures, widths)] for name, *figures in (header, *rows)]
    lines.insert(1, ["-" * first, *("-" * (width - 1) + ":" for width in widths)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
