"""README.md does what it says: every Python block runs and prints what stands there, and the two commands are the real ones.

A block that begins with an import is a complete program and runs as one. All others are for `python -m asyncio`: they run
after the first block of the guide, with `await` at the top. What a block prints stands in the text block after it, or in the
comments of its prints.
"""

from __future__ import annotations

import ast
import asyncio
import codeop
import inspect
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PRINT = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    line: int
    code: str
    prints: str

    @property
    def is_program(self) -> bool:
        return self.code.startswith(("import ", "from "))


def blocks() -> list[Block]:
    found = []
    for match in re.finditer(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", README, re.MULTILINE | re.DOTALL):
        code, output = match.groups()
        line = README.count("\n", 0, match.start(1))
        found.append(Block(line, code, output or "".join(f"{each}\n" for each in PRINT.findall(code))))
    return found


BLOCKS = blocks()
PREAMBLE = next(block for block in BLOCKS if block.line > README.count("\n", 0, README.index("## Guide")))
SNIPPETS = [block for block in BLOCKS if not block.is_program]
PROGRAMS = [block for block in BLOCKS if block.is_program and block is not PREAMBLE]


def at_line(block: Block) -> str:
    return f"line {block.line + 1}"


@pytest.mark.parametrize("block", PROGRAMS, ids=at_line)
def test_a_program_prints_what_it_says(block: Block, tmp_path: Path):
    if "RayExecutor" in block.code:
        pytest.importorskip("ray", reason="Ray is not installed; `nox -s ray` runs this program")
    program = tmp_path / "program.py"  # a file, as worker processes import it
    program.write_text(block.code, encoding="utf-8")

    ran = subprocess.run([sys.executable, "-W", "error", program], capture_output=True, text=True, timeout=60, check=False)

    assert (ran.stdout, ran.stderr, ran.returncode) == (block.prints, "", 0)


@pytest.mark.parametrize("block", SNIPPETS, ids=at_line)
def test_a_snippet_prints_what_it_says(block: Block, capsys: pytest.CaptureFixture[str]):
    namespace: dict[str, object] = {"__name__": "__main__"}
    exec(PREAMBLE.code, namespace)

    run(block, namespace)

    assert capsys.readouterr().out == block.prints


def run(block: Block, namespace: dict[str, object]) -> None:
    padding = "\n" * block.line  # so that tracebacks show the line of README.md
    code = compile(padding + block.code, ROOT / "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:

        async def main() -> None:
            await eval(code, namespace)

        asyncio.run(main())
    else:
        exec(code, namespace)


@pytest.mark.parametrize("block", [PREAMBLE, *SNIPPETS], ids=at_line)
def test_a_snippet_can_be_pasted_at_the_prompt(block: Block):
    compiler = codeop.CommandCompiler()
    compiler.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    typed = ""
    for line in [*block.code.splitlines(), ""]:
        typed = f"{typed}\n{line}" if typed else line
        if compiler(typed, "README.md", "single") is not None:  # a SyntaxError is what the prompt would say
            typed = ""
    assert typed == "", "unfinished; a block of code at the prompt ends with an empty line"


@pytest.mark.parametrize("block", SNIPPETS + PROGRAMS, ids=at_line)
def test_no_print_is_without_its_output(block: Block):
    assert block.prints or "print" not in block.code


# The two commands.


def commands() -> tuple[str, str]:
    demo, tests = re.search(r"^```sh\n(.*?)^```\n", README, re.MULTILINE | re.DOTALL)[1].splitlines()
    return demo, tests


def test_the_commands_are_single_lines_that_need_only_python():
    for command in commands():
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
        assert not command.endswith("\\")


def test_the_commands_run_what_nox_runs():
    demo, tests = commands()
    sessions = {
        each.name: ast.unparse(each)
        for each in ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8")).body
        if isinstance(each, ast.FunctionDef)
    }

    assert demo.endswith(".venv/bin/python -m asyncbatch demo")
    assert "session.run('python', '-m', 'asyncbatch', 'demo'" in sessions["demo"]
    assert tests.endswith(".venv/bin/nox -s tests")
    assert "'pytest'" in sessions["tests"]


def test_ci_runs_the_command_for_the_tests():
    ci = ROOT / ".ci" / "run"
    if not ci.exists():
        pytest.skip("no .ci/run here")
    assert "grep -m1 'nox -s tests' README.md" in ci.read_text(encoding="utf-8")
    assert next(line for line in README.splitlines() if "nox -s tests" in line) == commands()[1]


def test_every_link_leads_somewhere():
    for path in re.findall(r"\]\(([^)#]+)\)", README) + re.findall(r"`((?:examples|tests|asyncbatch)/[\w./]+)`", README):
        assert (ROOT / path).exists(), path


# What was measured

CARRIERS = {
    "the work in this process": "here",
    "a thread, `loop.run_in_executor`": "thread",
    "`ThreadExecutor` alone": "asyncbatch_thread",
    "`ProcessExecutor` alone": "asyncbatch_slot",
    "`ProcessExecutor`, through `Batcher.map`": "asyncbatch",
    "`ProcessPoolExecutor`": "process_pool",
    "loky": "loky",
    "joblib": "joblib_loky",
    "`anyio.to_process`": "anyio_process",
    "a bare Ray actor, awaited": "ray_actor",
    "`RayExecutor` alone": "asyncbatch_ray",
}


def results(name: str) -> dict[str, Any]:
    file = ROOT / "bench" / "results" / name
    if not file.exists():
        pytest.skip(f"no {name} here")
    return json.loads(file.read_text())


def rows(after: str) -> dict[str, list[str]]:
    """The cells of the first table after some words, by what stands in the first of each row."""
    table = re.search(r"(?:^\|.*\n)+", README[README.index(after) :], re.MULTILINE)[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {first: rest for first, *rest in cells}


def test_the_trips_are_those_that_were_measured():
    trips = results("executors.json")["trips"]

    assert rows("What the trip of a batch to a worker and back costs") == {
        row: [f"{trips[case][carrier]['least']:,.0f}" for case in ("integers", "rows", "images")]
        for row, carrier in CARRIERS.items()
    }


def test_the_trips_are_the_same_where_an_executor_is_chosen():
    trips = results("executors.json")["trips"]["integers"]
    told = [cells[2] for cells in rows("### Where does my batch run").values() if " us" in cells[2]]

    carriers = (["asyncbatch_thread"], ["asyncbatch_slot"], ["asyncbatch_ray"], ["process_pool", "loky"])
    assert told == [", ".join(f"{trips[each]['least']:,.0f} us" for each in names) for names in carriers]


def test_the_bottlenecks_are_those_that_were_worked_out():
    found = results("scale.json")
    names = ("64 integers", "64 x 384 float32", "64 x 3 x 224 x 224 float32")

    def told(value: float) -> str:
        return f"{value:,.0f}"

    assert rows("How far one process goes says") == {
        name: [
            *map(told, (each["bytes_each_way"], each["loop_us"], each["trip_us"], each["replicas_a_process"])),
            told(each["replicas_a_network"]) if each["replicas_a_network"] < 1000 else "more than 1,000",
            told(each["processes_for_a_thousand"]),
        ]
        for name, each in zip(names, found["limits"].values(), strict=True)
    }
    costs = found["loop_us_an_item"].values()
    assert f"{min(costs):.1f} to {max(costs):.1f} us an item" in README
    assert f"{found['limits']['images']['bytes_in_flight_for_a_thousand'] / 1e9:.0f} GB" in README


# Of each row of who shares a batch, where its function waits.
WAITING = {
    "**asyncbatch, in a thread**": "thread",
    "**in a process**": "process",
    "**on the loop, awaiting a thread**": "loop",
    "the loop by hand, in a thread": "hand",
}


def test_who_shares_a_batch_is_what_was_measured():
    found = results("halves.json")
    cases = [(function, size) for function in found["settings"]["functions"] for size in (16, 64)]
    of = {(each["function"], each["connections"], each["place"]): each for each in found["rows"]}

    def told(each: dict) -> str:
        answered, p99 = each["answered"]["median"], each["p99_ms"]["median"]
        return f"{answered:,.0f} ({p99:.{0 if p99 >= 9.95 else 1}f})"

    assert {row: [cell.strip("*") for cell in cells] for row, cells in rows("Where the function mostly waits").items()} == {
        row: [told(of[*case, place]) for case in cases] for row, place in WAITING.items()
    }


# Of each workload, which way of answering in batches is told of.
BATCHED = {
    "recommender": "In batches",
    "digits": "In batches",
    "speech": "In batches by length",
    "payments": "Windows of 2 ms",
}


def test_what_it_saves_is_what_was_measured():
    found = results("workloads.json")["workloads"]

    def told(name: str, method: str) -> list[str]:
        ways = {row["method"]: row for row in found[name]["rows"]}
        pair = [ways["One by one"], ways[method]]
        assert ways[method]["quality"] == pytest.approx(ways["One by one"]["quality"], abs=1e-9)
        million = [row["cost"]["median"] / row["requests"] * 1e6 for row in pair]
        return [
            f"{pair[0]['requests']:,}",
            " and ".join(f"{row['seconds']['median']:.2f} s" for row in pair),
            " and ".join(f"{row['cpu_seconds']['median']:.2f} s" for row in pair),
            " and ".join(f"${cost:.3f}" for cost in million),
            ", ".join(f"{of} {share * 100:.1f} %" for of, share in pair[0]["quality"].items()),
            f"{next(iter(found[name]['curves'].values()))['r']:.2g}",
        ]

    assert [*rows("## What it saves").values()] == [told(name, method) for name, method in BATCHED.items()]


def test_where_batches_do_not_pay_is_what_was_measured():
    found = results("workloads.json")["workloads"]
    section = README[README.index("It does not pay everywhere") : README.index("## How fast")]

    def median(rows: list[dict[str, Any]], method: str, figure: str) -> float:
        return next(row[figure]["median"] for row in rows if row["method"] == method)

    rates, texts = found["payments"]["rates"], found["recommender"]["rows"]
    assert [float(each) for each in re.findall(r"\d+\.\d+", section)] == [
        round(found["recommender"]["curves"]["long texts (1200 characters)"]["r"], 1),
        *(round(median(rates["1000"], method, "cpu_seconds"), 2) for method in ("One by one", "Windows of 0 ms")),
        *(round(median(rates["24000"], method, "cpu_seconds"), 2) for method in ("One by one", "Windows of 2 ms")),
        *(round(1e3 * median(rates["24000"], method, "p50"), 1) for method in ("One by one", "Windows of 2 ms")),
        *(round(median(texts, method, "p99"), 1) for method in ("One by one", "In batches")),
    ]
