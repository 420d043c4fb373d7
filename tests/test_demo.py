"""`python -m asyncbatch demo`: its text and its index, what it measures and prints, and how it ends."""

from __future__ import annotations

import asyncio
import io
import json
import math
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncbatch import Batcher, __main__, corpus, demo, terminal
from asyncbatch.testing import RecordingFunction

COMMAND = [sys.executable, "-m", "asyncbatch", "demo"]
posix = pytest.mark.skipif(sys.platform == "win32", reason="pipes close and Ctrl-C arrives in another way there")
METHODS = ["One by one", "Static batches", "Dynamic batches"]


def run(*arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=timeout)


# The text.


@pytest.fixture
def library(tmp_path: Path) -> Path:
    files = {
        "shapes/__init__.py": '"""Shapes. They have corners, most of them anyway."""',
        "shapes/square.py": 'class Square:\n    """Four corners."""\n    async def turn(self):\n        """Turn it."""\n',
        "runs.py": '"""Never run."""\nraise SystemExit("it was run")\n',
        "old.py": '"""Old escapes."""\nPATTERN = "\\d"\n',
        "again.py": 'def turn():\n    """Turn it."""\n',
        "broken.py": '"""Not parsed."""\ndef (',
        "null.py": '"""Not parsed either."""\0',
        "test/case.py": '"""Skipped."""',
        "shapes/tests/case.py": '"""Skipped."""',
        "site-packages/other.py": '"""Skipped."""',
        "notes.txt": '"""Not Python."""',
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_docstrings_are_read_without_running_anything(library: Path):
    names = {entry.name: entry.text for path in corpus.sources(library) for entry in corpus.docstrings(path, library)}

    assert names == {
        "again.turn": "Turn it.",
        "old": "Old escapes.",
        "runs": "Never run.",
        "shapes": "Shapes. They have corners, most of them anyway.",
        "shapes.square.Square": "Four corners.",
        "shapes.square.Square.turn": "Turn it.",
    }


def test_of_entries_with_the_same_text_the_first_is_kept(library: Path):
    read = []

    entries = corpus.library(corpus.sources(library), library, lambda: read.append(1))

    assert [entry.name for entry in entries if entry.text == "Turn it."] == ["again.turn"]
    assert len(read) == len(corpus.sources(library))


def test_questions_are_sentences_each_asked_before_any_again():
    text = "Return the path of the first file. Too short.\n\n-------- ------- ---- ------- ----\n\nLeave\n  the path as it stands here."
    entries = [corpus.Entry("a", text), corpus.Entry("b", "Open the folder that has the file.")]
    sentences = {
        "Return the path of the first file.",
        "Leave the path as it stands here.",
        "Open the folder that has the file.",
    }

    asked = corpus.questions(entries, 6)

    assert set(asked[:3]) == set(asked[3:]) == sentences
    assert corpus.questions(entries, 6) == asked
    assert corpus.questions(entries[:1], 1)[0] in sentences
    assert corpus.questions([corpus.Entry("c", "Too short.")], 6) == []


# The index.

TEXTS = [
    "Return the absolute path of a file.",
    "Run a coroutine until it is complete.",
    "Compress a string, return a bytes object.",
    "Run the garbage collector now.",
]


def test_a_text_is_found_by_a_part_of_it():
    index = corpus.Index(TEXTS)
    assert index.search(["the absolute PATH", "until complete?", "compress bytes", "garbage"]) == [0, 1, 2, 3]
    assert index.search([]) == []
    assert index.shape[0] == len(TEXTS)


def test_of_equally_near_texts_the_first_is_found():
    index = corpus.Index(["Something else entirely.", *[TEXTS[0]] * 3])
    assert index.search([TEXTS[0]] * 2) == [1, 1]


def test_what_cannot_be_found_gets_the_first_text():
    assert corpus.Index(TEXTS).search(["", "?", "\ud800"]) == [0, 0, 0]


def test_vectors_have_length_1():
    index = corpus.Index(TEXTS)
    lengths = np.linalg.norm(index.vectors([*TEXTS, "path"]), axis=1)
    assert lengths == pytest.approx(np.ones(5), abs=0.02)


def test_what_all_texts_have_carries_no_weight():
    index = corpus.Index(["the same"] * 3)
    assert not index.vectors(["the same"]).any()
    assert index.search(["the same"]) == [0]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=30), st.lists(st.text(max_size=40), min_size=1, max_size=30))
