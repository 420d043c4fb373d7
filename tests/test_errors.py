"""What the function raises and returns, however odd, reaches each caller as that caller's own; nobody hangs."""

from __future__ import annotations

import array
import asyncio
import copyreg
import collections
import contextlib
import dataclasses
import functools
import gc
import pickle
import subprocess
import sys
import textwrap
import traceback
from unittest.mock import AsyncMock

import numpy as np
from callers import outcome, outcomes, running
import pytest
import uvloop

import asyncbatch
from asyncbatch import Batcher, FunctionFailed, OutputCountMismatch, OutputTypeError, QueueFull
from asyncbatch.testing import RecordingFunction, VirtualClockLoop


def raising(error):
    async def function(items):
        raise error() if callable(error) and not isinstance(error, type) else error

    return function


def returning(outputs):
    async def function(items):
        return outputs

    return function


@pytest.fixture
def noise():
    """What asyncio says of things that nobody looked after; `noise.listen()` before, `noise.heard()` after."""

    class Noise:
        def listen(self):
            self.contexts = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: self.contexts.append(context["message"]))

        def heard(self):
            gc.collect()
            return self.contexts

    return Noise()


# Exceptions


class Plain(Exception):
    pass


class TwoArguments(Exception):
    def __init__(self, code, detail):
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail


class KeywordOnly(Exception):
    def __init__(self, *, code):
        super().__init__()
        self.code = code

    def __str__(self):
        return f"code {self.code}"


class Formatting(Exception):
    def __init__(self, code):
        super().__init__(f"code {code}")


class Slotted(Exception):
    __slots__ = ("code",)


class OwnOSError(OSError):
    def __init__(self, path):
        super().__init__(2, "no such thing", path)
        self.path = path


@dataclasses.dataclass
class Data(Exception):
    code: int


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


class OwnGroup(ExceptionGroup):
    def derive(self, errors):
        return OwnGroup(self.message, errors)


class Copied(Exception):
    def __copy__(self):
        return self


class Deaf(Exception):
    def add_note(self, note):
        raise RuntimeError("no notes, please")


class Locked(Exception):
    def __setattr__(self, name, value):
        raise AttributeError(name)


