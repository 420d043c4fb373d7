"""The services that are compared: what is known of each without importing it, and whether it gives the right numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .environments import BENCH, Environment, Failed, constants

CLOSE = 1e-3  # a batch of another size sums in another order, in float32


@dataclass(frozen=True, eq=False)
class Service:
    name: str
    requirements: tuple[str, ...]
    start: tuple[str, ...]
    environ: dict[str, str]
    form: str

    def body(self, row: list[float]) -> str:
        return self.form % json.dumps(row)


def known() -> dict[str, Service]:
    files = sorted(BENCH.glob("services/[!_]*.py"))
    return {file.stem: _service(file.stem, constants(file)) for file in files}


def _service(name: str, of: dict[str, Any]) -> Service:
    if lacking := {"REQUIREMENTS", "START"} - of.keys():
        raise ValueError(f"services/{name}.py has no {' and no '.join(sorted(lacking))}; see services/__init__.py")
    return Service(name, tuple(of["REQUIREMENTS"]), tuple(of["START"]), of.get("ENVIRON", {}), of.get("BODY", "%s"))


def exchange(environments: Iterable[Environment]) -> dict[str, Any]:
    """Return what is asked, and what is right: `rows` and `answers`."""
    for environment in environments:
        found: dict[str, Any] = environment.json("harness/network.py", timeout=60)
        return found
    raise SystemExit("none of the servers could be installed")


def check(post: Callable[[str], Any], service: Service, exchange: dict[str, Any]) -> None:
    """Ask for every row; raises `Failed` if an answer is wrong."""
    for row, right in zip(exchange["rows"], exchange["answers"], strict=True):
        answer = post(service.body(row))
        if len(answer) == 1:  # a batch of one
            (answer,) = answer
        if len(answer) != len(right) or any(abs(one - other) > CLOSE for one, other in zip(answer, right, strict=True)):
            raise Failed("its numbers are not those of the network")
