"""A progress bar: what is shown, how often, and where, with rich and without."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from callers import running

from asyncbatch import Progress, progress
from asyncbatch.progress import progress_bar
from asyncbatch.testing import RecordingFunction


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(params=["rich", "plain"])
def terminal(request, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    if request.param == "plain":
        monkeypatch.setattr(progress, "_rich", None)
    return Terminal()


def shown(file):
    """What was written, each state by itself."""
    return file.getvalue().replace("\x1b[K", "").replace("\r", "\n").split("\n")


def tell(bar, *states, every=1.0):
    for n, (done, failed) in enumerate(states):
        bar(Progress(done, failed, 0, n * every))


def test_on_a_terminal_each_state_is_drawn_over_the_last(terminal):
    with progress_bar(2_000, description="embed", file=terminal) as bar:
        tell(bar, (0, 0), (1_000, 0), (1_500, 3), (2_000, 3))
    text = terminal.getvalue()
    for words in ("embed", "1,000 of 2,000, 1,000 a second, 0:00:01 to go", "1,500 of 2,000, 3 failed, 750 a second"):
        assert words in text
    assert "2,000 of 2,000, 3 failed, 667 a second" in shown(terminal)[-2]
    assert text.removesuffix("\x1b[?25h").endswith("\n")  # with the cursor shown again


def test_a_terminal_is_drawn_on_ten_times_a_second_at_most_and_last_at_the_end(terminal):
    with progress_bar(file=terminal) as bar:
        tell(bar, *[(n, 0) for n in range(2_000)], every=0.001)
    text = terminal.getvalue()
    assert text.count(" a second") < 25
    assert "1,999, 1,000 a second" in text


def test_the_last_state_is_shown_when_an_error_ends_it(terminal):
    with pytest.raises(KeyError), progress_bar(file=terminal) as bar:
        tell(bar, (1, 0), (2, 1), every=0.01)
        raise KeyError
    assert "2, 1 failed" in terminal.getvalue()


def test_elsewhere_it_is_a_line_every_ten_seconds():
    file = io.StringIO()
    with progress_bar(100, description="embed", file=file) as bar:
        tell(bar, *[(n, 0) for n in range(24)])
    assert shown(file) == [
        "embed 0 of 100",
        "embed 10 of 100, 1.00 a second, 0:01:30 to go",
        "embed 20 of 100, 1.00 a second, 0:01:20 to go",
        "embed 23 of 100, 1.00 a second, 0:01:17 to go",
        "",
    ]


def test_speed_goes_by_the_last_half_minute():
    file = io.StringIO()
    with progress_bar(1_000_100, file=file) as bar:
        bar(Progress(1_000_000, 0, 0, 1.0))  # from a checkpoint
        tell(bar, *[(1_000_000 + n, 0) for n in range(80)])
    assert shown(file)[-2] == "1,000,079 of 1,000,100, 1.00 a second, 0:00:21 to go"


@pytest.mark.virtual
async def test_it_shows_an_imap(capsys):
    async with running(RecordingFunction(seconds=5), max_batch_size=2) as batcher:
        with progress_bar(4) as bar:
            assert [each async for each in batcher.imap(range(4), on_progress=bar)] == [0, 1, 2, 3]
    assert capsys.readouterr().err.split("\n") == ["1 of 4, 0.20 a second, 0:00:15 to go", "4 of 4, 0.40 a second", ""]


def test_it_does_without_rich():
    code = "import sys; sys.modules['rich'] = None; from asyncbatch.progress import _rich; print(_rich)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "None\n"
