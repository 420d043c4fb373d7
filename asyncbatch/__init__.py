"""asyncbatch: many callers await one item each, the function sees batches.

    item -> request -> queue -> policy -> batch -> executor -> scatter -> caller

General layout, in the order of imports; a room knows only those above it.
    compiling, here                     how the rest may be compiled; which event loop this is
    errors, parameters, function        what can go wrong, what a setting and a function may be
    request, shared, deadlines          what travels, and by when it must be answered
    metrics                             what a batcher says of itself
    crowd, scatter, flight              who is in a batch, who gets what came of it, and the batch on its way
    padding                             how much of it only fills up
    gate, doorbell, lobby, order        where requests wait
    discipline, intake, ranked, queues  and which goes next
    policies, batchtime, objectives     when a batch is to leave
    turns, returning, lull, departures  and when it does
    parts, lobbies, keyed, keys         the same where each key has a queue of its own
    lengths                             and where those that are alike go together
    executors                           where a batch runs
    house, pilot, resident, residents   the coroutines that fly it, and what they share
    alone                               and who need not wait for them
    checkpoint, imap, progress          many items, one after the other
    lifetime, controls, batcher         what users hold
    decorator, coalesce, sync           and in front of it
    adapters                            what wraps the function, and runs where it runs
    testing, simulate                   the same with a clock that jumps
    terminal, corpus, demo, top, tune   what `python -m asyncbatch` runs
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .adapters import AllowedSizes, Isolated
from .batcher import Batcher
from .coalesce import Coalesced
from .decorator import batched
from .errors import (
    AsyncBatchError,
    CheckpointError,
    Closed,
    DeadlineExceeded,
    FunctionFailed,
    ItemTooLarge,
    NotRunning,
    OutputCountMismatch,
    OutputTypeError,
    QueueFull,
    WorkerLost,
    WouldDeadlock,
)
from .executors import FuturesExecutor, InlineExecutor, ProcessExecutor, ThreadExecutor
from .imap import Progress
from .keys import Keyed
from .lengths import ByLength
from .metrics.statistics import Statistics
from .objectives import CostObjective, LatencyObjective
from .policies import Outlook
from .queues import EarliestDeadline, Fifo, Priority

if TYPE_CHECKING:
    from .adapters.arrays import Padded, Stacked
    from .checkpoint import Checkpoint
    from .executors.ray import RayExecutor
else:
    _LAZY = {
        "Checkpoint": ".checkpoint",
        "Padded": ".adapters.arrays",
        "Stacked": ".adapters.arrays",
        "RayExecutor": ".executors.ray",
    }

    def __getattr__(name: str) -> object:
        if name in _LAZY:  # only who asks for them pays for numpy, SQLite or Ray
            return getattr(import_module(_LAZY[name], __name__), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = (
    "AllowedSizes",
    "AsyncBatchError",
    "Batcher",
    "ByLength",
    "Checkpoint",
    "CheckpointError",
    "Closed",
    "Coalesced",
    "CostObjective",
    "DeadlineExceeded",
    "EarliestDeadline",
    "Fifo",
    "FunctionFailed",
    "FuturesExecutor",
    "InlineExecutor",
    "Isolated",
    "ItemTooLarge",
    "Keyed",
    "LatencyObjective",
    "NotRunning",
    "Outlook",
    "OutputCountMismatch",
    "OutputTypeError",
    "Padded",
    "Priority",
    "ProcessExecutor",
    "Progress",
    "QueueFull",
    "RayExecutor",
    "Stacked",
    "Statistics",
    "ThreadExecutor",
    "WorkerLost",
    "WouldDeadlock",
    "batched",
)
