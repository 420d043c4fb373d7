"""The compiled core: the same sources, through mypyc. `nox -s compiled` runs all tests against it."""

from __future__ import annotations

import importlib
import os
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOOK = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]
ROOMS = [file.removesuffix(".py").replace("/", ".") for file in HOOK["include"]]


@pytest.mark.parametrize("room", ROOMS)
def test_what_runs_is_what_is_to_be_tested(room):
    file = importlib.import_module(room).__file__
    assert file.endswith(".py") != ("ASYNCBATCH_COMPILED" in os.environ), file