def test_answers_do_not_depend_on_the_batch(texts: list[str], queries: list[str]):
    index = corpus.Index([*TEXTS, *texts])
    queries = [*queries, *texts, *TEXTS]

    assert index.search(queries) == [index.search([query])[0] for query in queries]


def test_scores_are_exact():
    vectors = corpus.Index(TEXTS).vectors(TEXTS * 9)
    exact = vectors.astype(np.float64)
    assert np.array_equal(vectors @ vectors.T, exact @ exact.T)


# The three ways.

QUERIES = [str(number) for number in range(100)]


def search(queries: list[str]) -> list[int]:
    return [int(query) for query in queries]


@pytest.mark.parametrize(
    ("callers", "size", "max_wait"), [(1, 8, 0.0), (7, 3, math.inf), (8, 8, math.inf), (100, 64, math.inf)]
)
async def test_batches_answer_every_query_in_its_place(callers: int, size: int, max_wait: float):
    function = RecordingFunction(int)
    answered = []

    run = await demo.batched(
        Batcher(function, max_batch_size=size, max_wait=max_wait), QUERIES, callers, lambda: answered.append(1)
    )

    assert run.answers == list(range(100))
    assert len(run.latencies) == len(answered) == 100
    assert run.mean_batch_size == 100 / len(function.batches)
    assert max(map(len, function.batches)) <= min(size, callers)


async def test_static_batches_are_full_but_for_the_last():
    function = RecordingFunction(int)
    await demo.batched(Batcher(function, max_batch_size=8, max_wait=math.inf), QUERIES, 20, lambda: None)
    assert [len(batch) for batch in function.batches] == [8] * 12 + [4]


def test_one_by_one_calls_the_function_for_each_query():
    sizes = []

    def remembering(queries: list[str]) -> list[int]:
        sizes.append(len(queries))
        return search(queries)

    run = asyncio.run(demo.one_by_one(remembering, QUERIES, 8, lambda: None))

    assert run.answers == list(range(100))
    assert sizes == [1] * 100
    assert 0 < run.busy_seconds <= run.seconds


def test_quality_is_the_share_of_answers_that_are_as_one_by_one():
    def worse_in_batches(queries: list[str]) -> list[int]:
        return [-1 if query == "7" and len(queries) > 1 else int(query) for query in queries]

    options = SimpleNamespace(max_batch_size=100, max_wait=0.0, callers=100, price_per_hour=3600.0)
    rows = demo.compare(worse_in_batches, QUERIES, options)

    assert [row["method"] for row in rows] == METHODS
    assert [row["quality"] for row in rows] == [1.0, 0.99, 0.99]
    assert [row["cost"] for row in rows] == [row["busy_seconds"] for row in rows]


def test_percentiles_are_values_that_were_measured():
    values = list(range(100, 0, -1))
    assert [demo.percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50, 99, 100]
    assert demo.percentile([3.0], 0.5) == demo.percentile([3.0], 0.99) == 3.0


# What is shown.


def row(method: str = "One by one", **figures: float) -> demo.Row:
    seconds = figures.get("seconds", 2.0)
    default = {
        "method": method,
        "requests": 2000,
        "seconds": seconds,
        "throughput": 2000 / seconds,
        "p50": 0.25,
        "p99": 0.5,
        "busy_seconds": 1.9,
        "cost": 0.00123456,
        "quality": 1.0,
        "mean_batch_size": 62.5,
    }
    return default | figures


def test_the_table_is_aligned():
    assert demo.table([row(), row("Dynamic batches", seconds=0.5, cost=0.000123456, quality=0.999999, p99=1.5)]) == (
        "| Method          | Requests | Processing time | Throughput | p50 / p99 latency |      Cost |  Quality |\n"
        "| --------------- | -------: | --------------: | ---------: | ----------------: | --------: | -------: |\n"
        "| One by one      |    2,000 |         2.000 s |    1,000/s |  250.0 / 500.0 ms | $0.001235 | 100.00 % |\n"
        "| Dynamic batches |    2,000 |         0.500 s |    4,000/s | 250.0 / 1500.0 ms | $0.000123 |  99.99 % |"
    )


