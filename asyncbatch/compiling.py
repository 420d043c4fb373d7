"""Compiling: what the pipe is told to mypyc, which may compile it; see `pyproject.toml`. To Python it means nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr
else:

    def mypyc_attr(**_: bool) -> Callable[[type], type]:
        return lambda kind: kind


__all__ = ("mypyc_attr",)
