"""A child: a worker process and the socket to it, as the event loop sees them, which nothing here holds up."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import weakref
from array import array
from typing import TYPE_CHECKING, Any, TypeAlias

from . import framing
from .worker import GRACE

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

__all__ = ("Child", "Reply")

Reply: TypeAlias = framing.Message | None
"""What the worker said; None if it ended instead."""

_LONG = 1e6  # seconds; that there is a time at all lets a thread wait on a socket on which the loop must not
_PROGRAM = "import sys; sys.path[:] = sys.argv[2:]; from asyncbatch.executors.worker import main; main(int(sys.argv[1]))"


class Child:
    """One worker process. It can be asked one thing at a time. Making one takes milliseconds; a thread can."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        with theirs:
            self._process = _spawn(theirs)
        # Also at the end of the interpreter, for those that nobody closes.
        self.end = weakref.finalize(self, _end, self._process, self._socket, os.getpid())
        self.reply: asyncio.Future[Reply] | None = None  #: while something is asked
        self.loaded = False  #: whether it has the user's function
        self.late = False  #: whether it was killed because its time was up
        self.deaf = False  #: whether it ended before it heard what it was asked
        self.unwanted = False  #: whether it was killed because nobody waits for it any more
        self._inbox = framing.Inbox()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_end: Callable[[Child], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watched: int | None = None

    @property
    def attached(self) -> bool:
        return self._loop is not None

    def attach(self, loop: asyncio.AbstractEventLoop, on_end: Callable[[Child], None]) -> None:
        """Let `loop` hear the child, and tell `on_end` when it ended, unless it was detached before."""
        self._loop, self._on_end = loop, on_end
        loop.add_reader(self._socket, self._hear)
        with contextlib.suppress(AttributeError, OSError):  # not every system has it
            # What the worker forked may hold its end of the socket when it is gone, so there is more to watch than that.
            self._watched = os.pidfd_open(self._process.pid)
            loop.add_reader(self._watched, self._hear_last)

    @property
    def exit_code(self) -> int | None:
        """What it ended with, a signal's number below zero; None while it lives."""
        return self._process.returncode

    def ask(self, parts: list[Any], descriptors: Sequence[int] = (), timeout: float = math.inf) -> int:
        """Begin to send a message, to be answered within `timeout` seconds; return how many bytes are on their way."""
        if self._loop is None:  # it ended while the question was thought out
            self.deaf = True
            return 0
        self.reply = self._loop.create_future()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
        try:
            sent = self._socket.sendmsg(parts, rights)
        except OSError:
            self.deaf = True
            self._hang_up()
            return 0
        if timeout < math.inf:
            self._timer = self._loop.call_later(timeout, self._time_out)
        return sent

    def send(self, parts: list[Any], sent: int) -> None:
        """Send all but the first `sent` bytes of a message. Takes as long as the child takes to read it."""
        # The end of the child is told in another way.
        with contextlib.suppress(OSError), self._socket.dup() as waiting:
            waiting.settimeout(_LONG)
            framing.send(waiting, parts, sent)

    def forsake(self) -> None:
        """Note that whoever waited for the reply was cancelled, and the future with it: another may wait in its place."""
        if self.reply is not None and self._loop is not None:
            self.reply = self._loop.create_future()

    def kill(self) -> None:
        """Stop the child, whatever it does."""
        self._process.kill()

    def detach(self) -> None:
        """Hear the child no more."""
        loop, self._loop, self._on_end = self._loop, None, None
        if loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        if not loop.is_closed():
            loop.remove_reader(self._socket)
        if self._watched is not None:
            if not loop.is_closed():
                loop.remove_reader(self._watched)
            os.close(self._watched)

    def _hear(self) -> None:
        try:
            size = self._socket.recv_into(self._inbox.room)
        except BlockingIOError:
            return
        except OSError:
            size, self.deaf = 0, not self.late  # reset: it ended before it read all that was sent
        if not size:
            self._hang_up()
        elif (message := self._inbox.took(size)) is not None:
            self._settle(message)

    def _hang_up(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._socket)
        self._process.kill()  # if it has not ended, it hears nothing any more
        if self._watched is None:
            self._bury()

    def _hear_last(self) -> None:
        self._hear()  # it may have answered just before
        self._bury()

    def _bury(self) -> None:
        on_end = self._on_end
        self.detach()
        self.end()  # nothing to wait for
        if on_end is not None:
            on_end(self)
        self._settle(None)

    def _settle(self, reply: Reply) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        future, self.reply = self.reply, None
        if future is not None and not future.done():
            future.set_result(reply)

    def _time_out(self) -> None:
        self.late = True
        self._process.kill()


def _spawn(sock: socket.socket) -> subprocess.Popen[bytes]:
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001  # as multiprocessing does
    program = [
        sys.executable,
        *flags,
        "-c",
        _PROGRAM,
        str(sock.fileno()),
        *(path for path in sys.path if type(path) is str),
    ]
    # Until it can ignore Ctrl-C it must not hear it; what is blocked here is blocked there.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(program, stdin=subprocess.DEVNULL, pass_fds=[sock.fileno()])  # noqa: S603  # it is ours
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(process: subprocess.Popen[bytes], sock: socket.socket, owner: int) -> None:
    """Tell a worker to end, wait until it has, and kill it if that takes it too long."""
    if os.getpid() != owner:
        process.returncode = 0  # a fork of ours, which has no such child
        sock.close()
        return
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)  # closing would not do while a fork of this process has it too
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    sock.close()