class Speechless(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class Comparing(Exception):
    def __eq__(self, other):
        raise RuntimeError("no comparing")

    __hash__ = None


class NotReduced(Exception):
    def __reduce__(self):
        raise RuntimeError("no pickling")


class Uncopyable(Exception):
    """Neither pickles nor is made from its arguments."""

    def __new__(cls, *, token):
        return super().__new__(cls)

    def __init__(self, *, token):
        super().__init__("hello")

    def __reduce__(self):
        raise TypeError


class StopsWhenCopied(Exception):
    def __reduce__(self):
        raise StopIteration


def with_attributes():
    error = Plain("x")
    error.code, error.answers = 5, [1, 2]
    return error


def with_notes(notes):
    def make():
        error = Plain("x")
        error.__notes__ = notes
        return error

    return make


def decoding():
    try:
        b"\xff".decode()
    except UnicodeDecodeError as error:
        return error


def slotted():
    error = Slotted("x")
    error.code = 5
    return error


FAITHFUL = {
    "plain": lambda: Plain("x", 1),
    "no arguments": Plain,
    "value": lambda: ValueError("x"),
    "key": lambda: KeyError("x"),
    "os": lambda: FileNotFoundError(2, "no such file", "a", None, "b"),
    "decoding": decoding,
    "import": lambda: ImportError("x", name="n", path="p"),
    "syntax": lambda: SyntaxError("x", ("f", 1, 2, "text")),
    "timeout": lambda: TimeoutError("x"),
    "two arguments": lambda: TwoArguments(5, "x"),
    "keyword only": lambda: KeywordOnly(code=5),
    "formatting": lambda: Formatting(5),
    "data": lambda: Data(5),
    "attributes": with_attributes,
    "notes": with_notes(["a", "b"]),
    "array": lambda: ValueError(np.zeros(3), np.ones(2)),
    "group": lambda: ExceptionGroup("g", [ValueError("a"), ExceptionGroup("h", [KeyError("b")])]),
    "own group": lambda: OwnGroup("g", [ValueError("a")]),
    "not reduced": lambda: NotReduced("x"),
    "comparing": lambda: Comparing("x"),
    "own error of ours": lambda: QueueFull("x", 1.5),
    "stop async": lambda: StopAsyncIteration("x"),
}

HOSTILE = {
    "slotted": slotted,
    "own os": lambda: OwnOSError("there"),
    "frozen": lambda: Frozen(5),
    "locked": lambda: Locked("x"),
    "deaf": lambda: Deaf("x"),
    "copied": lambda: Copied("x"),
    "speechless": lambda: Speechless("x"),
    "notes that are a tuple": with_notes(("a",)),
    "notes that are a string": with_notes("abc"),
    "uncopyable": lambda: Uncopyable(token=5),
    "stops when copied": lambda: StopsWhenCopied("x"),
}

FIELDS = (
    "name",
    "path",
    "obj",
    "errno",
    "strerror",
    "filename",
    "filename2",
    "start",
    "end",
    "reason",
    "lineno",
    "text",
    "code",
)


def fields(error):
    return {field: getattr(error, field) for field in FIELDS if hasattr(error, field)}


def plain_vars(error):
    return {name: value for name, value in vars(error).items() if name != "__notes__"}


def assert_equals(error, original):
    assert type(error) is type(original)
    assert isinstance(error, ExceptionGroup) or all(a is b for a, b in zip(error.args, original.args, strict=True))
    assert traceback.format_exception_only(error)[0] == traceback.format_exception_only(original)[0]
    assert plain_vars(error) == plain_vars(original)
    assert fields(error) == fields(original)


# Copies do not depend on the loop, so for these one is enough.
every = pytest.mark.parametrize("make", (FAITHFUL | HOSTILE).values(), ids=(FAITHFUL | HOSTILE).keys())


@pytest.mark.virtual
@pytest.mark.parametrize("make", FAITHFUL.values(), ids=FAITHFUL.keys())
async def test_each_caller_gets_an_exception_of_its_own_that_equals_the_original(make):
    original = make()
    async with running(raising(original)) as batcher:
        one, two = await outcomes(batcher, 1, 2)
        assert len({id(error) for error in (original, one, two)}) == 3
        assert_equals(one, original)
        assert_equals(two, original)


def with_the_same_attributes(kind, args, attributes):
    twin = kind.__new__(kind, *args)
    twin.__dict__ = attributes
    return twin


@pytest.mark.virtual
@pytest.mark.parametrize("make", [FAITHFUL["value"], FAITHFUL["decoding"], FAITHFUL["attributes"]])
async def test_copies_are_their_own_where_somebody_registered_another_way_to_copy(make, monkeypatch):
    original = make()
    reduced = with_the_same_attributes, (type(original), original.args, vars(original))
    monkeypatch.setitem(copyreg.dispatch_table, type(original), lambda _: reduced)  # as tblib does
    async with running(raising(original)) as batcher:
        one, two = await outcomes(batcher, 1, 2)
        assert len(one.__notes__) == len(two.__notes__) == 1
        assert_equals(one, original)
        assert_equals(two, original)


@pytest.mark.virtual
@every
async def test_nobody_gets_a_poor_copy(make):
    original = make()
    async with running(raising(original)) as batcher:
        one, two = await outcomes(batcher, 1, 2)
        assert one is not two
        if isinstance(one, FunctionFailed):
            assert one.__cause__ is two.__cause__ is original
            assert type(original).__name__ in str(one)
        else:
            assert_equals(one, original)


@pytest.mark.virtual
@every
async def test_whatever_is_raised_every_caller_is_told_and_the_batcher_goes_on(make, noise):
    noise.listen()
    function = RecordingFunction(script=[make()])
    async with running(function) as batcher:
        one, two = await outcomes(batcher, 1, 2)
        assert type(one) is type(two)
        assert type(one) in (type(make()), FunctionFailed)
        assert one is not two
        assert await outcome(batcher(3)) == 3
        assert batcher.statistics().failed == 2
    del one, two
    assert noise.heard() == []


@pytest.mark.virtual
@every
async def test_whatever_is_given_as_one_result_fails_its_own_item_only(make):
    error = make()
    async with running(returning([10, error, error, 40])) as batcher:
        results = await outcomes(batcher, 1, 2, 3, 4)
        assert (results[0], results[3]) == (10, 40)
        assert results[1] is not results[2]
        assert {type(each) for each in results[1:3]} <= {type(error), FunctionFailed}
        assert (batcher.statistics().succeeded, batcher.statistics().failed) == (2, 2)


@pytest.mark.virtual
@every
async def test_a_map_is_told_of_whatever_is_raised(make):
    async with running(RecordingFunction(script=[make(), make()])) as batcher:
        assert type(await outcome(batcher.map([1, 2]))) in (type(make()), FunctionFailed)
        results = await outcome(batcher.map([1, 2], return_exceptions=True))
        assert {type(each) for each in results} <= {type(make()), FunctionFailed}
        assert results[0] is not results[1]


async def test_what_is_inside_a_group_is_each_callers_own_too():
    for group in (ExceptionGroup, OwnGroup):
        async with running(raising(group("g", [ValueError("a"), ExceptionGroup("h", [KeyError("b")])]))) as batcher:
            one, two = await outcomes(batcher, 1, 2)
            assert one.exceptions[0] is not two.exceptions[0], group
            assert one.exceptions[1].exceptions[0] is not two.exceptions[1].exceptions[0], group


async def test_a_note_says_which_batcher_and_how_large_a_batch():
    async with running(raising(Plain), name="embed") as batcher:
        for error in await outcomes(batcher, 1, 2, 3):
            [note] = error.__notes__
            assert "'embed'" in note
            assert "3" in note
        assert "'embed'" in (await outcome(batcher.map([1, 2]))).__notes__[0]
    async with running(returning([Plain(), Plain()]), name="embed") as batcher:
        for error in await outcomes(batcher, 1, 2):
            assert "'embed'" in error.__notes__[0]


async def test_the_notes_of_the_function_are_kept_and_those_of_a_caller_are_its_own():
    error = Plain("x")
    error.add_note("from the function")
    async with running(raising(error)) as batcher:
        one, two = await outcomes(batcher, 1, 2)
        one.add_note("from caller one")
        assert "from the function" in two.__notes__
        assert "from caller one" not in two.__notes__
        assert error.__notes__ == ["from the function"]


async def test_what_one_caller_was_handling_is_not_seen_by_another():
    async with running(raising(ValueError("for all"))) as batcher:

        async def handles_a_secret():
            try:
                raise KeyError("secret")
            except KeyError:
                await batcher(1)

        one, two = await asyncio.gather(outcome(handles_a_secret()), outcome(batcher(2)))
        assert isinstance(one, ValueError)
        assert isinstance(two, ValueError)
        assert "secret" not in "".join(traceback.format_exception(two))


async def test_the_traceback_leads_into_the_function_and_to_no_other_caller():
    def deep():
        raise ValueError

    async def function(items):
        deep()

    async with running(function) as batcher:

        async def caller_one():
            await batcher(1)

        async def caller_two():
            await batcher(2)

        one, two = await asyncio.gather(outcome(caller_one()), outcome(caller_two()))
        names = [frame.name for frame in traceback.extract_tb(two.__traceback__)]
        assert names[-2:] == ["function", "deep"]
        assert "caller_two" in names
        assert "caller_one" not in names


async def test_tracebacks_do_not_grow_with_the_number_of_callers():
    async with running(raising(Plain), max_batch_size=100) as batcher:
        lengths = {len(traceback.extract_tb(error.__traceback__)) for error in await outcomes(batcher, *range(100))}
        assert len(lengths) == 1
        assert lengths.pop() < 12


async def test_the_chain_of_causes_comes_along_and_is_each_callers_own():
    async def function(items):
        try:
            try:
                raise KeyError("first")
            except KeyError as error:
                raise LookupError("second") from error
        except LookupError:
            raise ValueError("third")  # noqa: B904  # for its context

    async with running(function) as batcher:
        one, two = await outcomes(batcher, 1, 2)
        for error in (one, two):
            assert error.__cause__ is None
            assert str(error.__context__) == "second"
            assert isinstance(error.__context__.__cause__, KeyError)
            assert error.__context__.__suppress_context__
        assert one.__context__ is not two.__context__
        assert one.__context__.__cause__ is not two.__context__.__cause__
        one.__context__.__cause__.add_note("mine")
        assert "mine" not in "".join(traceback.format_exception(two))


async def test_raise_from_none_stays_from_none():
    async def function(items):
        try:
            raise KeyError("hidden")
        except KeyError:
            raise ValueError("shown") from None

    async with running(function) as batcher:
        error = await outcome(batcher(1))
        assert error.__suppress_context__
        assert "hidden" not in "".join(traceback.format_exception(error))


async def test_a_chain_that_bites_its_tail_ends():
    one, two = ValueError("one"), KeyError("two")
    one.__cause__, two.__cause__ = two, one
    one.__context__ = two.__context__ = one
    async with running(raising(one)) as batcher:
        assert isinstance(await outcome(batcher(1)), ValueError)


async def test_a_chain_with_many_ways_through_it_is_not_walked_over_and_over():
    made = 0

    class Counting(Exception):
        def __init__(self, *args):
            nonlocal made
            made += 1
            super().__init__(*args)

    error = Counting(0)
    for i in range(16):
        left, right, above = Counting(i), Counting(i), Counting(i)
        left.__context__ = right.__context__ = error
        above.__cause__, above.__context__ = left, right
        error = above
    async with running(raising(error)) as batcher:
        made = 0
        assert isinstance(await outcome(batcher(1)), Counting)
        assert made < 200  # there are 49


# BaseException, and what only looks like one of the caller's own


class Odd(BaseException):
    pass


def stops(items):
    return [next(iter(())) for _ in items]


async def stops_async(items):
    raise StopIteration(3)


ODD = {
    "leaked cancellation": raising(asyncio.CancelledError),
    "generator exit": raising(GeneratorExit),
    "own base exception": raising(Odd),
    "base group": raising(lambda: BaseExceptionGroup("g", [Odd()])),
    "stop iteration": raising(StopIteration),
    "stop iteration, sync": stops,
    "stop iteration, async": stops_async,
    "inner task cancelled": None,
}


async def inner_task_is_cancelled(items):
    task = asyncio.ensure_future(asyncio.sleep(100))
    asyncio.get_running_loop().call_soon(task.cancel)
    await task


ODD["inner task cancelled"] = inner_task_is_cancelled


@pytest.mark.parametrize("function", ODD.values(), ids=ODD.keys())
async def test_what_no_caller_could_catch_reaches_all_as_a_runtime_error(function, noise):
    noise.listen()
    async with running(function, executor="inline") as batcher:
        for _ in range(2):
            one, two = await outcomes(batcher, 1, 2)
            assert isinstance(one, RuntimeError)
            assert isinstance(two, RuntimeError)
            assert one is not two
            assert not isinstance(one, asyncbatch.Closed)
        assert isinstance(await outcome(batcher.map([1, 2])), RuntimeError)
        assert isinstance((await outcome(batcher.map([1, 2], return_exceptions=True)))[1], RuntimeError)
        assert batcher.statistics().in_flight == 0
        assert batcher.statistics().failed + batcher.statistics().cancelled == 8
    del one, two
    assert noise.heard() == []


@pytest.mark.parametrize("function", ODD.values(), ids=ODD.keys())
async def test_the_batcher_serves_on_after_what_no_caller_could_catch(function, noise):
    calls = 0

    async def once(items):
        nonlocal calls
        calls += 1
        if calls == 1:
            outputs = function(items)
            return await outputs if asyncio.iscoroutine(outputs) else outputs
        return items

    noise.listen()
    async with running(once) as batcher:
        first = asyncio.ensure_future(outcome(batcher(1)))
        while not calls:
            await asyncio.sleep(0)
        waiting = asyncio.ensure_future(outcome(batcher(2)))
        assert isinstance(await first, RuntimeError)
        assert await waiting == 2
        assert await outcome(batcher(3)) == 3
    del first
    assert noise.heard() == []


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), GeneratorExit(), Odd(), StopIteration(5), SystemExit(3), KeyboardInterrupt()]
)
async def test_a_base_exception_as_one_result_fails_its_own_item_only(error):
    async with running(returning([10, error, 30])) as batcher:
        one, two, three = await outcomes(batcher, 1, 2, 3)
        assert (one, three) == (10, 30)
        assert isinstance(two, RuntimeError)
        assert type(two.__cause__) is type(error)
        one, two, three = await outcome(batcher.map([1, 2, 3], return_exceptions=True))
        assert (one, type(two), three) == (10, RuntimeError, 30)


