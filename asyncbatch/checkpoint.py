"""Checkpoint: an imap that was killed goes on where it stopped. Its results are kept in a file of SQLite."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass
from functools import partial
from os import PathLike
from typing import Any, TypeAlias

from .errors import CheckpointError

__all__ = ("Checkpoint",)

_Submit: TypeAlias = Callable[[Any, bool], "asyncio.Future[Any]"]
_Asked: TypeAlias = "tuple[asyncio.Future[Any], Callable[[], Any]]"
_Outcome: TypeAlias = "tuple[Any, Exception | None]"
_MISSING = object()
_NOT_KEPT = (
    "a result could not be kept in the checkpoint; return from the function what JSON can say, "
    "or write for example Checkpoint(..., encode=pickle.dumps, decode=pickle.loads)"
)

# A file may hold many jobs: rows of another fingerprint stay, and are not looked at. It is the job's own while it runs,
# until its process ends, however that ends.
_SCHEMA = """
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS asyncbatch_jobs (job INTEGER PRIMARY KEY, fingerprint TEXT UNIQUE);
    CREATE TABLE IF NOT EXISTS asyncbatch_results (job INTEGER, id TEXT, result, PRIMARY KEY (job, id));
    CREATE TEMP TABLE seen (id TEXT PRIMARY KEY, position INTEGER) WITHOUT ROWID;
"""
_JOB = "INSERT INTO asyncbatch_jobs (fingerprint) VALUES (?) ON CONFLICT DO NOTHING"
_MY_JOB = "SELECT job FROM asyncbatch_jobs WHERE fingerprint = ?"
_SEE = "INSERT INTO seen VALUES (?, ?) ON CONFLICT DO NOTHING"
_SEEN = "SELECT position FROM seen WHERE id = ?"
_FIND = "SELECT result FROM asyncbatch_results WHERE job = ? AND id = ?"
_KEEP = "INSERT INTO asyncbatch_results VALUES (?, ?, ?)"


def _itself(item: Any) -> Any:
    return item


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Keeps the results of an `imap` in the SQLite file at `path`, so that the same job, started again, goes on from there.

    - `key` gives the id of an item, by default the item itself: a string, a number, or anything else that JSON can say.
      Ids are unique: a second item with the same one fails with `CheckpointError`.
    - `fingerprint` is what else changes results, as JSON can say it: the model, its version, the prompt. Results of another
      one stay in the file and are not used.
    - `encode` makes a string or bytes of a result, and `decode` the result of that again. JSON is the default: anything can
      read it, and reading it runs no code.

    A result is yielded when it is committed, as it was read back: what was yielded once is yielded again by every later run
    and never computed again. Errors are not kept, so what failed is tried again. What was in flight when the job ended may
    have run, and does so again. The source is read from its beginning in each run.

    The iteration raises `CheckpointError` when another job has the file open, or it cannot be read or written.
    """

    path: str | PathLike[str]
    _: KW_ONLY
    key: Callable[[Any], Any] = _itself
    fingerprint: Any = None
    encode: Callable[[Any], str | bytes] = json.dumps
    decode: Callable[[Any], Any] = json.loads

    @contextlib.asynccontextmanager
    async def around(self, submit: _Submit) -> AsyncGenerator[_Submit, None]:
        """Give what submits items that have no result in the file to `submit`, and keeps theirs."""
        ledger = _Ledger(self, submit)
        try:
            await ledger.open()
            yield ledger.submit
        finally:
            ledger.close()


