"""The seam between the batcher and every place where a batch can run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from concurrent.futures import Future
    from contextvars import Context

__all__ = ("Executor", "Slot", "prepared")


class Slot(Protocol):
    """A place where one batch at a time can run."""

    cancellable: bool
    """Whether a `run` that is cancelled stops its work; if not, nobody cancels it just because its callers left."""

    # It may have `ends_with_close = True`: closing it stops its work, so nobody need wait for what nobody wants any more.
    # It may say `where` its work runs: on the "loop", in a "thread", which shares the interpreter with it, or "apart", as
    # one that does not say is taken to. In a thread it has the seconds that its last batch `worked`, and did not wait, too.
    # It may have `restarts`, a `Restarts`: the batcher hears from it when a worker is lost.
    # In another process it may run the function by `padding.gathering`, and `padding.tell` here what comes back of that.

    @property
    def available(self) -> bool:
        """Whether a batch can run here right now: what the function needs is built, and no earlier work goes on."""
        raise NotImplementedError

    async def prepare(self) -> None:
        """Make the slot available: build the user's class, or wait for the end of work whose awaiter left.

        Raises what the class raised; the batcher hands that to the callers of the next batch, and tries again then.
        """

    def run(self, items: list[Any], context: Context) -> Awaitable[Sequence[Any]] | tuple[Sequence[Any]]:
        """Run the function on `items`, in `context` if it runs in this process; return or raise what it did.

        What it returned is awaited; or else, if it is there at once, as on the loop, it is all that is in a tuple.
        """
        raise NotImplementedError

    def close(self) -> Future[Any] | None:
        """Let go of everything the slot holds, without waiting for work that still runs there.

        If that takes a while, return what is done when nothing is left; closing the batcher waits for it.
        """
        raise NotImplementedError


class Executor(Protocol):
    """The frozen configuration of a kind of slot."""

    @property
    def capacity(self) -> int:
        """How many slots a batcher has to begin with."""
        raise NotImplementedError

    def open(self, function: Callable[..., Any], name: str, count: int) -> Sequence[Slot]:
        """Make `count` slots for the batcher of that `name`: at first, and again when it is given more."""
        raise NotImplementedError


async def prepared(slot: Slot) -> BaseException | None:
    """Make the slot available, or return what its next batch fails with."""
    try:
        await slot.prepare()
    except GeneratorExit:
        raise
    except BaseException as error:  # the user's constructor may raise anything: its callers are told
        if isinstance(error, asyncio.CancelledError) and asyncio.current_task().cancelling():  # type: ignore[union-attr]
            raise
        return error
    return None
