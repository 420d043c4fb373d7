"""The replica: what a Ray actor is made of, and how values travel to it and back.

They are pickled here and not by Ray, which would quote an item that does not pickle, and fail the whole batch for it.
"""

from __future__ import annotations

import pickle
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from asyncbatch import padding
from asyncbatch.scatter import checked

from .answers import answer_plainly

if TYPE_CHECKING:
    from collections.abc import Sequence

ray: Any
try:
    ray = import_module("ray")
except ImportError:  # it is an extra
    ray = None

__all__ = ("Garbled", "Pickled", "Replica", "Unpicklable", "pickled", "pickled_apart", "ray", "unpickled")

Pickled: TypeAlias = bytes | tuple[bytes, list[pickle.PickleBuffer]]
"""A pickle, which Ray carries as it is; or one and, beside it, the data of its arrays, for Ray's object store."""


class Unpicklable(Exception):
    """Raised for what does not pickle."""


class Garbled(Exception):
    """Raised for items that do not unpickle together; apart, most of them may."""


class Replica:
    """What an actor is made of: the function, or what was built of the class."""

    def build(self, plan: bytes) -> Pickled:
        """Become what `plan` says."""
        ok, outcome = answer_plainly(self._become, plan, dumps=ray.cloudpickle.dumps)
        return pickled((ok, outcome))

    def run(self, question: Pickled | list[Pickled]) -> Pickled:
        """Run the function; what comes back is pickled in any case."""
        ok, outcome, *gathered = padding.gathering(answer_plainly, self._call, question, dumps=ray.cloudpickle.dumps)
        try:
            return pickled((ok, outcome, *gathered))
        except Unpicklable:
            return pickled((*answer_plainly(self._spared, outcome), *gathered))

    def _become(self, plan: bytes) -> None:
        function, build, self._name = ray.cloudpickle.loads(plan)
        self._function = function() if build else function

    def _call(self, question: Pickled | list[Pickled]) -> Any:
        if isinstance(question, list):
            return self._call_with_good(question)
        try:
            items = unpickled(question)
        except Exception as error:  # the user's own ways of pickling may raise anything
            raise Garbled from error
        self._expected = len(items)
        return self._function(items)

    def _call_with_good(self, questions: list[Pickled]) -> list[Any]:
        given = [_item(each) for each in questions]
        self._expected = len(given)
        items = [value for good, value in given if good]
        results = iter(checked(self._function(items), len(items), self._name) if items else ())
        return [next(results) if good else value for good, value in given]

    def _spared(self, outcome: Any) -> list[Any]:
        """Return the results with those replaced that do not pickle."""
        results = checked(outcome, self._expected, self._name)
        hopeless = _faults(results)
        return [hopeless.get(place, result) for place, result in enumerate(results)]


def pickled(value: Any) -> Pickled:
    """Pickle `value` as Ray would: what has no name to be imported by travels as it is."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        data: bytes = ray.cloudpickle.dumps(value, 5, buffers.append)
    except Exception as error:  # as above
        raise Unpicklable from error
    return (data, buffers) if buffers else data


def unpickled(value: Pickled) -> Any:
    """Return what was pickled; its arrays lie where Ray has them."""
    data, buffers = (value, []) if isinstance(value, bytes) else value
    return pickle.loads(data, buffers=buffers)  # noqa: S301  # from our own other half


def pickled_apart(items: Sequence[Any]) -> list[Pickled]:
    """Pickle `items` one by one, each with True; of those that do not pickle the error that says so, with False."""
    hopeless = _faults(items)
    return [pickled((False, hopeless[place]) if place in hopeless else (True, item)) for place, item in enumerate(items)]


def _item(question: Pickled) -> tuple[bool, Any]:
    try:
        good, value = unpickled(question)
    except Exception as error:  # noqa: BLE001  # as above
        return False, TypeError(
            f"an item could not be unpickled in the actor ({type(error).__name__}); its class must be importable there"
        )
    return good, value


def _faults(values: Sequence[Any]) -> dict[int, TypeError]:
    """Return what to answer for each of those that do not pickle, by their places."""
    found = {}
    for place, value in enumerate(values):
        try:
            pickled(value)
        except Unpicklable as error:
            kind, cause = f"{type(value).__module__}.{type(value).__qualname__}", type(error.__cause__).__name__
            # Neither value nor error is quoted: what a class says when it does not pickle may tell what is in it.
            found[place] = TypeError(f"a {kind} could not be pickled ({cause}), so it cannot travel to an actor and back")
    return found
