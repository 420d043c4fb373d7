"""Cargo: what of a batch and its results goes through shared memory, and what in the message itself."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from . import framing, packing
from .arena import Arena

if TYPE_CHECKING:
    from .arena import Block

__all__ = ("Cargo",)

_LARGE = 1 << 20  # bytes that take some hundred microseconds to copy: an event loop has better things to do
_SMALL = 1 << 15  # bytes up to which a message is the better place


class Cargo:
    """The arena of one worker, and how it is used."""

    def __init__(self, name: str, arena: int) -> None:
        self._name = name
        self._arena = Arena(arena)
        self._room: int | None = None  # what the largest results so far took behind the items
        self._warned = False

    def is_long_to_load(self, packed: packing.Packed) -> bool:
        """Whether `load` takes so long that it had better be done elsewhere than on the loop."""
        return max(packed.size, self._room or 0) > _LARGE

    def load(self, packed: packing.Packed) -> tuple[Block | None, Any]:
        """Write a batch to a block with room for its results, or to what the message is to hold; return both."""
        room = packed.size if self._room is None else self._room
        block = self._block(packed.size, room) if packed.size + room > _SMALL else None
        body = framing.room_for(packed.size if block is None else 0)
        packed.write(body if block is None else block.memory[: packed.size])
        return block, body

    def is_long_to_unload(self, header: Any) -> bool:
        """Whether `unload` takes so long: whether it copies much."""
        _, _, offset, size, *_ = header
        return offset is not None and size > _LARGE and self._arena.crowded

    def unload(self, header: Any, body: memoryview, block: Block | None) -> list[Any]:
        """Return the results. Raises `packing.Garbled` if they do not unpickle.

        Small ones are copied. Others lie in the block, which is kept for as long as any caller holds one of them; where
        callers hold so much that batches to come have no room, they are copied as well.
        """
        _, description, offset, size, room, _ = header
        self._room = max(self._room or 0, room)
        if offset is None or block is None:
            return list(packing.unpack(description, body).values)
        copy = size <= _SMALL or self._arena.crowded
        unpacked = packing.unpack(description, block.memory[offset : offset + size], copy=copy)
        if not copy and unpacked.anchor is not None:
            block.keep_for(unpacked.anchor)
        return list(unpacked.values)  # callers need not know in what they lay

    def dropped(self) -> list[int]:
        """Return the numbers of the blocks that the worker can let go of, once."""
        return self._arena.dropped()

    def _block(self, size: int, room: int) -> Block | None:
        if not self._arena.limit:
            return None
        try:
            block = self._arena.take(packing.aligned(size) + room)
            if block is None:
                self._warn(f"{size} bytes of a batch and {room} of results find no room in an arena of {self._arena.limit}")
                block = self._arena.take(size)
        except (OSError, AttributeError) as error:
            self._arena.limit = 0
            self._warn(f"there is no memory to share ({error})")
            return None
        return block

    def _warn(self, what: str) -> None:
        if not self._warned:
            self._warned = True
            advice = (
                "batches go through a socket, which is slower; write ProcessExecutor(arena=...) for more, or 0 for none"
            )
            warnings.warn(f"for a worker of batcher {self._name!r} {what}; {advice}", RuntimeWarning, stacklevel=2)