async def test_a_leaked_cancellation_does_not_end_a_task_group_in_silence():
    async with running(raising(asyncio.CancelledError)) as batcher:
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(batcher(1))
        assert caught.group_contains(RuntimeError)


@pytest.mark.parametrize("loop_factory", [VirtualClockLoop, uvloop.new_event_loop])
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_ctrl_c_and_exit_on_the_loop_end_the_loop_with_every_caller_answered(error, loop_factory):
    async def main():
        async with Batcher(raising(error)) as batcher:
            tasks.extend(asyncio.ensure_future(outcome(batcher(item))) for item in (1, 2))
            await asyncio.sleep(3600)

    tasks = []
    loop = loop_factory()
    loop.set_exception_handler(lambda _, context: None)  # asyncio reports the task that raised
    try:
        task = loop.create_task(main())
        with pytest.raises(error):
            loop.run_until_complete(task)
        one, two = loop.run_until_complete(asyncio.gather(*tasks))
        assert isinstance(one, RuntimeError)
        assert isinstance(two, RuntimeError)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
    finally:
        loop.close()


# Counts and types


@pytest.mark.parametrize(
    "outputs", [[], [1], [1, 2], [1, 2, 3, 4], (1, 2), range(4), np.zeros(2), np.zeros((4, 3)), array.array("d")]
)
async def test_a_wrong_count_is_told_with_both_numbers(outputs, noise):
    noise.listen()
    async with running(returning(outputs), name="embed") as batcher:
        results = await outcomes(batcher, 1, 2, 3)
        assert [type(each) for each in results] == [OutputCountMismatch] * 3
        assert isinstance(results[0], ValueError)
        assert (results[0].items, results[0].outputs) == (3, len(outputs))
        assert "3" in str(results[0])
        assert str(len(outputs)) in str(results[0])
        assert "'embed'" in str(results[0])
        assert results[0] is not results[1]
        assert isinstance(await outcome(batcher.map([1, 2, 3])), OutputCountMismatch)
        assert batcher.statistics().succeeded == 0
    del results
    assert noise.heard() == []


