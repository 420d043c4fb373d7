"""Every example runs as its first lines say, and prints what they say; those in folders have tests of their own."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted(path for path in HERE.rglob("*.py") if not path.name.startswith("test_"))
TESTS = [*HERE.rglob("test_*.py"), HERE.parent / "noxfile.py"]
SCRIPTS = sorted(path for path in HERE.glob("*.py") if not path.name.startswith("test_"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_prints_what_it_says(script: Path):
    text = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8")))
    assert f"Run it: python examples/{script.name}\n" in text
    said = re.sub("^    ", "", text.partition("It prints:\n\n")[2], flags=re.MULTILINE)

    ran = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True, timeout=60, check=False)

    assert (ran.stdout, ran.stderr, ran.returncode) == (said + "\n", "", 0)


def is_part(file: Path) -> bool:
    """Whether another example in its folder imports it."""
    others = (each.read_text(encoding="utf-8") for each in file.parent.glob("*.py") if each != file)
    return any(re.search(rf"^(from|import) {file.stem}\b", other, re.MULTILINE) for other in others)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(HERE).as_posix())
def test_the_first_lines_say_what_an_example_shows_and_how_to_run_it_and_a_nox_session_does(file: Path):
    title, _, text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))).partition("\n")
    assert re.match("[A-Z].{30}", title)
    if not is_part(file):
        assert re.search(rf"^(Run it.*:|    python) .*\b{file.stem}(\.py|:)", text, re.MULTILINE)
        assert file in SCRIPTS or any(re.search(rf"\b{file.stem}\b", test.read_text(encoding="utf-8")) for test in TESTS)