def test_the_table_shows_costs_of_nothing_and_of_much():
    assert "| $0.00 |" in demo.table([row(cost=0.0)])
    assert "| $12345.60 |" in demo.table([row(cost=12345.6)])


def test_the_closing_says_what_was_saved():
    closing = demo.closing(row(cost=0.002), row(seconds=0.5, cost=0.0005))
    assert closing.startswith("Dynamic batches, of 62.5 queries on average, took 75.0 % less time than one by one")
    assert "cost 75.0 % less" in closing
    assert closing.endswith("at 4.00 times the throughput.")


@pytest.mark.parametrize(("seconds", "cost"), [(3.0, 0.001), (1.0, 0.003), (3.0, 0.003), (2.0, 0.002)])
def test_the_closing_says_that_nothing_was_saved(seconds: float, cost: float):
    closing = demo.closing(row(cost=0.002), row(seconds=seconds, cost=cost))
    assert closing.startswith("Batching did not pay here. ")
    assert "% more" in closing


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_shows_how_far_it_is_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    monkeypatch.setattr(terminal, "perf_counter", iter(range(1000)).__next__)
    monkeypatch.setenv("TERM", "xterm")

    with terminal.Bar("Reading", 60) as bar:
        for _ in range(60):
            bar.advance()

    drawn = screen.getvalue().split("\r")
    assert drawn[1] == "Reading         [..............................] 0 of 60\x1b[K"
    assert drawn[-2] == "Reading         [##############################] 60 of 60\x1b[K"
    assert drawn[-1] == "\x1b[K"