def generator():
    yield from (1, 2, 3)


async def async_generator():
    for i in (1, 2, 3):
        yield i


class Mapping(collections.UserDict):
    pass


NO_RESULTS = {
    "None": lambda: None,
    "int": lambda: 3,
    "float": lambda: 3.0,
    "bool": lambda: True,
    "object": object,
    "type": lambda: list,
    "str": lambda: "abc",
    "bytes": lambda: b"abc",
    "bytearray": lambda: bytearray(b"abc"),
    "dict": lambda: {1: 10, 2: 20, 3: 30},
    "mapping": lambda: Mapping({1: 10, 2: 20, 3: 30}),
    "keys": lambda: {1: 10, 2: 20, 3: 30}.keys(),
    "set": lambda: {1, 2, 3},
    "frozenset": lambda: frozenset((1, 2, 3)),
    "generator": generator,
    "async generator": async_generator,
    "iterator": lambda: iter([1, 2, 3]),
    "map": lambda: map(str, [1, 2, 3]),
    "zip": lambda: zip([1, 2, 3]),
    "empty array": lambda: np.array(3.0),
    "numpy number": lambda: np.float64(3),
    "numpy str": lambda: np.str_("abc"),
}


@pytest.mark.parametrize("executor", ["inline", "thread"])
@pytest.mark.parametrize("make", NO_RESULTS.values(), ids=NO_RESULTS.keys())
@pytest.mark.virtual
async def test_what_is_no_sequence_of_results_is_a_type_error_for_all(make, executor):
    async with running(lambda items: make(), executor=executor, name="embed") as batcher:
        results = await outcomes(batcher, 1, 2, 3)
        assert [type(each) for each in results] == [OutputTypeError] * 3
        assert isinstance(results[0], TypeError)
        assert "'embed'" in str(results[0])
        assert (type(make()).__name__ if make() is not None else "None") in str(results[0])
        assert results[0] is not results[1]
        assert isinstance(await outcome(batcher.map([1, 2, 3])), OutputTypeError)


