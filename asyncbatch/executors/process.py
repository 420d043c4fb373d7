"""Processes: each slot has a resident worker of its own, and memory that both see."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import math
import pickle
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asyncbatch import padding, parameters
from asyncbatch.errors import WorkerLost
from asyncbatch.function import is_class

from . import framing, packing
from .answers import refuse_async
from .aside import Aside
from .cargo import Cargo
from .child import Child, Reply
from .references import main_module, refer, refuse_nameless
from .restarts import Restarts
from .worker import starting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context

    from .arena import Block

__all__ = ("ProcessExecutor", "ProcessSlot")


@dataclass(frozen=True, slots=True)
class ProcessExecutor:
    """Runs the function in `workers` processes of the batcher's own, one batch each at a time.

    A class is built once in each process, when the batcher is entered, and may take `build_timeout` seconds for that.
    Functions and classes are imported there by name. Items and results must pickle. Arrays among them travel through shared
    memory, up to `arena` bytes for each worker: the function gets a list as everywhere, its arrays lie in that memory and
    are valid until it returns. If they are alike, `np.asarray(items)` is the whole batch and copies nothing. Results stay
    valid for as long as callers keep them.

    A worker that ends, or takes longer than `timeout` seconds for a batch, fails that batch with `WorkerLost`, unless it
    may have `retries`, and is replaced: up to `restarts` times a minute, after which callers get `WorkerLost` at once. One
    that is not ready in time is lost as well; `WorkerLost` is then what entering the batcher raises.
    With `stoppable`, the worker is killed when every caller of its batch has left; else it finishes the batch.
    """

    workers: int = 1
    timeout: float = math.inf
    build_timeout: float = math.inf
    arena: int = 1 << 30
    retries: int = 0
    restarts: int = 5
    stoppable: bool = False

    def __post_init__(self) -> None:
        parameters.count("workers", self.workers)
        for name in ("timeout", "build_timeout"):
            parameters.amount(name, getattr(self, name))
        for name in ("arena", "retries", "restarts"):
            parameters.whole(name, getattr(self, name))

    def accept(self, function: Callable[..., Any]) -> None:
        """Raise `TypeError` if `function` cannot run here, `NotImplementedError` if nothing can."""
        if sys.platform == "win32":
            raise NotImplementedError("ProcessExecutor needs a Unix system; write executor=ProcessPoolExecutor(2)")
        refuse_async(function, "a worker process")
        refuse_nameless(function)

    @property
    def capacity(self) -> int:
        return self.workers

    def open(self, function: Callable[..., Any], name: str, count: int) -> Sequence[ProcessSlot]:
        if starting():
            raise RuntimeError(
                f"batcher {name!r} is entered while a worker process imports the main module; guard what the program does: "
                "write `if __name__ == '__main__':` above it, here most likely above `asyncio.run(main())`"
            )
        reference = refer(function)
        setup = {"batcher": name, "build": is_class(function), "main": main_module(), "numpy": "numpy" in sys.modules}
        return [ProcessSlot(self, name, setup, reference) for _ in range(count)]


class ProcessSlot:
    """One worker process, or none yet, or the next one in its place."""

    ends_with_close = True

    def __init__(self, settings: ProcessExecutor, name: str, setup: dict[str, Any], reference: bytes) -> None:
        self.cancellable = settings.stoppable
        self._settings = settings
        self._name = name
        self._question = ("load", setup), reference
        self._child: Child | None = None
        self._cargo: Cargo
        self._aside = Aside(f"asyncbatch {name}")
        self.restarts = Restarts(name, settings.restarts)

    @property
    def available(self) -> bool:
        child = self._child
        if child is None or not child.loaded or child.exit_code is not None:
            return False
        return child.reply is None and not self._aside.busy

    async def prepare(self) -> None:
        """Wait for work whose awaiter was cancelled, replace a worker that was lost, let a new one build the class."""
        while not self.available:
            child = self._child
            if self._aside.busy:
                await self._aside.idle()
            elif child is None or child.exit_code is not None:
                await self._replace()
            elif not child.loaded:
                await self._load(child)
            else:
                with contextlib.suppress(WorkerLost):  # nobody's batch
                    await self._answer(child, child.reply)

    async def run(self, items: list[Any], context: Context) -> Sequence[Any]:
        retries = self._settings.retries
        while True:
            if not self.available:
                await self.prepare()
            child: Any = self._child
            try:
                return await self._trip(child, items, context)
            except WorkerLost:
                if not child.deaf:  # else it never heard of the batch
                    if not retries:
                        raise
                    retries -= 1
            except asyncio.CancelledError:
                if self.cancellable and child.reply is not None:
                    child.unwanted = True
                    child.kill()
                raise

    def close(self) -> concurrent.futures.Future[Any] | None:
        child = self._child
        if child is not None:
            child.detach()
            if child.reply is not None:
                child.kill()
        return self._aside.close(self._end if child is not None or self._aside.busy else None)

    # Workers.

    async def _replace(self) -> None:
        self._child = None
        await self.restarts.turn()
        await self._aside.run(self._start)

    def _start(self) -> None:
        self._cargo = Cargo(self._name, self._settings.arena)  # what callers hold of the one before stays theirs
        self._child = Child()

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def _note_end(self, child: Child) -> None:
        if not child.unwanted:
            code = child.exit_code or 0
            self.restarts.lost("timeout" if child.late else "signal" if code < 0 else "exit", code)

    async def _load(self, child: Child) -> None:
        if not child.attached:
            child.attach(asyncio.get_running_loop(), self._note_end)
        # It may have been asked by one who was cancelled.
        asked = child.reply
        header, body = await (self._ask(child, *self._question) if asked is None else self._answer(child, asked))
        if header[0] == "failed":
            raise _error(header, body)
        child.loaded = True

    # Batches.

    async def _trip(self, child: Child, items: list[Any], context: Context) -> Sequence[Any]:
        cargo, packed = self._cargo, packing.pack(items)
        while True:
            load = functools.partial(cargo.load, packed)
            block, body = await self._aside.run(load) if cargo.is_long_to_load(packed) else load()
            place = None if block is None else (block.number, block.size)
            question = "run", packed.description, place, packed.size, cargo.dropped()
            header, body = await self._ask(child, question, body, block)
            if header[0] != "again":
                break
            packed = packing.pack_each(items)
        padding.tell(context, header[-1])
        try:
            return await self._results(header, body, block)
        except packing.Garbled:
            return await self._results(*await self._ask(child, ("again",)))

    async def _results(self, header: Any, body: memoryview, block: Block | None = None) -> Sequence[Any]:
        if header[0] == "failed":
            raise _error(header, body)
        unload = functools.partial(self._cargo.unload, header, body, block)
        return await self._aside.run(unload) if self._cargo.is_long_to_unload(header) else unload()

    # Waiting.

    async def _ask(self, child: Child, question: Any, body: Any = b"", block: Block | None = None) -> framing.Message:
        """Return what `child` answers. Raises `WorkerLost` if it does not."""
        parts = framing.frame(question, body)
        if block is None or block.descriptor is None:
            sent = child.ask(parts, (), self._timeout(child))
        else:
            sent = child.ask(parts, (block.descriptor,), self._timeout(child))
            block.handed_over()
        reply = child.reply  # which may be there by the time that all is sent
        if not child.deaf and sent < sum(map(len, parts)):
            await self._aside.run(child.send, parts, sent)
        return await self._answer(child, reply)

    async def _answer(self, child: Child, future: asyncio.Future[Reply] | None) -> framing.Message:
        try:
            reply = None if future is None else await future
        except asyncio.CancelledError:
            child.forsake()
            raise
        if reply is None:
            raise self._lost(child)
        return reply

    def _timeout(self, child: Child) -> float:
        return self._settings.timeout if child.loaded else self._settings.build_timeout

    def _lost(self, child: Child) -> WorkerLost:
        timeout = self._timeout(child) if child.late else None
        return WorkerLost.ended(self._name, child.exit_code or 0, timeout, loaded=child.loaded)


def _error(header: Any, body: memoryview) -> BaseException:
    _, kind, notes, _ = header
    try:
        error: BaseException = pickle.loads(body)  # noqa: S301  # from our own worker
    except Exception:  # noqa: BLE001  # the user's class may do anything
        error = RuntimeError(f"the batch function raised a {kind} that does not unpickle here")
        for note in notes:
            error.add_note(note)
    return error
