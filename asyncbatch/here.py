"""Here: in which event loop a caller is, and a future of that loop, as cheap as each Python has them.

The one is asked for on every request, the other on all that wait by themselves: there each is a tenth of what it costs.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("NOWHERE", "future_maker", "here")

NOWHERE = object()
"""Unlike `None`, what nobody is told by `here`."""

if sys.version_info >= (3, 12):
    here = asyncio._get_running_loop  # noqa: SLF001  # it is public, for all its name: see `asyncio.events.__all__`
else:
    here = get_ident  # to ask for the running loop is a system call, there


def future_maker(loop: asyncio.AbstractEventLoop) -> Callable[[], asyncio.Future[Any]]:
    """Return what makes a future of `loop`; to be called while that runs in this thread."""
    if type(loop.create_future()) is not asyncio.Future:
        return loop.create_future
    return asyncio.Future if sys.version_info >= (3, 12) else partial(asyncio.Future, loop=loop)