class _Ledger:
    """The file while a job runs. It has a thread; what is asked of it while it is busy becomes one transaction."""

    _db: sqlite3.Connection
    _job: int

    def __init__(self, checkpoint: Checkpoint, submit: _Submit) -> None:
        self._checkpoint = checkpoint
        self._submit = submit
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "asyncbatch checkpoint")
        self._asked: list[_Asked] = []
        self._busy = False
        self._position = -1
        self._broken: sqlite3.Error | None = None
        self._opened = False

    # In the event loop.

    async def open(self) -> None:
        fingerprint = _as_json("a fingerprint", self._checkpoint.fingerprint)
        try:
            await self._loop.run_in_executor(self._thread, self._open, fingerprint)
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def close(self) -> None:
        # It waits for the last commit and awaits nothing: in a cancelled scope of anyio that would be cancelled again.
        asked, self._asked = self._asked, []
        self._thread.submit(self._end, asked)
        self._thread.shutdown()

    def submit(self, item: Any, waits: bool) -> asyncio.Future[Any]:
        if self._broken is not None:
            raise self._failure(self._broken)  # not one item more is computed in vain
        self._position += 1
        return asyncio.create_task(self._answer(item, self._position, waits))

    async def _answer(self, item: Any, position: int, waits: bool) -> Any:
        row = _as_json("an id", self._checkpoint.key(item))
        kept = await self._ask(partial(self._find, row, position))
        if kept is not _MISSING:
            return kept
        return await self._ask(partial(self._keep, row, await self._submit(item, waits)))

    def _ask(self, what: Callable[[], Any]) -> asyncio.Future[Any]:
        future = self._loop.create_future()
        self._asked.append((future, what))
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._hand_over)  # with all that is asked in this pass
        return future

    def _hand_over(self) -> None:
        asked, self._asked = self._asked, []
        self._busy = bool(asked)
        if asked:
            served = self._loop.run_in_executor(self._thread, self._serve, asked)
            served.add_done_callback(partial(self._hand_out, asked))

    def _hand_out(self, asked: list[_Asked], served: asyncio.Future[list[_Outcome]]) -> None:
        for (future, _), (result, error) in zip(asked, served.result(), strict=True):
            if future.done():
                continue  # its item was given up
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        self._hand_over()

    def _failure(self, error: BaseException) -> CheckpointError:
        failure = CheckpointError.unusable(str(self._checkpoint.path), error)
        failure.__cause__ = error
        return failure

    # In the thread.

    def _open(self, fingerprint: str) -> None:
        self._db = sqlite3.connect(self._checkpoint.path, timeout=1)
        self._opened = True
        self._db.executescript(_SCHEMA)
        with self._db:
            self._db.execute(_JOB, (fingerprint,))
            (self._job,) = self._db.execute(_MY_JOB, (fingerprint,)).fetchone()

    def _serve(self, asked: list[_Asked]) -> list[_Outcome]:
        try:
            with self._db:  # one transaction
                return [_outcome(what) for _, what in asked]
        except sqlite3.Error as error:
            self._broken = error
            return [(None, self._failure(error)) for _ in asked]

    def _find(self, row: str, position: int) -> Any:
        if not self._db.execute(_SEE, (row, position)).rowcount:
            (first,) = self._db.execute(_SEEN, (row,)).fetchone()
            raise CheckpointError.twice(first, position)
        found = self._db.execute(_FIND, (self._job, row)).fetchone()
        return _MISSING if found is None else self._checkpoint.decode(found[0])

    def _keep(self, row: str, result: Any) -> Any:
        try:
            encoded = self._checkpoint.encode(result)
            if not isinstance(encoded, str | bytes):
                raise TypeError(f"encode must return a string or bytes, not a {type(encoded).__name__}")
            again = self._checkpoint.decode(encoded)
        except Exception as error:
            error.add_note(_NOT_KEPT)
            raise
        self._db.execute(_KEEP, (self._job, row, encoded))
        return again

    def _end(self, asked: list[_Asked]) -> None:
        if self._opened:
            with contextlib.closing(self._db):
                self._serve(asked)


def _outcome(what: Callable[[], Any]) -> _Outcome:
    try:
        return what(), None
    except sqlite3.Error:
        raise  # nobody's own: all of the transaction is undone
    except Exception as error:  # noqa: BLE001  # of what the user gave to encode and decode
        return None, error


def _as_json(what: str, value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise CheckpointError.unspeakable(what, value) from error
