"""Framing: messages on the socket between a batcher and its worker. A header of plain values, and a body of bytes.

length of the header, length of the body | header, pickled | body
"""

from __future__ import annotations

import mmap
import pickle
import socket
import struct
from array import array
from typing import Any, TypeAlias

__all__ = ("Inbox", "Message", "frame", "receive", "room_for", "send")

Message: TypeAlias = tuple[Any, memoryview]
"""The header, and the body, which is writable and nobody else's."""

_FIRST = 1 << 14  # bytes to read at first: most messages are shorter
_CHUNK = 1 << 18
_LARGE = 1 << 20
_HEAD = struct.Struct("<IQ")


def frame(header: Any, body: Any = b"") -> list[Any]:
    """Return the buffers that make a message."""
    data = pickle.dumps(header, 5)
    return [_HEAD.pack(len(data), len(body)) + data, body]


def room_for(size: int) -> memoryview:
    """Return as much memory, to be written to. Where zeroing it takes long, the system does so as it is used."""
    return memoryview(
        bytearray(size) if size < _LARGE else mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    )


class Inbox:
    """What of a message is there. One at a time, as nobody asks before the last question is answered."""

    def __init__(self) -> None:
        self._memory, self._filled = room_for(_FIRST), 0

    @property
    def room(self) -> memoryview:
        """Where to read what comes next, of which no more is taken at once than an event loop has time for."""
        return self._memory[self._filled : self._filled + _CHUNK]

    def took(self, size: int) -> Message | None:
        """Note that `size` more bytes are there; return the message once it is whole."""
        self._filled += size
        if self._filled < _HEAD.size:
            return None
        header, body = _HEAD.unpack_from(self._memory)
        end = _HEAD.size + header + body
        if self._filled < end:
            self._make_room(end)
            return None
        whole = self._memory[_HEAD.size : end]
        self._memory, self._filled = room_for(_FIRST), 0
        return pickle.loads(whole[:header]), whole[header:]  # noqa: S301  # from our own other half

    def _make_room(self, size: int) -> None:
        if len(self._memory) < size:
            larger = room_for(size)
            larger[: self._filled] = self._memory[: self._filled]
            self._memory = larger


def send(sock: socket.socket, parts: list[Any], sent: int = 0) -> None:
    """Send all of a message but its first `sent` bytes, and wait until it is on its way."""
    if not sent:
        sent = sock.sendmsg(parts)
    for part in parts:
        skip = min(sent, len(part))
        sent -= skip
        if skip < len(part):
            sock.sendall(memoryview(part)[skip:])


def receive(sock: socket.socket, inbox: Inbox) -> tuple[Message, list[int]] | None:
    """Wait for a message, with the file descriptors that came with it; None when there will be none."""
    descriptors = array("i")
    while True:
        size, rights, _, _ = sock.recvmsg_into([inbox.room], socket.CMSG_SPACE(descriptors.itemsize))
        for _, _, packed in rights:
            descriptors.frombytes(packed)
        if not size:
            return None
        if (message := inbox.took(size)) is not None:
            return message, descriptors.tolist()
