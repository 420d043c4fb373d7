"""The model of the web service: it finds the function of the standard library whose docstring is nearest to a query.

It knows nothing of the web and nothing of batches' callers. Each worker process builds one.
"""

import importlib
import inspect
import re
import zlib

import numpy as np

MODULES = """
    argparse array ast asyncio base64 bisect builtins calendar cmath codecs collections concurrent.futures configparser contextlib
    contextvars copy csv ctypes dataclasses datetime decimal difflib dis email.message enum fnmatch fractions functools gc glob gzip
    hashlib heapq hmac html http.client inspect io ipaddress itertools json keyword logging lzma mailbox math mimetypes
    multiprocessing numbers operator os os.path pathlib pickle platform pprint queue random re sched secrets selectors shelve
    shlex shutil signal smtplib socket sqlite3 ssl stat statistics string struct subprocess sys tarfile tempfile textwrap threading
    time timeit token traceback types typing unicodedata unittest urllib.parse urllib.request uuid warnings wave weakref
    xml.etree.ElementTree zipfile zlib
""".split()
DIMENSIONS = 4096


class Search:
    """Built with `Search()`, called with a list of queries; returns the name, the first line and the score for each."""

    def __init__(self) -> None:
        self.entries = sorted(set(documented()))
        vectors = present([text for _, text in self.entries])
        self.weights = np.log(len(vectors) / (1 + np.count_nonzero(vectors, axis=0))).astype(np.float32)
        self.matrix = normalised(vectors * self.weights)

    def __call__(self, queries: list[str]) -> list[dict[str, object]]:
        scores = normalised(present(queries) * self.weights) @ self.matrix.T
        return [self.answer(place, row[place]) for place, row in zip(scores.argmax(axis=1), scores, strict=True)]

    def answer(self, place: int, score: float) -> dict[str, object]:
        name, text = self.entries[place]
        return {"name": name, "text": text.splitlines()[0], "score": round(float(score), 3)}


def documented():
    """Yield the names of functions and methods, and their docstrings."""
    for name in MODULES:
        for each, thing in inspect.getmembers(
            importlib.import_module(name), lambda it: callable(it) and inspect.getdoc(it)
        ):
            if not each.startswith("_"):
                yield f"{name}.{each}", inspect.getdoc(thing)


def present(texts: list[str]) -> np.ndarray:
    """Return a row for each text: 1 for each word and each half of a word that it has, hashed to a column."""
    rows = np.zeros((len(texts), DIMENSIONS), np.float32)
    for row, text in zip(rows, texts, strict=True):
        words = set(re.findall(r"[a-z]+", text.lower()))
        row[[zlib.crc32(part.encode()) % DIMENSIONS for word in words for part in (word, word[:4])]] = 1
    return rows


def normalised(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
