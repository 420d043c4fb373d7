"""The text that the demo works on, and the index that searches it: the standard library's docstrings, and numpy alone."""

from __future__ import annotations

import ast
import os
import random
import re
import warnings
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ("Entry", "Index", "docstrings", "library", "questions", "sources")

_SKIPPED = {"__pycache__", "dist-packages", "idlelib", "lib2to3", "site-packages", "test", "tests"}

_SENTENCE_ENDS = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
_SENTENCE = re.compile(r"[A-Za-z](?=.{29,199}$)(?:.*?\b[A-Za-z]{2,}\b){4}")
_WORD = re.compile(r"\w+")

_GRAM = 4  # bytes: as many as one uint32 holds
_BITS = 11
_DIMENSIONS = 1 << _BITS
# Vectors are whole multiples of this, and of length 1: products and all partial sums of a score are then exact in float32,
# so that matrix kernels which add in another order for one query than for many still give the same bits.
_STEP = np.float32(1 / 2048)
_CHUNK = 512


class Entry(NamedTuple):
    """A docstring, and the dotted name of what it describes."""

    name: str
    text: str


def sources(root: Path) -> list[Path]:
    """Return the Python files under `root`, sorted, without tests and without what was installed into it."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in _SKIPPED]
        found += [Path(folder, name) for name in files if name.endswith(".py")]
    return sorted(found)


def docstrings(path: Path, root: Path) -> Iterator[Entry]:
    """Yield the docstrings of a module, its classes and functions, which is only parsed, never run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old escapes in other people's strings
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    parts = path.relative_to(root).with_suffix("").parts
    yield from _documented(tree, ".".join(parts[:-1] if parts[-1] == "__init__" else parts))


def library(files: Iterable[Path], root: Path, on_file: Callable[[], None]) -> list[Entry]:
    """Return the docstrings in all `files`, where several have the same text only the first."""
    entries: dict[str, Entry] = {}
    for path in files:
        for entry in docstrings(path, root):
            entries.setdefault(entry.text, entry)
        on_file()
    return list(entries.values())


def _documented(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> Iterator[Entry]:
    if text := ast.get_docstring(node):
        yield Entry(name, text)
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _documented(child, f"{name}.{child.name}")


def questions(entries: Iterable[Entry], count: int) -> list[str]:
    """Return `count` sentences of the entries, the same ones in the same order each time; all of them before any again.

    The list is empty if they have none.
    """
    pieces = (" ".join(piece.split()) for entry in entries for piece in _SENTENCE_ENDS.split(entry.text))
    found = [piece for piece in pieces if _SENTENCE.match(piece)]
    random.Random(0).shuffle(found)  # noqa: S311  # any order will do that has them mixed
    return list(islice(cycle(found), count))


class Index:
    """Finds the text nearest to a query, by the cosine of their hashed 4-grams; the rarer one is, the more it weighs."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._weights: NDArray[np.float32] = np.ones(_DIMENSIONS, np.float32)
        chunks = [texts[i : i + _CHUNK] for i in range(0, len(texts), _CHUNK)]
        matrix = np.concatenate([self._present(chunk) for chunk in chunks])
        having = np.count_nonzero(matrix, axis=0)
        # Whole numbers, so that the length of a vector does not depend on the order of a sum either.
        self._weights = np.rint(16 * np.log((1 + len(texts)) / (1 + having))).astype(np.float32)
        for start in range(0, len(texts), _CHUNK):
            rows = matrix[start : start + _CHUNK]
            rows *= self._weights
            _normalise(rows)
        self._matrix = matrix

    @property
    def shape(self) -> tuple[int, int]:
        """How many texts there are, and how many dimensions a vector has."""
        entries, dimensions = self._matrix.shape
        return entries, dimensions

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return a row of length 1 for each text, or of zeros if nothing in it carries weight."""
        rows = self._present(texts)
        _normalise(rows)
        return rows

    def search(self, queries: Sequence[str]) -> list[int]:
        """Return the place of the nearest text for each query; of texts equally near it is the first."""
        scores = self.vectors(queries) @ self._matrix.T
        places: list[int] = scores.argmax(axis=1).tolist()
        return places

    def _present(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the weight of each dimension that a text has, else 0."""
        rows, dimensions = _grams(texts)
        vectors = np.zeros((len(texts), _DIMENSIONS), np.float32)
        vectors[rows, dimensions] = self._weights[dimensions]
        return vectors


def _grams(texts: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.uint32]]:
    """Return the row and the dimension of each run of four bytes in the words of each text."""
    plain = [f" {' '.join(_WORD.findall(text.lower()))} ".encode(errors="replace").ljust(_GRAM) for text in texts]
    bytes_ = np.frombuffer(b"".join(plain), np.uint8).astype(np.uint32)
    rows = np.repeat(np.arange(len(plain)), [len(each) for each in plain])
    within = rows[: 1 - _GRAM] == rows[_GRAM - 1 :]
    grams = bytes_[:-3] << 24 | bytes_[1:-2] << 16 | bytes_[2:-1] << 8 | bytes_[3:]
    hashed = grams * np.uint32(2654435761) >> np.uint32(32 - _BITS)
    return rows[: 1 - _GRAM][within], hashed[within]  # pyright: ignore[reportReturnType]  # uint32 all the way


def _normalise(rows: NDArray[np.float32]) -> None:
    lengths = np.sqrt(np.square(rows).sum(axis=1, dtype=np.float64, keepdims=True))
    np.divide(rows, np.maximum(lengths, 1) * _STEP, out=rows, casting="same_kind")
    np.rint(rows, out=rows)
    rows *= _STEP
