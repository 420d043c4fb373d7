"""asyncbatch: many callers await one item each, the function sees batches.

    item -> request -> queue -> policy -> batch -> executor -> scatter -> caller

General layout, in the order of imports; a room knows only those above it.
    errors, parameters      what can go wrong, and what a setting may be
    request, deadlines      what travels, and by when it must be answered
    lobby, intake, queues   where it waits, and which goes next
    policies, departures    when a batch leaves
    executors, scatter      where the function runs, and who gets what came of it
    flight, resident        one batch on its way, and the coroutines that fly it
    lifetime, batcher       what users hold; in front of it decorator and sync
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
    WouldDeadlock,
)
from .executors import FuturesExecutor, InlineExecutor, ThreadExecutor
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
    "Progress",
    "QueueFull",
    "Statistics",
    "ThreadExecutor",
    "WouldDeadlock",
    "batched",
)
