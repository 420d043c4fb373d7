"""The worker: what runs in the process that an executor starts. One question at a time, until the socket is closed.

Questions                                                   answers, which all have what `padding` gathered as their last
    "load", setup                                               "done"
    "run", description, block, used, dropped                    "done", description, offset, size, room
    "again", if the results did not unpickle                    "again", if the items did not unpickle
                                                                "failed", name of the exception, notes
What is described lies in the block, the items in its first `used` bytes and the results at `offset`, or in the body of the
message, if there is no block or no offset. A body is also what holds the function's reference and the pickled exception.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import pickle
import select
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

from asyncbatch import padding
from asyncbatch.scatter import checked

from . import framing, packing
from .answers import answer_plainly, plain
from .arena import Mirror

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("GRACE", "Worker", "main", "starting")

GRACE = 5.0
"""Seconds that a worker has to end by itself when its parent has closed the socket."""

_starting = False


def starting() -> bool:
    """Whether this process is a worker that imports the user's main module just now."""
    return _starting


def main(descriptor: int) -> None:
    """Serve the other end of the socket `descriptor`."""
    # Ctrl-C reaches every process in the terminal, but what it means is for the parent to say. Blocked until here.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # what is printed is not lost when the process is
    if sys.stderr is not None:
        faulthandler.enable()
    sock = socket.socket(fileno=descriptor)
    worker = Worker(sock)
    threading.Thread(target=_leave_with_parent, args=(sock, worker), name="asyncbatch parent", daemon=True).start()
    worker.serve()


class Worker:
    """The user's function, in this process, and what asks for it."""

    def __init__(self, sock: socket.socket) -> None:
        self.busy = False
        self._sock = sock
        self._process = os.getpid()
        self._blocks = Mirror()
        self._function: Callable[..., Any] | None = None
        self._name = ""
        self._outputs: Any = None

    def serve(self) -> None:
        """Answer questions until there are no more."""
        inbox = framing.Inbox()
        with contextlib.suppress(ConnectionError):  # the parent is gone, and nobody waits for an answer
            while (message := framing.receive(self._sock, inbox)) is not None:
                self.busy = True
                self._answer(*message)
                self.busy = False
                del message

    def _answer(self, message: framing.Message, descriptors: list[int]) -> None:
        (what, *details), body = message
        answers: dict[str, Callable[..., Any]] = {"load": self._load, "run": self._run, "again": self._again}
        ok, outcome, *gathered = padding.gathering(answer_plainly, answers[what], body, descriptors, *details)
        if os.getpid() != self._process:
            os._exit(1)  # a fork that the function made and let return: only one of them may answer
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        if not ok:
            header = "failed", type(outcome).__name__, getattr(outcome, "__notes__", [])
            outcome = header, pickle.dumps(outcome)
        header, body = outcome
        framing.send(self._sock, framing.frame((*header, gathered), body))
        # What was worked out is let go of once the answer is on its way; if that may not unpickle, with the next question.
        match header:
            case "done", ("whole", *_), *_:
                pass
            case _:
                self._outputs = None

    def _load(self, reference: memoryview, _: list[int], setup: dict[str, Any]) -> tuple[Any, bytes]:
        self._name = setup["batcher"]
        _become(setup["main"])
        if setup["numpy"]:
            packing.numpy()  # now, and not in the time of the first batch
        function = pickle.loads(reference)  # noqa: S301  # from our parent
        self._function = function() if setup["build"] else function
        return ("done",), b""

    def _run(
        self,
        body: memoryview,
        descriptors: list[int],
        description: packing.Description,
        block: tuple[int, int] | None,
        used: int,
        dropped: list[int],
    ) -> tuple[Any, Any]:
        self._outputs = None
        self._blocks.drop(dropped)
        memory = None if block is None else self._blocks.get(*block, descriptors)
        try:
            given = packing.unpack(description, body if memory is None else memory[:used])
        except packing.Garbled:
            return ("again",), b""
        self._outputs = self._results(given)
        return _placed(packing.pack(self._outputs), memory, used)

    def _again(self, *_: object) -> tuple[Any, Any]:
        return _placed(packing.pack_each(self._outputs), None, 0)

    def _results(self, given: packing.Unpacked) -> Any:
        if not given.errors:
            return self._called(given.values)
        good = [item for number, item in enumerate(given.values) if number not in given.errors]
        outputs = iter(self._called(good) if good else ())
        return [given.errors[number] if number in given.errors else next(outputs) for number in range(len(given.values))]

    def _called(self, items: list[Any]) -> Any:
        expected = len(items)
        outputs: Any = self._function(items)  # type: ignore[misc]
        np = sys.modules.get("numpy")
        if np is not None and type(outputs) is np.ndarray and outputs.ndim and len(outputs) == expected:
            return outputs
        if type(outputs) is not packing.Rows or len(outputs) != expected:
            outputs = checked(outputs, expected, self._name)
        if any(issubclass(kind, BaseException) for kind in set(map(type, outputs))):
            return [plain(each) if isinstance(each, BaseException) else each for each in outputs]
        return outputs


def _placed(packed: packing.Packed, memory: memoryview | None, used: int) -> tuple[Any, Any]:
    """Write the results behind the items, if there is room, or into the body of the answer; return the answer."""
    offset, room = _offset(packed, memory, used), packed.size
    if memory is None or offset + packed.size > len(memory):
        body = framing.room_for(packed.size)
        packed.write(body)
        return ("done", packed.description, None, packed.size, room), body
    if offset < used:  # worked out in place of the items
        room = 0
    else:
        packed.write(memory[offset : offset + packed.size])
    return ("done", packed.description, offset, packed.size, room), b""


def _offset(packed: packing.Packed, memory: memoryview | None, used: int) -> int:
    """Return where the results are to lie, or do lie already."""
    if packed.array is not None and memory is not None:
        offset = _address(packed.array) - _address(packing.numpy().frombuffer(memory, "u1"))
        if 0 <= offset <= used - packed.size:
            return offset
    return packing.aligned(used)


def _address(array: Any) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _become(main: dict[str, Any]) -> None:
    """Import the user's main module, under another name, so that what it defines can be had by name."""
    from multiprocessing import spawn  # noqa: PLC0415  # loaded by the parent's setup too, and needed once

    global _starting  # noqa: PLW0603  # it is the state of the process
    _starting = True
    try:
        spawn.prepare(main)
    finally:
        _starting = False


def _leave_with_parent(sock: socket.socket, worker: Worker) -> NoReturn:
    """End this process when the parent has ended, or does not want it any more."""
    poller = select.poll()
    poller.register(sock, 0)  # that the other end was closed is always told
    with contextlib.suppress(AttributeError, OSError):  # another process may hold the other end as well, after a fork
        poller.register(os.pidfd_open(os.getppid()), select.POLLIN)
    poller.poll()
    if not worker.busy:
        time.sleep(GRACE)  # it ends by itself, with all that is to be done at its end
    os._exit(1)
