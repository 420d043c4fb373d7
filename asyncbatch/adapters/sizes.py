"""AllowedSizes: batches of a few sizes only, for functions that are compiled for each."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import accumulate
from types import EllipsisType
from typing import Any

from asyncbatch import padding, parameters
from asyncbatch.function import BatchClass, BatchFunction, ItemT, ResultT, name_of
from asyncbatch.scatter import checked

from .stepwise import Steps, Stepwise, gathered

__all__ = ("AllowedSizes",)

# A size takes the shortest of its last times, so that neither a compilation nor a straggler counts; one time is none.
_TIMES = 8
_ENOUGH = 2


class AllowedSizes(Stepwise[ItemT, ResultT]):
    """Calls the function only with lists of one of `sizes`: pads the batch up to the next, or splits it into smaller ones.

    It does what takes less time, going by the shortest of the last eight times of each size; a size that was not timed
    twice yet is tried where it could be of use. A batch larger than all `sizes` is split. Padding repeats the last item,
    or is `filler`; its results are dropped. When a part of a split batch fails, the others have their results.

    `clock` returns seconds. Raises `ValueError` or `TypeError` for sizes that are none.
    """

    def __init__(
        self,
        function: BatchFunction[ItemT, ResultT] | BatchClass[ItemT, ResultT],
        sizes: Iterable[int],
        *,
        filler: ItemT | EllipsisType = ...,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(function)
        parameters.callables(clock=clock)
        self._sizes = sorted({parameters.count("each of sizes", size) for size in sizes})
        if not self._sizes:
            raise ValueError("sizes must not be empty; write for example sizes=(1, 2, 4, 8)")
        self._filler = filler
        self._clock = clock
        self._times: dict[int, deque[float]] = {size: deque(maxlen=_TIMES) for size in self._sizes}

    def _steps(self, items: list[Any]) -> Steps:
        sizes = self._plan(len(items))
        stops = accumulate(sizes)
        parts = [range(stop - size, min(stop, len(items))) for size, stop in zip(sizes, stops, strict=True)]
        steps = [(part, self._part(items[part.start : part.stop], size)) for part, size in zip(parts, sizes, strict=True)]
        return gathered([None] * len(items), steps)

    def _part(self, items: list[Any], size: int) -> Steps:
        filler = items[-1] if self._filler is ... else self._filler
        fillers = size - len(items)
        began = self._clock()
        with padding.filling(size, fillers):
            outputs = yield ([*items, *[filler] * fillers],)
        self._times[size].append(self._clock() - began)
        return list(checked(outputs, size, name_of(self.func))[: len(items)])

    def _plan(self, count: int) -> list[int]:
        """Return the sizes to call with, together at least `count`: the largest that fit, and the last one padded."""
        best: list[int] = []
        fit: list[int] = []
        least, spent = math.inf, 0.0
        while count:
            up = next((size for size in self._sizes if size >= count), None)
            if up is not None and spent + self._seconds(up) < least:
                best, least = [*fit, up], spent + self._seconds(up)
            down = next((size for size in reversed(self._sizes) if size <= count), None)
            if down is None or up == count:
                break
            spent += self._seconds(down)
            fit.append(down)
            count -= down
        return best

    def _seconds(self, size: int) -> float:
        times = self._times[size]
        return min(times) if len(times) >= _ENOUGH else 0.0
