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
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

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
