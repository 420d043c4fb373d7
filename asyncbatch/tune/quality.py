"""Quality: how far the result of an item in a batch is from its result alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

__all__ = ("NEAR", "difference", "in_words")

NEAR = 1e-2  # what half precision loses in a sum; anything further apart is another result


def difference(alone: Any, batched: Any) -> float:
    """Return 0.0 for identical results, `math.inf` for what cannot be near, else how far floats are apart.

    That is the largest difference over the largest number of each array. Containers and plain objects are as far apart as
    their parts; the type and the text of exceptions count.
    """
    if type(alone) is not type(batched):
        return math.inf
    if isinstance(alone, BaseException):
        return _exactly(str(alone) == str(batched))
    if isinstance(alone, Mapping):
        if alone.keys() != batched.keys():
            return math.inf
        return _furthest(difference(alone[key], batched[key]) for key in alone)
    if isinstance(alone, list | tuple):
        if len(alone) != len(batched):
            return math.inf
        return _furthest(map(difference, alone, batched))
    if isinstance(alone, float | complex) or hasattr(alone, "__array__"):
        return _apart(np.asarray(alone), np.asarray(batched))
    if hasattr(alone, "__dict__"):
        return difference(vars(alone), vars(batched))
    return _exactly(alone == batched)


def in_words(worst: float) -> str:
    """Return how near results are whose largest difference is `worst`."""
    if worst == 0:
        return "identical"
    return f"within {worst:.0e}" if worst <= NEAR else "different"


def _furthest(differences: Iterable[float]) -> float:
    return max(differences, default=0.0)


def _exactly(same: Any) -> float:
    return 0.0 if same else math.inf


def _apart(alone: np.ndarray[Any, Any], batched: np.ndarray[Any, Any]) -> float:
    if alone.shape != batched.shape or alone.dtype != batched.dtype:
        return math.inf
    if not np.issubdtype(alone.dtype, np.inexact):
        return _exactly(np.array_equal(alone, batched))
    if np.array_equal(alone, batched, equal_nan=True):
        return 0.0
    known = np.isfinite(alone)
    if not np.array_equal(known, np.isfinite(batched)) or not np.array_equal(
        alone[~known], batched[~known], equal_nan=True
    ):
        return math.inf
    scale = float(np.abs(alone[known]).max())
    furthest = float(np.abs(alone[known].astype(complex) - batched[known].astype(complex)).max())
    return furthest / scale if scale else math.inf
