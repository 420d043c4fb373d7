"""What the benches share: environments for the peers, the cases that run in them, and reports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

Function: TypeAlias = Callable[[list[Any]], Coroutine[Any, Any, list[Any]]]
Call: TypeAlias = Callable[[Any], Awaitable[Any]]
Open: TypeAlias = Callable[[Function, int], AbstractAsyncContextManager[Call]]
