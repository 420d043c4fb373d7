"""Every example runs as its first lines say, and prints what they say."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCRIPTS = sorted(path for path in HERE.glob("*.py") if not path.name.startswith("test_"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_prints_what_it_says(script: Path):
    text = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8")))
    assert f"Run it: python examples/{script.name}\n" in text
    said = re.sub("^    ", "", text.partition("It prints:\n\n")[2], flags=re.MULTILINE)

    ran = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True, timeout=60, check=False)

    assert (ran.stdout, ran.stderr, ran.returncode) == (said + "\n", "", 0)
