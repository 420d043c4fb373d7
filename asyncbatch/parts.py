"""Parts: the items of one `map` travel apart, or in another order, and are answered together, in theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .request import Bulk, Portion

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

__all__ = ("Part", "parted", "rearranged")


class _Parted:
    """The place of a bulk whose parts are in the queue: when it leaves they do, and nothing else is to be done."""

    def discard(self, request: Any, outcome: str) -> None:
        pass


class Part(Bulk):
    """Some of the items, or all in another order. It has the future of the whole and is answered with it, not its place."""

    __slots__ = ("positions", "whole")

    def __init__(self, whole: Bulk, key: Hashable, positions: Sequence[int]) -> None:
        items, urgency = [whole.item[i] for i in positions], (whole.deadline, whole.scoped, whole.priority)
        super().__init__(items, whole.future, whole.arrived, None, 0.0, False, *urgency, key)
        self.costs = None if whole.costs is None else [whole.costs[i] for i in positions]
        self.return_exceptions = whole.return_exceptions
        self.context = whole.context
        self.whole = whole
        self.positions = positions

    def portion(self, size: int) -> Portion:
        self.whole.admitted += size  # nobody asks the whole for more than whether any of it still waits
        self.whole.taken += size
        return super().portion(size)

    def fail(self, error: BaseException, outcome: str) -> None:
        self.whole.fail(error, outcome)

    def deliver(self, portion: Portion, outputs: Sequence[Any]) -> None:
        self.portions.pop(portion, None)
        self.pending -= portion.size
        for position, output in zip(self.positions[portion.start : portion.stop], outputs, strict=True):
            self.whole.results[position] = output
        if not self.pending:
            self.place = None
            self.let_go()
        self.whole.settle(None if self.pending else self, portion.size)


def parted(whole: Bulk, keys: Sequence[Hashable]) -> list[Part]:
    """Return the parts of `whole`, one for each of the different `keys` of its items."""
    positions: dict[Hashable, list[int]] = {}
    for position, key in enumerate(keys):
        positions.setdefault(key, []).append(position)
    return _parts(whole, positions.items())


def rearranged(whole: Bulk, positions: Sequence[int]) -> Part:
    """Return a part that has all items of `whole`, in the order of `positions`."""
    (part,) = _parts(whole, [(whole.key, positions)])
    return part


def _parts(whole: Bulk, positions: Iterable[tuple[Hashable, Sequence[int]]]) -> list[Part]:
    parts = [Part(whole, key, places) for key, places in positions]
    whole.place = _Parted()
    whole.portions = dict.fromkeys(parts)
    return parts
