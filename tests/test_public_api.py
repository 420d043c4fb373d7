"""The public names: each module says which they are, each name says what it is, and those of the contract are there."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
from types import ModuleType

import pytest

import asyncbatch
import asyncbatch.sync
import asyncbatch.testing
from asyncbatch import Batcher, batched
from asyncbatch.executors import Executor
from asyncbatch.keywords import Details, Options

MODULES = {name: importlib.import_module(name) for _, name, _ in pkgutil.walk_packages(asyncbatch.__path__, "asyncbatch.")}
PUBLIC = {"asyncbatch": asyncbatch, **{name: each for name, each in MODULES.items() if hasattr(each, "__all__")}}

# Where users import from; what the others list is for the rooms below them.
FACES = ["asyncbatch", "asyncbatch.sync", "asyncbatch.testing", "asyncbatch.metrics.events"]

PARAMETERS = {
    "max_batch_size": 32,
    "max_wait": 0.0,
    "max_batch_cost": float("inf"),
    "cost": None,
    "oversized": "alone",
    "policy": None,
    "queue": None,
    "executor": None,
    "name": None,
    "observers": (),
}


def defined(module: ModuleType) -> set[str]:
    """Return the public names that a module defines itself."""
    names: set[str] = set()
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return {name for name in names if not name.startswith("_")}


IN_SOURCES = pytest.mark.skipif("ASYNCBATCH_COMPILED" in os.environ, reason="read in the sources, which are the same")


@IN_SOURCES
def test_a_module_says_what_it_is_and_what_it_offers():
    assert [name for name, module in MODULES.items() if not module.__doc__] == []
    assert [name for name, module in MODULES.items() if name not in PUBLIC and defined(module)] == []


def constants_classes_functions(name: str) -> tuple[bool, bool, str]:
    return not name.isupper(), not name[0].isupper(), name


def test_all_is_sorted():
    unsorted = {
        name: module.__all__
        for name, module in PUBLIC.items()
        if list(module.__all__) != sorted(set(module.__all__), key=constants_classes_functions)
    }
    assert unsorted == {}


@IN_SOURCES
def test_all_is_true_and_complete():
    wrong = {
        name: (missing, forgotten)
        for name, module in PUBLIC.items()
        if (missing := [each for each in module.__all__ if not hasattr(module, each)])
        + (forgotten := sorted(defined(module) - set(module.__all__)))
    }
    assert wrong == {}, "what is not for others has a name with an underscore"


def test_what_the_front_door_hands_on_is_what_it_lists():
    handed_on = {
        alias.asname or alias.name
        for node in ast.walk(ast.parse(inspect.getsource(asyncbatch)))  # what is handed on lazily included
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }
    assert handed_on == set(asyncbatch.__all__)


@IN_SOURCES
@pytest.mark.parametrize("face", FACES)
def test_every_public_name_says_what_it_is(face: str):
    silent = []
    for name in PUBLIC[face].__all__:
        public = getattr(PUBLIC[face], name)
        if not callable(public) or not hasattr(public, "__module__") or not public.__module__.startswith("asyncbatch"):
            continue  # an alias, which cannot carry a docstring
        silent += [name] * (not inspect.getdoc(public))
        if inspect.isclass(public):
            silent += [f"{name}.{each}" for each, method in methods(public) if not inspect.getdoc(method)]
    assert silent == []


def methods(public: type) -> list[tuple[str, object]]:
    """Return the public methods and properties that a class brings in; what it overrides is said where that is declared."""
    ours = [(name, each) for name, each in vars(public).items() if callable(each) or isinstance(each, property)]
    inherited = {*dir(Executor), *(name for base in public.__bases__ for name in dir(base))}
    return [(name, each) for name, each in ours if name == "__call__" or not (name.startswith("_") or name in inherited)]


# The contract.


def test_the_parameters_of_a_batcher():
    function, *rest = list(inspect.signature(Batcher).parameters.values())
    assert function.name == "function"
    assert {each.name: each.default for each in rest} == PARAMETERS
    assert {each.kind for each in rest} == {inspect.Parameter.KEYWORD_ONLY}


def test_the_types_of_keywords_name_them_all():
    assert Options.__annotations__.keys() == PARAMETERS.keys()
    assert Details.__annotations__.keys() == {"timeout", "priority", "key"}


def test_the_parameters_of_a_call():
    for call in (Batcher.__call__, Batcher.submit):
        _, item, *rest = inspect.signature(call).parameters.values()
        assert item.name == "item"
        assert {each.name: each.default for each in rest} == {"timeout": float("inf"), "priority": 0, "key": None}


def test_what_can_be_spawned_is_a_coroutine_function():
    assert inspect.iscoroutinefunction(Batcher.__call__)
    assert inspect.iscoroutinefunction(Batcher.map)
    assert not inspect.iscoroutinefunction(Batcher.submit)


@pytest.mark.parametrize(
    "name", ["__call__", "submit", "map", "imap", "flush", "statistics", "aclose", "__aenter__", "__aexit__"]
)
def test_a_batcher_and_a_batched_function_have(name: str):
    @batched
    async def echo(items: list[object]) -> list[object]:
        return items

    assert callable(getattr(Batcher, name))
    assert callable(getattr(echo, name))


@pytest.mark.parametrize("name", ["__call__", "submit", "map", "flush", "statistics", "close", "__enter__", "__exit__"])
def test_a_batcher_for_threads_has(name: str):
    assert callable(getattr(asyncbatch.sync.Batcher, name))


@pytest.mark.parametrize("name", ["max_batch_size", "max_wait", "max_batch_cost"])
def test_a_limit_can_be_set(name: str):
    assert getattr(Batcher, name).fset is not None


def test_the_statistics_hold_every_outcome_and_more():
    counts = ["submitted", "succeeded", "failed", "cancelled", "expired", "rejected", "closed", "queued", "in_flight"]
    others = ["batches", "mean_batch_size", "reasons", "busy_seconds"]
    assert {*counts, *others} <= set(inspect.signature(asyncbatch.Statistics).parameters)


@pytest.mark.parametrize(
    ("error", "base"),
    [
        ("NotRunning", RuntimeError),
        ("Closed", RuntimeError),
        ("QueueFull", Exception),
        ("WouldDeadlock", RuntimeError),
        ("DeadlineExceeded", TimeoutError),
        ("WorkerLost", RuntimeError),
        ("OutputCountMismatch", ValueError),
        ("OutputTypeError", TypeError),
        ("FunctionFailed", RuntimeError),
        ("CheckpointError", RuntimeError),
    ],
)
def test_an_error_is_also_the_builtin_that_it_means(error: str, base: type[Exception]):
    kind = getattr(asyncbatch, error)
    assert issubclass(kind, asyncbatch.AsyncBatchError)
    assert issubclass(kind, base)
