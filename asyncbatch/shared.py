"""Shared: a request that several callers wait for, and what each of them wishes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .request import DetailedRequest

if TYPE_CHECKING:
    from .request import Place, Request

__all__ = ("SharedRequest", "Wish")


class SharedRequest(DetailedRequest):
    """A request that several callers wait for, as urgent as the most urgent of them; `sequence` is its queue's affair.

    Its deadline is the nearest of theirs, and ends it for none: who made it sees to each of them, as a scope would.
    """

    __slots__ = ("sequence",)
    sequence: int
    shared = True

    def __init__(self, *base: Any) -> None:
        super().__init__(*base)
        self.scoped = True


class Wish:
    """That a shared request be answered by a certain time. It stands for the request where deadlines are watched."""

    __slots__ = ("arrived", "deadline", "request")
    scoped = False
    size = 1

    def __init__(self, request: Request, deadline: float) -> None:
        self.request: Request | None = request
        self.arrived = request.arrived
        self.deadline = deadline

    @property
    def place(self) -> Place | None:
        return None if self.request is None else self.request.place

    def fail(self, error: BaseException, outcome: str) -> None:  # noqa: ARG002
        """Come to nothing: the request may still be of use to others."""
        self.request = None
