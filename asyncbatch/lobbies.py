"""Lobbies: a lobby for each key, so that no key keeps the others waiting for room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from itertools import chain
from typing import Any

from .lobby import Lobby

__all__ = ("KeyedLobby",)


class KeyedLobby(Lobby):
    """A lobby for each key. They take turns; those of a key that has no room, as `is_full` says, do when it has."""

    line: Any  # the lobbies that take turns, by key

    def __init__(self, tally: Any, is_full: Callable[[Hashable], bool]) -> None:
        super().__init__(tally)
        self.line = OrderedDict()
        self._apart: dict[Hashable, Lobby] = {}
        self._is_full = is_full
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable([*self.line.values(), *self._apart.values()])

    def append(self, request: Any) -> None:
        self._lines(request.key).setdefault(request.key, Lobby(self.tally)).append(request)
        request.place = self
        self._count += 1

    def _lines(self, key: Hashable) -> dict[Hashable, Lobby]:
        return self._apart if key in self._apart else self.line

    def first(self) -> Any:
        while self.line:
            key, lobby = next(iter(self.line.items()))
            if self._is_full(key):
                self._apart[key] = self.line.pop(key)
                continue
            request = lobby.first()
            if next(iter(self.line.values()), None) is not lobby:
                continue  # somebody left who had room to give, and others have taken their turns
            if request is not None:
                return request
            del self.line[key]
        return None

    def popleft(self) -> Any:
        key, lobby = next(iter(self.line.items()))
        self._count -= 1
        self.rotate(key)
        return lobby.popleft()

    def rotate(self, key: Hashable) -> None:
        """Let all others go before `key`."""
        if key in self.line:
            self.line.move_to_end(key)

    def rejoin(self, key: Hashable) -> None:
        """Let those of `key` take their turns again, as somebody of it has made room."""
        if key in self._apart:
            self.line[key] = self._apart.pop(key)

    def discard(self, request: Any, outcome: str) -> None:
        self._count -= 1
        lines = self._lines(request.key)
        lines[request.key].discard(request, outcome)
        if not len(lines[request.key]):
            del lines[request.key]
