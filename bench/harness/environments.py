"""One virtual environment for each set of requirements: no peer's dependencies touch another's, or those of the bench.

They are kept in the system's folder for temporary files, and brought up to the newest releases before each full bench.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from . import report

BENCH = Path(__file__).resolve().parents[1]
ROOT = BENCH.parent
HOME = Path(tempfile.gettempdir()) / f"asyncbatch-bench-{os.getuid() if hasattr(os, 'getuid') else 0}"
DONE = "installed"  # a file in the folder, so that one that was interrupted is made again
UVLOOP = "uvloop; sys_platform != 'win32'"
VERSIONS = "import json; from importlib.metadata import *; print(json.dumps({d.name: d.version for d in distributions()}))"
_SETTING = re.compile(r"[A-Z_]+=")
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


def kinds(peer: str) -> tuple[str, ...]:
    """Return the only kinds of cases that the peer is for; none if it does not say."""
    return tuple(constants(BENCH / "peers" / f"{peer}.py").get("KINDS", ()))


def pythons(versions: Iterable[str]) -> dict[str, str]:
    """Return where each version of Python is, such as 3.12, as far as it is found: on the path, or in pyenv's folder."""
    return {version: found for version in versions if (found := _python(version))}


def version(python: str) -> str:
    return _run(python, "-V").split()[1]


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


def prepare(requirements: tuple[str, ...], base: str = sys.executable, *, newest: bool = True) -> Environment | Failed:
    """Make the environment with the Python `base`, or bring it up to date, or if `newest` is false take it as it is.

    What is in this repository is installed anew in any case. A requirement `NAME=value` is set for pip, as in a shell.
    """
    key = hashlib.sha256(repr((_run(base, "-VV"), base, ROOT, requirements)).encode()).hexdigest()[:12]
    folder = HOME / key
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    try:
        HOME.mkdir(mode=0o700, exist_ok=True)
        if not (folder / DONE).exists():
            _run(base, "-m", "venv", "--clear", folder)
        if newest or not (folder / DONE).exists():
            _install(python, "--upgrade", *requirements, UVLOOP)
        elif "." in requirements:
            _install(python, *filter(_SETTING.match, requirements), ".")
        (folder / DONE).touch()
        versions = json.loads(_run(python, "-c", VERSIONS))
    except Failed as error:
        return error
    return Environment(python, {name: version for name, version in versions.items() if name not in ("pip", "setuptools")})


def install(
    requirements: Mapping[str, tuple[str, ...]], base: str = sys.executable, *, newest: bool = True
) -> tuple[dict[str, Environment], dict[str, str]]:
    """Return the environments of those whose `requirements` could be installed, and why the others' could not."""
    report.say(f"installing {', '.join(requirements)}")
    needed = list(dict.fromkeys(requirements.values()))
    with ThreadPoolExecutor(2) as pool:
        made = dict(zip(needed, pool.map(partial(prepare, base=base, newest=newest), needed), strict=True))
    all_of = {name: made[each] for name, each in requirements.items()}
    present = {name: each for name, each in all_of.items() if isinstance(each, Environment)}
    return present, {name: str(each) for name, each in all_of.items() if isinstance(each, Failed)}


def _install(python: Path, *words: str) -> None:
    settings = dict(word.split("=", 1) for word in words if _SETTING.match(word))
    command = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    with ExitStack() as stack:
        root = ROOT
        if settings:  # what is compiled would stay in the tree, and be taken for its sources
            root = Path(stack.enter_context(tempfile.TemporaryDirectory())) / ROOT.name
            shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(".*", "bench", "tests", "examples"))
        _run(
            *command, *(word for word in words if word.partition("=")[0] not in settings), cwd=root, env=ENVIRON | settings
        )


def _requirements(file: Path) -> tuple[str, ...]:
    found = constants(file)
    if "REQUIREMENTS" not in found:
        raise ValueError(f"{file.name} has no REQUIREMENTS; write `REQUIREMENTS = ['name-of-the-library']`")
    return tuple(found["REQUIREMENTS"])


def _python(version: str) -> str | None:
    # As nox finds them, and by hand where pyenv's shims tell that a version is there and then do not run it.
    on_path = shutil.which(f"python{version}")
    by_pyenv = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*/bin/python"))
    for python in [on_path, *map(str, by_pyenv)]:
        try:
            if python and f"Python {version}." in _run(python, "-VV"):
                return python
        except Failed:
            continue
    return None


def _run(*command: object, timeout: float | None = None, cwd: Path = ROOT, env: Mapping[str, str] = ENVIRON) -> str:
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, capture_output=True, check=True, cwd=cwd, encoding="utf-8", env=env, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Failed(f"not done after {timeout:.0f} s") from None
    except subprocess.CalledProcessError as error:
        raise Failed(_reason(error.stderr)) from None
    return done.stdout


def _reason(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()] or ["no word about why"]
    return next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1])
