"""Framing: messages on the socket between a batcher and its worker. A header of plain values, and a body of bytes.

length of the header, length of the body | header, pickled | body
"""

from __future__ import annotations

import pickle
import socket
import struct
from array import array
from typing import Any, TypeAlias

__all__ = ("CHUNK", "Message", "frame", "length", "parse", "receive", "send")

Message: TypeAlias = tuple[Any, memoryview]
"""The header, and the body, which is writable and nobody else's."""

CHUNK = 1 << 14
"""Bytes to read at first: most messages are shorter, and memory for longer ones costs more than to read them."""

_HEAD = struct.Struct("<IQ")


def frame(header: Any, body: Any = b"") -> list[Any]:
    """Return the buffers that make a message."""
    data = pickle.dumps(header, 5)
    return [_HEAD.pack(len(data), len(body)) + data, body]


def length(data: bytes | bytearray) -> int:
    """Return how long the message is that begins with `data`, as far as that can be told yet."""
    return _HEAD.size + sum(_HEAD.unpack_from(data)) if len(data) >= _HEAD.size else _HEAD.size


def parse(data: bytearray) -> Message:
    """Take a whole message apart."""
    header, _ = _HEAD.unpack_from(data)
    whole = memoryview(data)
    return pickle.loads(whole[_HEAD.size : _HEAD.size + header]), whole[_HEAD.size + header :]  # noqa: S301  # our own


def send(sock: socket.socket, parts: list[Any], sent: int = 0) -> None:
    """Send all of a message but its first `sent` bytes, and wait until it is on its way."""
    if not sent:
        sent = sock.sendmsg(parts)
    for part in parts:
        skip = min(sent, len(part))
        sent -= skip
        if skip < len(part):
            sock.sendall(memoryview(part)[skip:])


def receive(sock: socket.socket) -> tuple[Message, list[int]] | None:
    """Wait for a message, with the file descriptors that came with it; None when there will be none."""
    first, rights, _, _ = sock.recvmsg(CHUNK, socket.CMSG_SPACE(array("i").itemsize))
    data = bytearray(first)
    while len(data) < (end := length(data)):
        more = sock.recv(max(CHUNK, end - len(data)))
        if not more:
            return None
        data += more
    return parse(data), [each for _, _, packed in rights for each in array("i", packed)]
