"""BentoML: the dispatcher of its adaptive batching, set up as its server does for `@bentoml.api(batchable=True)`.

It waits for company as long as that pays, going by what batches took; there is no time to set for it. Who could not be
answered within `max_latency_ms`, a minute by default, is told that the process is overloaded.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

from bentoml._internal.marshal.dispatcher import CorkDispatcher
from bentoml.exceptions import ServiceUnavailable

from harness import Call, Function

REQUIREMENTS = ["bentoml"]


def overloaded() -> NoReturn:
    raise ServiceUnavailable("process is overloaded")


@asynccontextmanager
async def open(function: Function, max_batch_size: int, objective: float = 60.0) -> AsyncIterator[Call]:
    dispatcher: CorkDispatcher[Any, Any] = CorkDispatcher(
        round(1000 * objective), max_batch_size, fallback=overloaded, get_batch_size=lambda item: 1
    )
    yield dispatcher(function)
    dispatcher.shutdown()
