"""One virtual environment for each set of requirements: no peer's dependencies touch another's, or those of the bench.

They are kept in the system's folder for temporary files, and brought up to the newest releases before each bench.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parents[1]
ROOT = BENCH.parent
HOME = Path(tempfile.gettempdir()) / f"asyncbatch-bench-{os.getuid() if hasattr(os, 'getuid') else 0}"
UVLOOP = "uvloop; sys_platform != 'win32'"
VERSIONS = "import json; from importlib.metadata import *; print(json.dumps({d.name: d.version for d in distributions()}))"
# What a user's shell sets for Python, such as its development mode, is not to be measured.
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


class Failed(Exception):
    """A peer could not be installed or measured, in one line."""


@dataclass(frozen=True)
class Environment:
    python: Path
    versions: dict[str, str]

    def json(self, script: str, *arguments: object, timeout: float) -> Any:
        """Run a script of the bench, and return the JSON that it prints."""
        return json.loads(_run(self.python, BENCH / script, *arguments, timeout=timeout).splitlines()[-1])


def peers() -> dict[str, tuple[str, ...]]:
    """Return all peers, with what they require."""
    return {file.stem: _requirements(file) for file in sorted(BENCH.glob("peers/[!_]*.py"))}


def constants(file: Path) -> dict[str, Any]:
    """Return what a file says of itself: the constants in capitals that are written out in it."""
    # Read, not imported: this process has none of the peers' libraries.
    found: dict[str, Any] = {}
    for statement in ast.parse(file.read_text()).body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names = [target.id for target in targets if isinstance(target, ast.Name) and target.id.isupper()]
            with suppress(ValueError):  # it is worked out, not written out
                found |= {name: ast.literal_eval(statement.value) for name in names}
    return found


def prepare(requirements: tuple[str, ...]) -> Environment | Failed:
    """Make the environment, or bring it up to date."""
    key = hashlib.sha256(repr((sys.version, sys.executable, ROOT, requirements)).encode()).hexdigest()[:12]
    folder = HOME / key
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    try:
        HOME.mkdir(mode=0o700, exist_ok=True)
        if not python.exists():
            _run(sys.executable, "-m", "venv", "--clear", folder)
        _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade", *requirements, UVLOOP)
        versions = json.loads(_run(python, "-c", VERSIONS))
    except Failed as error:
        return error
    return Environment(python, {name: version for name, version in versions.items() if name not in ("pip", "setuptools")})


def _requirements(file: Path) -> tuple[str, ...]:
    found = constants(file)
    if "REQUIREMENTS" not in found:
        raise ValueError(f"{file.name} has no REQUIREMENTS; write `REQUIREMENTS = ['name-of-the-library']`")
    return tuple(found["REQUIREMENTS"])


def _run(*command: object, timeout: float | None = None) -> str:
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, capture_output=True, check=True, cwd=ROOT, encoding="utf-8", env=ENVIRON, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"not done after {timeout:.0f} s") from None
    except subprocess.CalledProcessError as error:
        raise Failed(_reason(error.stderr)) from None
    return done.stdout


def _reason(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()] or ["no word about why"]
    return next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1])
