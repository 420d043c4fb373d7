"""The arena: blocks of memory that a batcher and its worker both see.

A block holds one batch, and behind it what came of it. Blocks have no name anywhere: they are anonymous files, handed to
the worker over its socket, and are gone when both sides have let go of them, however each side ended.
"""

from __future__ import annotations

import mmap
import os
import weakref
from typing import Any

__all__ = ("Arena", "Block", "Mirror")

_SMALLEST = 1 << 20
_HELD = 8  # blocks, of which each is an open file in both processes


class Block:
    """Some memory. `number` is its name between the two processes, `descriptor` what the other side opens it with."""

    def __init__(self, number: int, size: int) -> None:
        self.number, self.size = number, size
        self.descriptor: int | None = None
        self.descriptor = os.memfd_create("asyncbatch")
        try:
            os.posix_fallocate(self.descriptor, 0, size)  # else it is a bus error, later, that tells of too little memory
            self.memory = _mapped(self.descriptor, size)
        except BaseException:
            self.handed_over()
            raise
        self._anchor: Any = None

    def handed_over(self) -> None:
        """Note that the other side has the block, or never will."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def keep_for(self, anchor: Any) -> None:
        """Keep what is in the block for as long as `anchor` is alive."""
        self._anchor = weakref.ref(anchor)

    @property
    def free(self) -> bool:
        """Whether nobody holds anything that lies in it."""
        return self._anchor is None or self._anchor() is None

    __del__ = handed_over


class Arena:
    """The blocks for one worker, of no more than `limit` bytes together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._blocks: list[Block] = []
        self._count = 0
        self._dropped: list[int] = []

    def take(self, size: int) -> Block | None:
        """Return a block of at least `size` bytes, the smallest that is free or a new one; None if there is no room.

        Raises `OSError` if the system has no memory to share.
        """
        if size > self.limit:
            return None
        free = sorted((block for block in self._blocks if block.free), key=lambda block: block.size)
        for block in free:
            if block.size >= size:
                return block
        for block in free:  # too small: the next batches will be as large as this one
            self._drop(block)
        room = self.limit - sum(block.size for block in self._blocks)
        return self._make(min(room, max(size + size // 4, _SMALLEST))) if size <= room else None

    @property
    def crowded(self) -> bool:
        """Whether what callers still hold leaves too little for batches to come."""
        held = [block.size for block in self._blocks if not block.free]
        return len(held) >= _HELD or sum(held) * 2 > self.limit

    def dropped(self) -> list[int]:
        """Return the numbers of the blocks that the other side can let go of, once."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def _make(self, size: int) -> Block:
        self._count += 1
        block = Block(self._count, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
        self._blocks.append(block)
        return block

    def _drop(self, block: Block) -> None:
        self._blocks.remove(block)
        if block.descriptor is None:
            self._dropped.append(block.number)


class Mirror:
    """The same blocks, as the worker sees them."""

    def __init__(self) -> None:
        self._blocks: dict[int, memoryview] = {}

    def get(self, number: int, size: int, descriptors: list[int]) -> memoryview:
        """Return a block, which comes with its descriptor the first time."""
        for descriptor in descriptors:
            self._blocks[number] = _mapped(descriptor, size)
            os.close(descriptor)
        return self._blocks[number]

    def drop(self, numbers: list[int]) -> None:
        for number in numbers:
            self._blocks.pop(number, None)


def _mapped(descriptor: int, size: int) -> memoryview:
    # Populated, as touching each page for the first time costs as much as using it. Not every system has both flags.
    return memoryview(mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)))
