"""Isolated: one poisonous item does not fail its batch, and a batch that is too large for the memory is run in parts."""

from __future__ import annotations

import math
import traceback
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from asyncbatch.function import BatchClass, BatchFunction, ItemT, ResultT, name_of
from asyncbatch.scatter import checked

from .stepwise import Steps, Stepwise, kept

__all__ = ("Isolated",)

# After how many calls of the largest size that went well a larger one is tried; it doubles with each time it was too large.
_PATIENCE = 16
_MOST_PATIENCE = 256


class Isolated(Stepwise[ItemT, ResultT]):
    """Runs a failing batch again in halves, until only the poisonous items fail, each with an exception of its own.

    Only for functions whose items may run more than once. A batch of n items of which k are poisonous takes at most
    1 + 2 * k * ceil(log2(n)) calls, and never more than 2 * n - 1; each item runs at most ceil(log2(n)) + 1 times. Results
    that are wrong in number or kind are a failure like any, and so is one exception object that stands for several results.

    Nothing is run again for an error that is not one of `splits`, a tuple of exception classes: it fails the whole batch.
    Leave out what has nothing to do with the items, such as a connection that is down.

    When a batch of several ran out of memory (`MemoryError`, or an error that says "out of memory"), batches are from then
    on run in parts of at most `largest` items: the most that went well. After 16 batches with a call of that size `largest`
    doubles; each time that was too much it takes twice as many, 256 at most.
    """

    largest: float = math.inf  #: how many items a call may have now

    def __init__(
        self,
        function: BatchFunction[ItemT, ResultT] | BatchClass[ItemT, ResultT],
        splits: tuple[type[Exception], ...] = (Exception,),
    ) -> None:
        super().__init__(function)
        if not isinstance(splits, tuple) or not all(
            isinstance(each, type) and issubclass(each, Exception) for each in splits
        ):
            raise TypeError("splits must be a tuple of subclasses of Exception; write for example splits=(ValueError,)")
        self._splits = splits
        self._patience = _PATIENCE
        self._streak = 0

    def _steps(self, items: list[Any]) -> Steps:
        results: list[Any] = [None] * len(items)
        waiting = _cut(range(len(items)), self.largest)
        fitted, burst = 0, False
        while waiting:
            places = waiting.pop()
            try:
                outputs = yield ([items[place] for place in places],)
                outputs = checked(outputs, len(places), name_of(self.func))
            except self._splits as error:
                outputs = [kept(error)] * len(places)
            for place, output in zip(places, outputs, strict=True):
                results[place] = output
            failed = self._failed_together(places, outputs)
            burst = burst or any(_of_memory(results[group[0]]) for group in failed)
            fitted = fitted if failed else max(fitted, len(places))
            for group in failed:
                waiting += _cut(group, math.ceil(len(group) / 2))
        self._learn(fitted, burst=burst)
        return results

    def _failed_together(self, places: Sequence[int], outputs: Sequence[Any]) -> list[list[int]]:
        """Return the places of each exception that stands in several."""
        groups: defaultdict[int, list[int]] = defaultdict(list)
        for place, output in zip(places, outputs, strict=True):
            if isinstance(output, self._splits):
                groups[id(output)].append(place)
        return [group for group in groups.values() if len(group) > 1]

    def _learn(self, fitted: int, *, burst: bool) -> None:
        if burst:
            self.largest = max(1, fitted)
            self._patience = min(2 * self._patience, _MOST_PATIENCE)
            self._streak = 0
        elif fitted >= self.largest:
            self._streak += 1
            if self._streak >= self._patience:
                self.largest *= 2
                self._streak = 0


def _cut(places: Sequence[int], most: float) -> list[Sequence[int]]:
    """Return `places` in parts of at most `most`, the last first, as they are taken from the end."""
    size = max(1, int(min(most, len(places))))
    return [places[start : start + size] for start in range(0, len(places), size)][::-1]


def _of_memory(error: Exception) -> bool:
    # Each library has a class of its own for this, often a RuntimeError; what they share is what they say.
    said = traceback.format_exception_only(error)  # safe, whatever the user's class does when it is printed
    return isinstance(error, MemoryError) or "out of memory" in "".join(said).lower()
