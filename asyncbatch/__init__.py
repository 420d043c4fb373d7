"""asyncbatch: many callers await one item each, the function sees batches.

    item -> request -> queue -> policy -> batch -> executor -> scatter -> caller

General layout, in the order of imports; a room knows only those above it.
    errors, parameters, function        what can go wrong, what a setting and a function may be
    request, deadlines                  what travels, and by when it must be answered
    scatter, flight                     who gets what came of a batch, and one batch on its way
    doorbell, lobby, intake, queues     where requests wait, and which goes next
    policies, departures, executors     when a batch leaves, and where it runs
    resident                            the coroutines that fly it
    lifetime, controls, imap, batcher   what users hold
    decorator, sync                     and in front of it
"""

from .batcher import Batcher
from .decorator import batched
from .errors import (
    AsyncBatchError,
    Closed,
    DeadlineExceeded,
    FunctionFailed,
    NotRunning,
    OutputCountMismatch,
    OutputTypeError,
    QueueFull,
    WorkerLost,
    WouldDeadlock,
)
from .executors import FuturesExecutor, InlineExecutor, ProcessExecutor, ThreadExecutor
from .imap import Progress
from .metrics.statistics import Statistics
from .policies import Outlook
from .queues import EarliestDeadline, Fifo

__all__ = (
    "AsyncBatchError",
    "Batcher",
    "Closed",
    "DeadlineExceeded",
    "EarliestDeadline",
    "Fifo",
    "FunctionFailed",
    "FuturesExecutor",
    "InlineExecutor",
    "NotRunning",
    "Outlook",
    "OutputCountMismatch",
    "OutputTypeError",
    "ProcessExecutor",
    "Progress",
    "QueueFull",
    "Statistics",
    "ThreadExecutor",
    "WorkerLost",
    "WouldDeadlock",
    "batched",
)
