"""Every error asyncbatch raises by itself, in the order in which a request can meet them.

AsyncBatchError
    intake      NotRunning(RuntimeError)        the batcher was not entered, or belongs to another loop or process
                Closed(RuntimeError)            it was closed before this request had its result
                ItemTooLarge(ValueError)        it costs more than a batch may, and the batcher rejects those
                QueueFull(asyncio.QueueFull)    its queue had no room, and its discipline does not wait
                WouldDeadlock(RuntimeError)     its own function called it with no slot left to answer
    queue       DeadlineExceeded(TimeoutError)  `timeout=` ran out first, or an objective cannot be met
    executor    WorkerLost(RuntimeError)        the process that ran its batch ended, or was stopped
    function    OutputCountMismatch(ValueError) as many results as items were due
                OutputTypeError(TypeError)      what came back is no sequence of results
                FunctionFailed(RuntimeError)    it raised something that cannot be handed to several callers
    keeping     CheckpointError(RuntimeError)   the checkpoint of an imap cannot be used, or two items have one id

What the user's function raises is not wrapped: each caller gets an object of the same type.
No message holds an item or a result: they may be secret.
"""

from __future__ import annotations

import asyncio

__all__ = (
    "AsyncBatchError",
    "CheckpointError",
    "Closed",
    "DeadlineExceeded",
    "FunctionFailed",
    "ItemTooLarge",
    "NotRunning",
    "OutputCountMismatch",
    "OutputTypeError",
    "QueueFull",
    "WorkerLost",
    "WouldDeadlock",
)


_SIGKILL = 9  # as everywhere; `signal` has no name for it on Windows


class AsyncBatchError(Exception):
    """The base of every error that asyncbatch raises by itself."""


class NotRunning(AsyncBatchError, RuntimeError):
    """Raised when a batcher is used that was not entered, or from another event loop, thread or process."""

    @classmethod
    def elsewhere(cls, name: str) -> NotRunning:
        """Return what those get who call from another event loop."""
        return cls(
            f"batcher {name!r} belongs to another event loop; enter a batcher in each loop, "
            "or call it from threads through asyncbatch.sync"
        )


class Closed(AsyncBatchError, RuntimeError):
    """Raised to callers of a closed batcher, and to those it could no longer serve when it closed."""

    @classmethod
    def too_early(cls, name: str) -> Closed:
        """Return what those get who still wait as a batcher closes."""
        return cls(f"batcher {name!r} was closed before this request had its result")

    @classmethod
    def by_others(cls, name: str) -> Closed:
        """Return what those get who wait as somebody else cancels a batcher's task."""
        return cls(
            f"the task of batcher {name!r} was cancelled from outside before this request had its result; "
            "call again: the next call starts it anew"
        )


class ItemTooLarge(AsyncBatchError, ValueError):
    """Raised with `oversized="reject"` for an item that alone costs more than `max_batch_cost`: trying again is no use."""

    @classmethod
    def of(cls, name: str, cost: float, most: float) -> ItemTooLarge:
        """Return what those get who hand in an item that costs `cost` where a batch may cost `most`."""
        return cls(
            f"an item costs {cost:g}, and a batch of batcher {name!r} at most max_batch_cost={most:g}; cut it in parts, "
            "raise max_batch_cost, or write oversized='alone' to let it run by itself"
        )


class QueueFull(AsyncBatchError, asyncio.QueueFull):
    """Raised when the queue has no room for a request that may not wait for it, or that was evicted from it.

    `retry_after` estimates the seconds until what waits now is served; 0.0 before any batch was measured.
    """

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    @classmethod
    def of(cls, name: str, waiting: int, retry_after: float) -> QueueFull:
        """Return what one more gets when `waiting` fill the queue."""
        return cls(
            f"the queue of batcher {name!r} is full, {waiting} wait in it; come back after `retry_after` seconds, "
            "or write queue=Fifo(maxsize=..., when_full='wait') and `await batcher(item)`",
            retry_after,
        )

    def __reduce__(self) -> tuple[type[QueueFull], tuple[str, float]]:
        return type(self), (str(self), self.retry_after)


class WouldDeadlock(AsyncBatchError, RuntimeError):
    """Raised when a batch function calls its own batcher while every slot, its own among them, is taken."""


class DeadlineExceeded(AsyncBatchError, TimeoutError):
    """Raised when a request's `timeout` runs out before its result is there, or it cannot meet an objective any more."""


