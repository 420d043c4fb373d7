"""The life of a batcher: entered in one event loop, serving its thread, closed; known to have been forked, or dropped."""

from __future__ import annotations

import asyncio
import math
import os
import sys
import warnings
import weakref
from typing import TYPE_CHECKING, Self

from . import parameters
from .errors import AsyncBatchError, Closed, NotRunning, WouldDeadlock
from .flight import CURRENT
from .here import NOWHERE, here

if TYPE_CHECKING:
    from collections.abc import Callable

    from .house import House
    from .residents import Residents

__all__ = ("Lifetime",)

_open_ones: weakref.WeakSet[Lifetime] = weakref.WeakSet()


class Lifetime:
    """What can be entered and closed. `_home` is what `here` says in its event loop while requests are taken, else nowhere:

    one comparison tells on each request that the batcher is open and that the caller is in the right place.
    """

    name: str
    _residents: Residents
    _house: House

    def __init__(self) -> None:
        self._state = "new"
        self._home = NOWHERE
        self._warns = True

    def _make_residents(self) -> Residents:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        if self._state == "open" and not self._house.loop.is_closed():
            raise RuntimeError(f"batcher {self.name!r} is entered already; make another one for another block")
        self._open()
        try:
            await self.ready()
        except BaseException:
            await self.aclose(drain=False, timeout=0)
            raise
        return self

    async def ready(self) -> None:
        """Wait until every worker has built its class, as entering the batcher does; raises what the class raised."""
        await self._residents.ready()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # When the block failed, its error is not held back for those who still wait.
        await self.aclose(drain=kind is None)

    def _open(self) -> None:
        self._residents = self._make_residents()
        self._house = self._residents.house
        self._home = here()
        self._state = "open"
        _open_ones.add(self)

    def start_quietly(self) -> None:
        """Start without a block that closes it: the batcher ends with its event loop, or when it is dropped."""
        self._warns = False
        self._open()

    @property
    def closed(self) -> bool:
        """Whether it was closed, and not entered again."""
        return self._state == "closed"

    @property
    def forked(self) -> bool:
        """Whether it was entered in a process of which this one is a fork."""
        return self._state == "forked"

    async def aclose(self, drain: bool = True, timeout: float = math.inf) -> None:
        """Take no more requests, answer all who wait, and let go of what the batcher holds; harmless when repeated.

        With `drain=False` those who wait in the queue get `Closed`, and only batches in flight are awaited. After
        `timeout` seconds whoever still waits gets `Closed`; work in a thread goes on until it ends, its results are
        dropped. A cancelled `aclose` does the same at once. Called by the batcher's own function, it begins to close and
        does not wait.

        Raises `NotRunning` when called from another event loop than the one the batcher was entered in.
        """
        parameters.seconds("timeout", timeout)
        if self._state in ("new", "forked"):
            return
        loop = self._house.loop
        if asyncio.get_running_loop() is loop:
            self._shut(drain=drain)
            if not self.in_own_flight():
                await self._residents.ended(timeout)
        elif loop.is_closed():
            self._state, self._home = "closed", NOWHERE
            self._residents.abandon()
        else:
            raise NotRunning(f"batcher {self.name!r} must be closed in the event loop it was entered in")

    def _shut(self, *, drain: bool) -> None:
        self._state = "closed"
        self._home = NOWHERE
        _open_ones.discard(self)
        self._residents.begin_close(drain=drain)

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        # Not by way of __dict__: making one here keeps all that is in it from this collection.
        if getattr(self, "_state", "new") != "open" or sys.is_finalizing():
            return
        if self._warns:
            _warn(f"batcher {self.name!r} was not closed; write `async with`", ResourceWarning, source=self, stacklevel=2)
        self._residents.abandon()

    def in_own_flight(self) -> bool:
        """Whether the batcher's own function is calling: waiting for a batch would be waiting for itself."""
        flight = CURRENT.get()
        return flight is not None and not flight.landed and flight.batcher is self._house

    def _refuse_misplaced(self) -> None:
        """Raise if the call comes from another loop of this thread, or from where waiting for it would never end."""
        if not self._house.loop.is_running():
            raise NotRunning.elsewhere(self.name)
        if self.in_own_flight() and self._house.all_busy():
            raise WouldDeadlock(
                f"the function of batcher {self.name!r} calls the batcher itself, and no slot is left to answer; call the "
                "function directly, or give the executor more slots than calls can nest"
            )

    def _refusal(self) -> AsyncBatchError:
        """Return what is wrong about a call that did not come from the batcher's thread, or not in its time."""
        if self._state == "closed":
            return Closed(f"batcher {self.name!r} is closed; enter it again, or make a new one")
        if self._state == "new":
            return NotRunning(f"batcher {self.name!r} was not entered; write `async with batcher:` around its calls")
        if self._state == "forked":
            return NotRunning(
                f"batcher {self.name!r} was entered before this process was forked; enter it again in the child"
            )
        if not self._house.loop.is_running():
            return NotRunning.elsewhere(self.name)
        return NotRunning(
            f"batcher {self.name!r} was called from another thread than its event loop's; "
            "call it there, or use asyncbatch.sync.Batcher, which threads can share"
        )


def _forget_all() -> None:
    # The thread of the loop has the same identity in the child, but its loop and its workers stayed in the parent.
    for each in list(_open_ones):
        each._state, each._home = "forked", NOWHERE  # noqa: SLF001
    _open_ones.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
