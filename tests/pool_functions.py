"""Batch functions that workers in other processes import."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np


def squares(items: list[Any]) -> list[Any]:
    return [item * item for item in items]


def pids(items: list[Any]) -> list[int]:
    return [os.getpid()] * len(items)


def sums(items: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    return np.stack(items).sum(axis=1)


def complain(items: list[Any]) -> list[Any]:
    raise ValueError(f"no weights for {len(items)}")


def some_bad(items: list[Any]) -> list[Any]:
    return [ValueError("bad") if item % 2 else item for item in items]


def die(items: list[Any]) -> list[Any]:
    if items[0] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return items


class Unpicklable(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(code)


def refuses_two(items: list[Any]) -> list[Any]:
    if 2 in items:
        raise Unpicklable(code=2)
    return items
