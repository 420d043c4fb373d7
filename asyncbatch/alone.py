"""Alone: who comes when nobody else waits, while a slot on the loop is free, is served in a step of its own.

Others may come in the same pass of the loop, so it lets that pass. If nobody did, its batch flies then, in the name of the
resident that dozes: nobody has to be woken, no future is needed, and the answer is there a pass earlier. Whatever happens
to the queue before that puts the request in the line, as any other.
"""

from __future__ import annotations

import types
from asyncio import current_task
from asyncio.tasks import _enter_task, _leave_task  # public, for all their names: see `__all__` there
from typing import TYPE_CHECKING, Any

from .request import LoneRequest

if TYPE_CHECKING:
    from collections.abc import Generator

    from .gate import Gate
    from .resident import Resident

__all__ = ("served",)

_NOT_YET: Any = None


async def served(gate: Gate, item: Any, arrived: float) -> Any:
    """Return the result for `item`, from the host at the `gate`; raises as `Batcher.__call__` does."""
    host: Resident = gate.host
    queue = host.queue
    request = LoneRequest()
    request.item, request.arrived, request.place, request.answer = item, arrived, queue, _NOT_YET
    gate.host, queue.alone = None, request  # from here to the next line no signal can come between
    gate.admitted += 1
    try:
        await _others_first()
        if queue.alone is request and (outputs := _in_the_name_of(host, request)):
            return outputs[0]
        return await request.answer
    except BaseException:
        if not host.loop.is_closed():  # else nobody can be woken any more
            request.leave("cancelled")
        # Frames in the traceback have the request: it must not know the exception, or these would keep each other alive.
        answer, request.answer = request.answer, None
        if answer is not None and answer.done() and not answer.cancelled():
            answer.exception()  # nobody asks for it any more, so it must not be reported as one that nobody saw
        del answer
        raise


@types.coroutine
def _others_first() -> Generator[None, None, None]:
    yield


def _in_the_name_of(host: Resident, request: LoneRequest) -> Any:
    """Let `host` serve the `request`, as if its task ran: what the function asks for the current task goes on in that."""
    loop = host.loop
    task: Any = host.task
    caller = current_task(loop)
    if caller is not None:  # else somebody has the call go on by hand
        _leave_task(loop, caller)
    _enter_task(loop, task)
    try:
        return host.serve(request)
    finally:
        _leave_task(loop, task)
        if caller is not None:
            _enter_task(loop, caller)
