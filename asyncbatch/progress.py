"""How far an imap is, on the terminal: a bar drawn by rich, in the extra `progress`, or a line of plain text without it."""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TextIO, TypeAlias

from .imap import OnProgress, Progress

_rich: Any = None
with contextlib.suppress(ImportError):
    import rich.console
    import rich.progress

    _rich = rich

__all__ = ("progress_bar",)

_RECENT = 30.0  # seconds
_FAST = 10  # a second: no decimals are needed any more


@contextlib.contextmanager
def progress_bar(total: int | None = None, *, description: str = "", file: TextIO | None = None) -> Iterator[OnProgress]:
    """Show how far an `imap` is while the block runs; what it gives is for `on_progress`.

    `total` is the number of items, if it is known: with it there is a bar, and the time that is left. It goes to `file`, by
    default standard error. A terminal is drawn on ten times a second at most, by rich if that is installed; anywhere else
    a line is written every ten seconds. The last state is always shown. Speed and time left go by the last 30 seconds, so
    what a checkpoint held already, which takes no time, makes them too good for no longer than that.
    """
    where: TextIO = sys.stderr if file is None else file
    live = where.isatty()
    drawing = _line if not live else _overwritten if _rich is None else _bar
    words = _Words(total)
    last: Progress | None = None
    due = 0.0

    def show(progress: Progress) -> None:
        nonlocal last, due
        last = progress
        if progress.seconds >= due:
            due, last = progress.seconds + (0.1 if live else 10.0), None
            draw(progress.done, words(progress))

    with drawing(where, description, total) as draw:
        try:
            yield show
        finally:
            if last is not None:
                draw(last.done, words(last))


_Draw: TypeAlias = Callable[[int, str], None]


@contextlib.contextmanager
def _line(file: TextIO, description: str, _total: int | None) -> Iterator[_Draw]:
    yield lambda _, text: print(f"{description} {text}".strip(), file=file, flush=True)


@contextlib.contextmanager
def _overwritten(file: TextIO, description: str, _total: int | None) -> Iterator[_Draw]:
    try:
        yield lambda _, text: print(f"\r{description} {text}".rstrip(), end="\x1b[K", file=file, flush=True)
    finally:
        print(file=file)


@contextlib.contextmanager
def _bar(file: TextIO, description: str, total: int | None) -> Iterator[_Draw]:
    text = _rich.progress.TextColumn
    columns = text("{task.description}"), _rich.progress.BarColumn(), text("{task.fields[text]}")
    with _rich.progress.Progress(*columns, console=_rich.console.Console(file=file), auto_refresh=False) as bar:
        task = bar.add_task(description, total=total, text="")
        yield lambda done, text: bar.update(task, completed=done, text=text, refresh=True)


class _Words:
    """Words for a progress."""

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._recent = deque([(0.0, 0)])

    def __call__(self, progress: Progress) -> str:
        done, total = progress.done, self._total
        words = [f"{done:,}" if total is None else f"{done:,} of {total:,}"]
        if progress.failed:
            words.append(f"{progress.failed:,} failed")
        if speed := self._speed(progress):
            words.append(f"{speed:,.0f} a second" if speed >= _FAST else f"{speed:.2f} a second")
            if total is not None and done < total:
                words.append(f"{timedelta(seconds=round((total - done) / speed))} to go")
        return ", ".join(words)

    def _speed(self, progress: Progress) -> float:
        self._recent.append((progress.seconds, progress.done))
        while self._recent[1][0] < progress.seconds - _RECENT:
            self._recent.popleft()
        (began, before), seconds = self._recent[0], progress.seconds
        return (progress.done - before) / (seconds - began) if seconds > began else 0.0
