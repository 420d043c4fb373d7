"""Item and result types flow through the public API, and mistakes are found: see `typing_api.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="mypy is in the group `types`, not in `test`")

ROOT = Path(__file__).parent.parent


def test_mypy_finds_the_types_and_the_mistakes_that_the_file_says(tmp_path: Path):
    # Errors in the library itself are for the nox session `types`.
    mypy = [sys.executable, "-m", "mypy", "--follow-imports=silent", f"--cache-dir={tmp_path}", "tests/typing_api.py"]

    ran = subprocess.run(mypy, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)

    assert (ran.stdout.splitlines()[:-1], ran.returncode) == ([], 0)
