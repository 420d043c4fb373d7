"""The one door for every check: `nox` alone runs what a change must pass; `nox -l` lists the rest."""

from __future__ import annotations

import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "tests", "examples", "clients", "demo"]
nox.options.reuse_existing_virtualenvs = True

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)  # from the classifiers
if (running := f"{sys.version_info.major}.{sys.version_info.minor}") not in PYTHONS:
    PYTHONS.append(running)  # so that there is always one to test with


def group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, name))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and form."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    # Whose style is free, and where still nothing is imported, made or written twice for nothing.
    session.run("ruff", "check", "--isolated", "--select", "F401,F811,F841", "bench", "examples", "tests")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types as strictly as mypy can, and as users' editors do."""
    session.install(".", *group("types"), "nox")
    session.run("mypy")
    session.run("pyright")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests against the installed package; versions that are not found are skipped, and said so.

    One starts Debian's prometheus, where that is installed, on a free port of this machine, with a folder of its own.
    """
    session.install(".", *group("test"))
    session.run("python", "-P", "-X", "dev", "-m", "pytest", *session.posargs)


@nox.session(python=PYTHONS)
def compiled(session: nox.Session) -> None:
    """Run the tests against the compiled core, as it is built from what is shipped as sources; that needs a C compiler."""
    folder = Path(session.create_tmp()).resolve()
    session.install("hatchling", *group("test"))
    # Not in the tree itself, where what is compiled would stay, and be taken for its sources.
    session.run("python", "-m", "hatchling", "build", "-t", "sdist", "-d", f"{folder}")
    sources = folder / f"asyncbatch-{PROJECT['project']['version']}.tar.gz"  # others may lie there, of other versions
    session.run("python", "-m", "pip", "uninstall", "-qy", "asyncbatch")  # or another one of this version would stay
    session.install(f"{sources}", env={"HATCH_BUILD_HOOK_ENABLE_MYPYC": "1"})
    session.run("python", "-P", "-X", "dev", "-m", "pytest", *session.posargs, env={"ASYNCBATCH_COMPILED": "1"})


@nox.session
def ray(session: nox.Session) -> None:
    """Run the tests of the Ray executor, on clusters that they start on this machine."""
    session.install(".[ray]", *group("test"))
    tests = ("tests/test_ray.py", "tests/test_readme.py", "-k", "ray or a_program_prints")
    session.run("python", "-P", "-m", "pytest", *tests, *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Run the demo as a user would."""
    session.install(".")
    session.run("python", "-m", "asyncbatch", "demo", *session.posargs)


@nox.session
def examples(session: nox.Session) -> None:
    """Run every example; the page of the web service is looked at with Debian's chromium, where that is installed."""
    session.install(".", *group("test"), *group("web"))
    session.run("python", "-m", "pytest", "examples", *session.posargs)


@nox.session
def clients(session: nox.Session) -> None:
    """Run the examples of clients: of embedding services, which are stood in for, and of databases.

    It starts Debian's PostgreSQL and Redis (the packages postgresql and redis-server), each on a free port of this machine,
    with a folder of its own; the tests of one that is not installed are skipped.
    """
    session.install(".", *group("test"), *group("clients"))
    session.run("python", "-m", "pytest", "examples/test_clients.py", *session.posargs)


@nox.session
def workloads(session: nox.Session) -> None:
    """Run the four workloads, small. The spoken one needs a voice, Debian's espeak-ng, and is skipped where there is none.

    PyPI's PyTorch brings CUDA on Linux, which is gigabytes; with PIP_EXTRA_INDEX_URL set to PyTorch's index of CPU builds,
    which its site tells, or with its wheel in a folder in PIP_FIND_LINKS, pip takes that one.
    """
    session.install(".", *group("workloads"))
    session.run("python", "-m", "pytest", "examples/workloads", *session.posargs)


QUESTIONS = ("overhead", "executors", "in_time", "service", "growth")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure what README says: all of it, or what is named first, as in `nox -s bench -- service --quick`.

    Each peer is installed from the registry into an environment of its own. The load on services comes from Debian's wrk.
    """
    session.install(".", *group("bench"))
    asked = [each for each in QUESTIONS if each in session.posargs]
    options = [each for each in session.posargs if each not in asked]
    for question in asked or QUESTIONS:
        session.run("python", f"bench/{question}.py", *options)


@nox.session
def soak(session: nox.Session) -> None:
    """Load batchers for ten minutes, and see that nothing grows, nobody is lost and nothing is left over."""
    session.install(".")
    session.run("python", "bench/soak.py", *session.posargs)


@nox.session
def tune(session: nox.Session) -> None:
    """Run the worked example of `tune`, as examples/tuning.md tells it; options that come last count."""
    session.install(".[tune]")
    session.chdir("examples/tuning")
    asked = ("--rate", "2000", "--objective", "50ms", "--price", "1.20")
    command = ("python", "-m", "asyncbatch", "tune", "model:embed", "--items", "../../README.md", *asked)
    session.run(*command, *session.posargs, env={"OPENBLAS_NUM_THREADS": "1"})