@pytest.mark.parametrize(("stream", "term"), [(io.StringIO, "xterm"), (Terminal, "dumb")])
def test_a_bar_is_silent_where_nobody_watches(stream: type[io.StringIO], term: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", stream())
    monkeypatch.setenv("TERM", term)

    with terminal.Bar("Reading", 2) as bar:
        bar.advance()

    assert sys.stderr.getvalue() == ""


def test_a_bar_needs_no_standard_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", None)
    with terminal.Bar("Reading", 2) as bar:
        bar.advance()


# The whole of it, on a small part of the library.


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(sysconfig.get_path("stdlib"), "asyncio")
    monkeypatch.setattr(demo, "sysconfig", SimpleNamespace(get_path=lambda _: str(root)))


def coherent(figures: dict, queries: int, callers: int) -> bool:
    assert [row["method"] for row in figures["rows"]] == METHODS
    assert figures["settings"]["callers"] == callers
    for row in figures["rows"]:
        assert row["requests"] == figures["settings"]["queries"] == queries
        assert row["quality"] == 1.0
        assert row["throughput"] == pytest.approx(queries / row["seconds"])
        assert 0 < row["p50"] <= row["p99"] <= row["seconds"]
        assert row["cost"] == pytest.approx(row["busy_seconds"] * figures["settings"]["price_per_hour"] / 3600)
        assert 1 <= row["mean_batch_size"] <= figures["settings"]["max_batch_size"]
    assert figures["rows"][0]["mean_batch_size"] == 1
    return True


def test_the_figures_alone_can_be_had_on_the_standard_output(small: None, capsys: pytest.CaptureFixture[str]):
    assert __main__.main(["demo", "--queries", "150", "--callers", "20", "--max-batch-size", "9", "--json"]) == 0

    captured = capsys.readouterr()
    assert coherent(json.loads(captured.out), queries=150, callers=20)
    assert captured.err.count("\n| ") == 5


@pytest.mark.parametrize(
    "arguments",
    [
        ["--callers", "1"],
        ["--callers", "3", "--max-batch-size", "1000"],
        ["--callers", "50", "--max-batch-size", "1"],
        ["--callers", "40", "--max-batch-size", "7", "--max-wait", "0.001", "--price-per-hour", "0.25"],
    ],
)
def test_it_ends_whatever_the_sizes(arguments: list[str], small: None, capsys: pytest.CaptureFixture[str]):
    assert demo.main(["--queries", "40", *arguments]) == 0
    assert [line.split("|")[1].strip() for line in capsys.readouterr().out.split("\n")[4:7]] == METHODS


def test_it_runs_without_uvloop(small: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert demo.main(["--queries", "20", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["event_loop"] == "asyncio"


def test_a_python_without_sources_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo, "sysconfig", SimpleNamespace(get_path=lambda _: str(tmp_path)))
    with pytest.raises(SystemExit, match="without the sources of its standard library"):
        __main__.main(["demo"])


def test_figures_that_cannot_be_written_are_told_in_a_line(small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert __main__.main(["demo", "--queries", "20", "--json", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "| Dynamic batches |" in captured.out
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1


# The command line.


@pytest.mark.parametrize(
    "arguments",
    [
        ["--queries", "0"],
        ["--queries", "-1"],
        ["--queries", "many"],
        ["--queries", "1.5"],
        ["--queries", "1000000000"],
        ["--queries"],
        ["--callers", "0"],
        ["--callers", "nan"],
        ["--max-batch-size", "0"],
        ["--max-batch-size", "inf"],
        ["--max-wait", "-0.1"],
        ["--max-wait", "nan"],
        ["--max-wait", "inf"],
        ["--max-wait", "soon"],
        ["--price-per-hour", "0"],
        ["--price-per-hour", "-1"],
        ["--price-per-hour", "nan"],
        ["--price-per-hour", "cheap"],
        ["--json", "no/such/folder/figures.json"],
        ["--fast"],
        ["more"],
    ],
    ids=" ".join,
)
def test_a_bad_option_is_told_in_a_line(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as raised:
        __main__.main(["demo", *arguments])

    assert raised.value.code == 2
    usage, error, end = capsys.readouterr().err.split("\n")
    assert usage == "usage: python -m asyncbatch demo [options]"
    assert error.startswith("python -m asyncbatch demo: error: ")
    assert arguments[0] in error
    assert end == ""


def test_help_lists_every_option(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as raised:
        __main__.main(["demo", "--help"])

    assert raised.value.code == 0
    told = capsys.readouterr().out
    for option in ("queries", "callers", "max-batch-size", "max-wait", "price-per-hour", "json"):
        assert f"--{option} " in told


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_without_a_command_the_commands_are_listed(arguments: Sequence[str]):
    ran = subprocess.run([*COMMAND[:-1], *arguments], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0
    assert ran.stderr == ""
    for command in __main__.COMMANDS:
        assert f"\n  {command}  " in ran.stdout


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as raised:
        __main__.main(["dance"])
    assert raised.value.code == 2
    assert "invalid choice: 'dance'" in capsys.readouterr().err


def test_a_command_is_imported_only_when_it_is_chosen():
    code = "import sys, asyncbatch.__main__ as main; print({'numpy', *map('asyncbatch.'.__add__, main.COMMANDS)} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "set()\n"


# The real thing, in a process of its own.


def test_it_answers_real_queries(tmp_path: Path):
    ran = run("--queries", "200", "--json", str(tmp_path / "figures.json"))

    assert ran.returncode == 0
    assert ran.stderr == ""
    opening, _, *table, _, closing, _, end = ran.stdout.split("\n")
    assert opening.startswith("200 callers search ")
    assert [line.split("|")[1].strip() for line in table[2:]] == METHODS
    assert len({len(line) for line in table}) == 1
    assert "queries on average, took" in closing
    assert end == ""
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert coherent(figures, queries=200, callers=200)
    assert figures["index"]["entries"] > 1000


@posix
def test_a_closed_pipe_ends_it_quietly():
    with subprocess.Popen([*COMMAND, "--queries", "50"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as ran:
        assert "callers search" in ran.stdout.readline()
        ran.stdout.close()
        assert ran.stderr.read() == ""
    assert ran.returncode == 141


@posix
def test_ctrl_c_ends_it_with_a_line():
    command = [*COMMAND, "--queries", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as ran:
        assert "callers search" in ran.stdout.readline()
        ran.send_signal(signal.SIGINT)
        out, err = ran.communicate(timeout=60)
    assert ran.returncode == 130
    assert err == "interrupted\n"
    assert out.strip() == ""