class WorkerLost(AsyncBatchError, RuntimeError):
    """Raised to a whole batch when its worker ended before it answered, and while no new worker can be had.

    `exit_code` is what the process ended with; `signal` is the number of the signal that killed it. None where there is
    none. The batch may have run in part; `retries=` of the executor runs it again.
    """

    def __init__(self, message: str, exit_code: int | None = None, signal: int | None = None) -> None:
        super().__init__(message)
        self.exit_code, self.signal = exit_code, signal

    @classmethod
    def ended(cls, name: str, exit_code: int, timeout: float | None, *, loaded: bool) -> WorkerLost:
        """Return what a batch gets whose worker ended with `exit_code`; `timeout` if that was why it was killed."""
        worker, while_ = f"a worker of batcher {name!r}", "ran this batch" if loaded else "was being prepared"
        if timeout is not None:
            return cls(f"{worker} was killed, as it {_late(timeout, loaded=loaded)}", None, -exit_code)
        if exit_code >= 0:
            return cls(f"{worker} ended with exit code {exit_code} while it {while_}", exit_code)
        hint = "; too little memory is what mostly sends this one" if exit_code == -_SIGKILL else ""
        return cls(f"{worker} was killed by signal {-exit_code} while it {while_}{hint}", None, -exit_code)

    @classmethod
    def far_away(cls, name: str, timeout: float | None, *, loaded: bool) -> WorkerLost:
        """Return what a batch gets whose worker, on a cluster, was lost; `timeout` if that was why it was killed."""
        worker, while_ = f"a worker of batcher {name!r}", "ran this batch" if loaded else "was being prepared"
        if timeout is not None:
            return cls(f"{worker} was killed, as it {_late(timeout, loaded=loaded)}")
        return cls(f"{worker} was lost while it {while_}; what the cluster says of it is the cause of this error")

    @classmethod
    def too_often(cls, name: str, times: int, seconds: float) -> WorkerLost:
        """Return what a batch gets when so many workers were lost within so many seconds that none is started now."""
        return cls(
            f"batcher {name!r} lost {times} workers in {seconds:.0f} seconds, so no new one is started for a while; "
            "find out what ends them, or allow more with restarts=... of the executor"
        )

    def __reduce__(self) -> tuple[type[WorkerLost], tuple[str, int | None, int | None]]:
        return type(self), (str(self), self.exit_code, self.signal)


def _late(timeout: float, *, loaded: bool) -> str:
    return f"took longer than {timeout=} for this batch" if loaded else f"was not ready after build_timeout={timeout}"


class OutputCountMismatch(AsyncBatchError, ValueError):
    """Raised to a whole batch when its function returned more or fewer results than it was given items."""

    def __init__(self, name: str, items: int, outputs: int) -> None:
        super().__init__(name, items, outputs)
        self.name, self.items, self.outputs = name, items, outputs

    def __str__(self) -> str:
        return (
            f"the function of batcher {self.name!r} was given {self.items} items and returned {self.outputs} results; "
            "it must return one result for each item, in the same order"
        )


class OutputTypeError(AsyncBatchError, TypeError):
    """Raised to a whole batch when what its function returned is not a sequence of results."""

    def __init__(self, name: str, kind: str) -> None:
        super().__init__(name, kind)
        self.name, self.kind = name, kind

    def __str__(self) -> str:
        return (
            f"the function of batcher {self.name!r} returned {self.kind}, which is not a sequence of results; "
            "return a list, a tuple or an array with one result for each item"
        )


class FunctionFailed(AsyncBatchError, RuntimeError):
    """Raised in place of an exception of the function that could not be copied for each caller; that is its cause."""


class CheckpointError(AsyncBatchError, RuntimeError):
    """Raised when the checkpoint of an `imap` cannot be used, or cannot tell items apart."""

    @classmethod
    def unusable(cls, path: str, why: object) -> CheckpointError:
        """Return what a job ends with whose file cannot be opened, read or written."""
        hint = "; another job has it open, and only one may" if "locked" in str(why) else ""
        return cls(f"the checkpoint {path!r} cannot be used: {why}{hint}")

    @classmethod
    def twice(cls, first: int, second: int) -> CheckpointError:
        """Return what an item gets whose id is that of another; both are told by their place in the source."""
        return cls(
            f"item {second} of the source has the id of item {first}, counted from 0, and ids are unique; write a key= "
            "that tells them apart, or leave out the second"
        )

    @classmethod
    def unspeakable(cls, what: str, value: object) -> CheckpointError:
        """Return what those get who use as an id or a fingerprint what JSON cannot say."""
        return cls(
            f"{what} is kept as JSON, which cannot say this {type(value).__name__}; "
            "write for example Checkpoint(path, key=lambda item: item['id'])"
        )
