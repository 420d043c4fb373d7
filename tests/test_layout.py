"""The house keeps its shape: rooms know only those above them, and none is too large to read at once."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import asyncbatch

HOUSE = Path(asyncbatch.__file__).parent

# A room may import only from rooms before it. A new one gets its place here.
ROOMS = """
    compiling here errors parameters function
    request shared deadlines
    metrics metrics.statistics metrics.events
    crowd scatter flight padding
    gate doorbell lobby order discipline intake ranked queues
    policies batchtime objectives turns returning lull departures
    parts lobbies keyed keys lengths
    executors.slot executors.inline executors.answers executors.aside executors.thread executors.futures
    executors.references executors.packing executors.framing executors.arena executors.cargo
    executors.worker executors.child executors.restarts executors.process executors
    executors.replica executors.ray
    house pilot resident residents alone
    checkpoint imap progress
    lifetime controls keywords batcher
    decorator coalesce sync
    adapters.stepwise adapters.isolated adapters.sizes adapters.arrays adapters
    metrics.logging metrics.prometheus metrics.otel
    testing simulate
    terminal corpus demo top
    tune.inputs tune.quality tune.curve tune.profile tune.plan tune.trial
    tune.options tune.words tune.code tune.report tune.chart tune.page tune
    __main__
""".split()

# What a room may import that is neither ours nor Python's.
THIRD_PARTIES = {
    "adapters.arrays": {"numpy"},
    "batcher": {"anyio"},
    "coalesce": {"anyio"},
    "compiling": {"mypy_extensions"},
    "corpus": {"numpy"},
    "demo": {"numpy", "uvloop"},
    "executors.packing": {"numpy"},
    "metrics.otel": {"opentelemetry"},
    "metrics.prometheus": {"prometheus_client"},
    "progress": {"rich"},
    "tune.inputs": {"numpy"},
    "tune.quality": {"numpy"},
}

# What a room must not know, whatever the order.
STRANGERS = {
    "policies": {"asyncio", "anyio", "time"},
    "departures": {"asyncio", "anyio", "time"},
    "batchtime": {"asyncio", "anyio", "time"},
    "objectives": {"asyncio", "anyio", "time"},
    "lull": {"asyncio", "anyio", "time"},
    "returning": {"asyncio", "anyio", "time"},
    "queues": {"time"},
    "ranked": {"time"},
    "intake": {"time"},
    "order": {"time"},
    "scatter": {"concurrent"},
    "tune.curve": {"asyncio", "time"},
    "tune.words": {"asyncio", "time"},
    "tune.report": {"asyncio", "time"},
}


def room(path: Path) -> str:
    return ".".join(path.relative_to(HOUSE).with_suffix("").parts).removesuffix(".__init__")


FILES = {room(path): path for path in sorted(HOUSE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
FRONT_DOOR = "__init__"  # it only hands on, so it may import all, and nobody imports it


def imported(name: str, tree: ast.AST) -> Iterator[str]:
    """Yield the absolute name of every module that `tree` imports anything from, those for type checkers included."""
    package = ["asyncbatch", *name.split(".")]
    if FILES[name].name != "__init__.py" or name == FRONT_DOOR:
        package.pop()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                submodule = f"{module}.{alias.name}"
                yield submodule if submodule.removeprefix("asyncbatch.") in FILES else module


def rooms_imported(name: str, tree: ast.AST) -> set[str]:
    ours = {each for each in imported(name, tree) if each.split(".")[0] == "asyncbatch"}
    return {each.removeprefix("asyncbatch").removeprefix(".") or FRONT_DOOR for each in ours}


def test_every_room_has_its_place():
    assert sorted(ROOMS) == sorted(FILES.keys() - {FRONT_DOOR}), "give a new room its place in ROOMS"


def test_a_room_knows_only_rooms_above_it():
    below = {name: rooms_imported(name, TREES[name]) - set(ROOMS[: ROOMS.index(name)]) for name in ROOMS}
    assert {name: rooms for name, rooms in below.items() if rooms} == {}


def test_a_room_needs_little_more_than_the_standard_library():
    ours = {"asyncbatch", *sys.stdlib_module_names}
    guests = {name: {each.split(".")[0] for each in imported(name, TREES[name])} - ours for name in ROOMS}
    assert {name: roots for name, roots in guests.items() if not roots <= THIRD_PARTIES.get(name, set())} == {}


@pytest.mark.parametrize("name", STRANGERS)
def test_a_room_does_not_know_what_is_not_its_business(name: str):
    assert STRANGERS[name] & {each.split(".")[0] for each in imported(name, TREES[name])} == set()


def test_no_import_of_ours_is_hidden_in_a_function():
    functions = [
        (f"{name}.{node.name}", rooms_imported(name, node))
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [(function, rooms) for function, rooms in functions if rooms] == []


def test_a_file_can_be_read_at_once():
    lines = {name: path.read_text(encoding="utf-8").count("\n") for name, path in FILES.items()}
    assert {name: count for name, count in lines.items() if count > 300} == {}, "which room are the new lines about?"


def test_the_front_door_tells_the_true_order():
    layout = re.findall(r"^    (\w+(?:, \w+)*)  ", asyncbatch.__doc__, re.MULTILINE)
    told = [name for line in layout for name in line.split(", ")]
    assert len(told) > 10
    assert told == sorted(told, key=ROOMS.index)


def test_importing_it_brings_in_nothing_that_is_not_used():
    heavy = {
        "numpy",
        "uvloop",
        "trio",
        "ray",
        "rich",
        "sqlite3",
        "asyncbatch.metrics.logging",
        "prometheus_client",
        "opentelemetry",
        "concurrent.futures.process",
    }
    code = f"import sys, asyncbatch, asyncbatch.sync, asyncbatch.testing; print(*sorted({heavy} & set(sys.modules)))"

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert ran.stdout == "\n"
