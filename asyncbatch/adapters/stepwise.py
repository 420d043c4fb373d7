"""What all adapters share: each is a generator of calls, which does not know whether its function is sync or async."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Sequence
from functools import partial
from typing import Any, Generic, Self, TypeAlias

from asyncbatch import parameters
from asyncbatch.function import Adapter, ItemT, Outputs, ResultT, is_async, is_class, name_of
from asyncbatch.scatter import let_go

__all__ = ("Steps", "Stepwise", "gathered", "kept")

Steps: TypeAlias = Generator[tuple[Any, ...], Any, list[Any]]
"""Yields the arguments of each call, is sent what it returned or thrown what it raised, and returns the results."""


class Stepwise(Adapter, Generic[ItemT, ResultT]):
    """An adapter that does its work in the steps of a generator."""

    def __init__(self, function: Callable[..., Any]) -> None:
        parameters.callables(function=function)
        self.func = function

    def __repr__(self) -> str:
        return f"{type(self).__name__}({name_of(self.func)})"

    def __call__(self, *args: list[ItemT]) -> Outputs[ResultT | Exception] | Awaitable[Outputs[ResultT | Exception]]:
        """Return the results for a list of items, or around an `async def` an awaitable of them.

        What stands before the list is handed through: the instance, when the function is a method. Without arguments,
        around a class, it returns an adapter around an instance of it.
        """
        if not args and is_class(self):
            return self._built()  # type: ignore[return-value]  # an executor's business; callers have a list
        *bound, items = args
        waits = is_async(self)
        work = _drive(self._steps(items), partial(self.func, *bound), waits=waits)
        return work if waits else _done(work)

    def _built(self) -> Self:
        built = copy.copy(self)
        built.func = self.func()
        return built

    def _steps(self, items: list[Any]) -> Steps:
        raise NotImplementedError


async def _drive(steps: Steps, call: Callable[..., Any], *, waits: bool) -> list[Any]:
    try:
        arguments = next(steps)
        while True:
            try:
                outputs = call(*arguments)
                if waits:
                    outputs = await outputs
            except BaseException as error:  # noqa: BLE001  # it is the steps' to catch
                arguments = steps.throw(error)
            else:
                arguments = steps.send(outputs)
    except StopIteration as end:
        results: list[Any] = end.value
        return results


def _done(work: Coroutine[Any, Any, list[Any]]) -> list[Any]:
    """Return what comes of work that awaits nothing."""
    try:
        work.send(None)
    except StopIteration as end:
        results: list[Any] = end.value
        return results
    raise RuntimeError("an adapter of a function that is not async has awaited something")


def gathered(results: list[Any], parts: Iterable[tuple[Sequence[int], Steps]]) -> Steps:
    """Take the steps of each part, and put what they return in its places of `results`.

    An error of one part stands in all its places, and does not hurt the others; if there are no others it is raised.
    """
    for places, steps in parts:
        try:
            outputs = yield from steps
        except Exception as error:
            if len(places) == len(results):
                raise
            outputs = [kept(error)] * len(places)
        for place, output in zip(places, outputs, strict=True):
            results[place] = output
    return results


def kept(error: Exception) -> Exception:
    """Return `error` as one that may stand among results: without our own frames, which know the whole batch."""
    let_go(error)
    return error