class Sized:
    """The least that is a sequence."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return [10, 20, 30][index]


RESULTS = {
    "list": lambda: [10, 20, 30],
    "tuple": lambda: (10, 20, 30),
    "deque": lambda: collections.deque((10, 20, 30)),
    "range": lambda: range(10, 31, 10),
    "array": lambda: array.array("i", (10, 20, 30)),
    "numpy": lambda: np.array((10, 20, 30)),
    "sized": Sized,
    "user list": lambda: collections.UserList((10, 20, 30)),
    "named tuple": lambda: collections.namedtuple("N", "a b c")(10, 20, 30),
}


@pytest.mark.parametrize("make", RESULTS.values(), ids=RESULTS.keys())
async def test_every_sequence_of_results_will_do(make):
    async with running(returning(make())) as batcher:
        assert await outcomes(batcher, 1, 2, 3) == [10, 20, 30]
        assert await outcome(batcher.map([1, 2, 3])) == [10, 20, 30]


async def test_numpy_rows_go_to_their_callers():
    async def function(items):
        return np.stack(items) * 10

    async with running(function) as batcher:
        rows = [np.full(4, i) for i in range(3)]
        for i, result in enumerate(await outcomes(batcher, *rows)):
            assert result.shape == (4,)
            assert (result == i * 10).all()
        assert len(await outcome(batcher.map(rows))) == 3


class Lying:
    def __init__(self, length, values):
        self.length, self.values = length, values

    def __len__(self):
        return self.length

    def __iter__(self):
        if isinstance(self.values, Exception):
            raise self.values
        return iter(self.values)


async def test_a_sequence_that_lies_about_its_length_or_cannot_be_read_fails_the_batch():
    async with running(
        RecordingFunction(script=[lambda _, o=o: o for o in (Lying(2, [1]), Lying(1, [1, 2]), Lying(2, KeyError("k")))])
    ) as batcher:
        assert [type(each) for each in await outcomes(batcher, 1, 2)] == [OutputCountMismatch] * 2
        assert await outcomes(batcher, 1, 2) == [1, 2]
        assert [type(each) for each in await outcomes(batcher, 1, 2)] == [KeyError] * 2


class Untouchable:
    """Neither compared, hashed, counted nor asked whether it is true."""

    def _no(self, *_):
        raise AssertionError("that is nobody's business")

    __eq__ = __bool__ = __len__ = __iter__ = __call__ = __await__ = _no
    __hash__ = None


async def test_items_and_results_are_never_looked_at():
    items = [Untouchable(), np.zeros(3), [], {}, None, float("nan"), Ellipsis, int]
    async with running(RecordingFunction(), max_batch_size=4) as batcher:
        for item, result in zip(items, await outcomes(batcher, *items)):
            assert result is item
        for item, result in zip(items, await outcome(batcher.map(items))):
            assert result is item
        for item, result in zip(items, [result async for result in batcher.imap(items)]):
            assert result is item


async def test_an_exception_class_is_a_result_like_any_other():
    async with running(returning([ValueError, KeyError])) as batcher:
        assert await outcomes(batcher, 1, 2) == [ValueError, KeyError]


async def test_an_item_that_is_a_list_is_one_item():
    async with running(RecordingFunction()) as batcher:
        assert await outcomes(batcher, [1, 2], [], [[]]) == [[1, 2], [], [[]]]
        assert await outcome(batcher.map([[1, 2], []])) == [[1, 2], []]


@pytest.mark.parametrize("spoil", [list.clear, list.sort, list.reverse, list.pop, lambda items: items.append(9)])
async def test_the_function_may_do_what_it_likes_with_its_list(spoil):
    kept = []

    async def function(items):
        outputs = [item * 10 for item in items]
        spoil(items)
        kept.append(items)
        await asyncio.sleep(0)
        return outputs

    mine = [3, 1, 2]
    async with running(function) as batcher:
        assert await outcomes(batcher, 3, 1, 2) == [30, 10, 20]
        assert await outcome(batcher.map(mine)) == [30, 10, 20]
        kept[0].append("late")
        assert await outcomes(batcher, 4, 5) == [40, 50]
        assert mine == [3, 1, 2]


async def test_a_map_may_be_given_a_list_that_changes_meanwhile():
    async def function(items):
        mine.clear()
        return items

    mine = [1, 2, 3]
    async with running(function, max_batch_size=1) as batcher:
        assert await outcome(batcher.map(mine)) == [1, 2, 3]


async def test_the_list_of_results_is_the_callers_own():
    outputs = [1, 2, 3]
    async with running(returning(outputs)) as batcher:
        results = await outcome(batcher.map([1, 2, 3]))
        results.append("mine")
        assert outputs == [1, 2, 3]


def test_counts_and_types_are_checked_without_assertions():
    script = """
        import asyncio
        from asyncbatch import Batcher

        async def main():
            for outputs in ([1], [1, 2, 3], {1: 1, 2: 2}, None):
                async def function(items):
                    return outputs
                async with Batcher(function) as batcher:
                    async with asyncio.timeout(5):
                        results = await asyncio.gather(batcher(1), batcher(2), return_exceptions=True)
                print(*[type(each).__name__ for each in results])

        asyncio.run(main())
    """
    ran = subprocess.run([sys.executable, "-O", "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=30)
    mismatch, kind = ["OutputCountMismatch"] * 2, ["OutputTypeError"] * 2
    assert ran.stdout.split() == mismatch + mismatch + kind + kind
    assert ran.stderr == ""


# Callables


class Callable:
    async def __call__(self, items):
        return [item * 10 for item in items]


class SyncCallable:
    def __call__(self, items):
        return [item * 10 for item in items]

    async def method(self, items):
        return [item * 10 for item in items]

    @staticmethod
    def static(items):
        return [item * 10 for item in items]

    @classmethod
    async def of_class(cls, items):
        return [item * 10 for item in items]


class Awaitable:
    def __init__(self, value):
        self.value = value

    def __await__(self):
        yield
        return self.value


async def tens(items):
    return [item * 10 for item in items]


async def times(factor, items):
    return [item * factor for item in items]


@functools.wraps(tens)
def wrapping(items):
    return tens(items)


def giving_a_future(items):
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, [item * 10 for item in items])
    return future


CALLABLES = {
    "async": tens,
    "lambda": lambda items: [item * 10 for item in items],
    "lambda, awaitable": lambda items: tens(items),
    "object with __await__": lambda items: Awaitable([item * 10 for item in items]),
    "async object": Callable(),
    "sync object": SyncCallable(),
    "async method": SyncCallable().method,
    "static method": SyncCallable.static,
    "class method": SyncCallable.of_class,
    "class": Callable,
    "sync class": SyncCallable,
    "partial": functools.partial(times, 10),
    "partial of partial": functools.partial(functools.partial(times), 10),
    "partial of object": functools.partial(Callable()),
    "wrapped": wrapping,
}


@pytest.mark.parametrize("function", CALLABLES.values(), ids=CALLABLES.keys())
@pytest.mark.parametrize("executor", [None, "inline"])
async def test_everything_that_can_be_called_works(function, executor):
    async with running(function, executor=executor) as batcher:
        assert await outcomes(batcher, 1, 2) == [10, 20]


async def test_a_future_made_by_a_plain_function_is_awaited():
    async with running(giving_a_future, executor="inline") as batcher:
        assert await outcomes(batcher, 1, 2) == [10, 20]


class Endless(Callable):
    looks = 0

    @property
    def func(self):
        type(self).looks += 1
        if self.looks > 1000:
            pytest.fail("followed for ever")
        return self


class Mocked(AsyncMock):
    """A mock has every attribute that anybody asks for, and each of those has, too."""

    children = 0

    def _get_child_mock(self, **options):
        Mocked.children += 1
        if self.children > 1000:
            pytest.fail("followed for ever")
        return Mocked(**options)


@pytest.mark.parametrize("make", [Endless, lambda: Mocked(side_effect=tens)], ids=["property", "mock"])
async def test_a_callable_that_has_every_attribute_is_not_followed_for_ever(make):
    async with running(make()) as batcher:
        assert await outcomes(batcher, 1, 2) == [10, 20]


async def test_an_attribute_named_func_does_not_make_a_partial():
    class Busy(Callable):
        func = "something else"

    async with running(Busy()) as batcher:
        assert await outcome(batcher(1)) == 10
        assert batcher.name == "Busy"


# Noise


async def test_an_error_in_imap_makes_no_noise(noise):
    noise.listen()
    async with running(raising(Plain)) as batcher:
        for ordered in (True, False):
            with pytest.raises(Plain):
                async for _ in batcher.imap(range(8), ordered=ordered):
                    pass
    assert noise.heard() == []


async def test_leaving_an_imap_early_makes_no_noise(noise):
    def source():
        yield 1
        yield 2
        raise Plain

    noise.listen()
    async with running(returning([1, Plain("read ahead")])) as batcher:
        for ordered in (True, False):
            async with contextlib.aclosing(batcher.imap(source(), ordered=ordered)) as results:
                async for _ in results:
                    await asyncio.sleep(0)
                    break
    assert noise.heard() == []


async def test_a_map_with_many_errors_makes_no_noise(noise):
    noise.listen()
    async with running(raising(Plain), max_batch_size=2, executor=asyncbatch.InlineExecutor(3)) as batcher:
        assert isinstance(await outcome(batcher.map(range(10))), Plain)
    assert noise.heard() == []


async def test_errors_nobody_fetched_are_the_callers_noise_only_for_futures_it_holds(noise):
    noise.listen()
    async with running(raising(Plain)) as batcher:
        future = batcher.submit(1)
        await asyncio.wait([future])
        assert isinstance(future.exception(), Plain)
        del future
    assert noise.heard() == []


@pytest.mark.parametrize(
    "error",
    [
        asyncbatch.Closed("x"),
        asyncbatch.NotRunning("x"),
        asyncbatch.DeadlineExceeded("x"),
        asyncbatch.WouldDeadlock("x"),
        asyncbatch.FunctionFailed("x"),
        QueueFull("x", 1.5),
        asyncbatch.ItemTooLarge.of("x", 2, 1),
        OutputCountMismatch("name", 2, 3),
        OutputTypeError("name", "None"),
    ],
)
def test_our_own_errors_survive_pickling_and_have_one_base(error):
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)
    assert isinstance(error, asyncbatch.AsyncBatchError)


def test_our_own_errors_are_caught_as_what_they_resemble():
    assert issubclass(asyncbatch.DeadlineExceeded, TimeoutError)
    assert issubclass(QueueFull, asyncio.QueueFull)
    assert issubclass(asyncbatch.ItemTooLarge, ValueError)
    assert issubclass(OutputCountMismatch, ValueError)
    assert issubclass(OutputTypeError, TypeError)
    assert issubclass(asyncbatch.Closed, RuntimeError)
    assert issubclass(asyncbatch.NotRunning, RuntimeError)
    assert issubclass(asyncbatch.WouldDeadlock, RuntimeError)


async def test_a_plain_function_that_fails_batch_after_batch_fails_no_batch_but_its_own():
    def fails(items: list[int]) -> list[int]:
        raise LookupError(items)

    async with Batcher(fails, max_batch_size=1, executor=asyncbatch.InlineExecutor()) as batcher:
        errors = await asyncio.gather(*map(batcher, range(3)), return_exceptions=True)

        assert [(type(error), error.args) for error in errors] == [(LookupError, ([each],)) for each in range(3)]
