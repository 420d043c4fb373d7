"""What adapters promise: of any batch function, sync or async or a class, wherever it runs, whoever shares the batch."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import multiprocessing
import functools
import gc
import inspect
import math
import pickle
import traceback
import typing
import weakref

import numpy as np
import pool_functions
import pytest
from callers import outcome, outcomes, running
from hypothesis import given, settings
from hypothesis import strategies as st

import asyncbatch
from asyncbatch import (
    AllowedSizes,
    Isolated,
    OutputCountMismatch,
    OutputTypeError,
    Padded,
    Stacked,
    ThreadExecutor,
    batched,
)
from asyncbatch.function import is_async, is_class, name_of
from asyncbatch.testing import RecordingFunction

quick = settings(deadline=None, max_examples=60)


def double(items):
    return [2 * item for item in items]


async def async_double(items):
    await asyncio.sleep(0)
    return [2 * item for item in items]


class Model:
    """A class that is built in each worker, and slow to build."""

    built = 0

    def __init__(self, factor=2):
        type(self).built += 1
        self.factor = factor

    def __call__(self, items):
        return [self.factor * item for item in items]


class AsyncModel(Model):
    async def __call__(self, items):
        return [self.factor * item for item in items]


def sums(batch, *mask):
    return batch.sum(axis=1)


EACH = {
    "isolated": Isolated,
    "sizes": functools.partial(AllowedSizes, sizes=(1, 2, 4)),
    "nested": lambda function: Isolated(AllowedSizes(function, (1, 2, 4))),
}


def same(ours, theirs):
    """Whether two results are equal, arrays included."""
    if isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, list | tuple):
        return type(ours) is type(theirs) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    return np.array_equal(ours, theirs) and np.asarray(ours).dtype == np.asarray(theirs).dtype


# All of them: they take the place of the function, whatever that is.


@pytest.mark.parametrize("adapt", EACH.values(), ids=EACH)
@pytest.mark.parametrize("function", [double, async_double, Model, AsyncModel, functools.partial(Model, 2)])
async def test_an_adapter_takes_the_place_of_any_function(adapt, function, anyio_backend):
    async with running(adapt(function)) as batcher:
        assert await batcher.map(range(7)) == [0, 2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize("adapt", EACH.values(), ids=EACH)
@pytest.mark.parametrize("function", [double, async_double, Model, AsyncModel, functools.partial(AsyncModel, 2)])
def test_what_can_be_told_of_an_adapter_is_told_of_its_function(adapt, function):
    adapter = adapt(function)

    assert is_async(adapter) == is_async(function)
    assert is_class(adapter) == is_class(function)
    assert name_of(adapter) == name_of(function)
    assert name_of(function) in repr(adapter)


@pytest.mark.parametrize("adapt", EACH.values(), ids=EACH)
async def test_around_an_async_function_it_can_be_awaited_by_hand(adapt, anyio_backend):
    assert await adapt(async_double)([1, 2, 3]) == [2, 4, 6]


@pytest.mark.parametrize("adapt", EACH.values(), ids=EACH)
async def test_a_class_is_built_once_in_each_worker(adapt, anyio_backend):
    class Counted(Model):
        built = 0

    adapter = adapt(Counted)
    assert Counted.built == 0
    async with running(adapter, executor=ThreadExecutor(workers=2), max_batch_size=1) as batcher:
        assert await batcher.map(range(6)) == [0, 2, 4, 6, 8, 10]
        assert Counted.built == 2


@pytest.mark.parametrize("function", [double, Model], ids=name_of)
@pytest.mark.parametrize("adapt", [*EACH.values(), Stacked, functools.partial(Padded, side="left")])
def test_an_adapter_pickles(adapt, function):
    adapter = pickle.loads(pickle.dumps(adapt(function)))

    assert is_class(adapter) == is_class(function)
    if adapt in EACH.values():
        assert (adapter() if is_class(adapter) else adapter)([1, 2]) == [2, 4]


async def test_an_adapter_runs_in_a_pool_of_processes(anyio_backend):
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        async with running(Isolated(double), executor=pool) as batcher:
            assert await batcher.map([1, 2, 3]) == [2, 4, 6]


async def test_an_isolated_error_that_does_not_unpickle_does_not_break_the_pool(anyio_backend):
    # A process of its own kind: this one may have been taught by others how to pickle any exception, and forks of it too.
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("forkserver")) as pool:
        async with running(Isolated(pool_functions.refuses_two), executor=pool) as batcher:
            one, two, three = await outcomes(batcher, 1, 2, 3)
            assert (one, three) == (1, 3)
            assert isinstance(two, RuntimeError)
            assert "refuses_two" in str(two.__notes__)
            assert await batcher(1) == 1


async def test_an_adapter_works_on_a_batched_function(anyio_backend):
    @batched
    @Isolated
    async def halves(items):
        return [item / 2 for item in items]

    assert await halves.map([2, 4]) == [1, 2]
    assert halves.__name__ == "halves"


async def test_an_adapter_works_on_a_batched_method(anyio_backend):
    class Service:
        def __init__(self, factor):
            self.factor = factor

        @batched
        @Isolated
        async def times(self, items):
            return [self.factor * item for item in items]

        @batched
        @Stacked
        def stacked(self, batch):
            return self.factor * batch

    three, ten = Service(3), Service(10)
    assert await asyncio.gather(three.times(1), ten.times(1), three.stacked(2)) == [3, 10, 6]


def test_an_adapter_of_no_function_says_so():
    for make in (Isolated, Stacked, Padded, functools.partial(AllowedSizes, sizes=[1])):
        with pytest.raises(TypeError, match="function must be callable, not a str"):
            make("secret")


async def test_the_outcome_of_a_batch_is_not_kept_by_its_adapter(anyio_backend):
    class Item:
        pass

    def picky(items):
        if len(items) > 1:
            raise ValueError("one at a time")
        return [1 for _ in items]

    async with running(Isolated(AllowedSizes(picky, (1, 2, 4)))) as batcher:
        items = [Item(), Item(), Item()]
        watched = [weakref.ref(item) for item in items]
        assert await batcher.map(items) == [1, 1, 1]
        del items
        gc.collect()
        assert [each() for each in watched] == [None, None, None]


async def test_a_batch_that_everybody_left_is_cancelled_inside_its_adapter(anyio_backend):
    function = RecordingFunction(script=[asyncio.Event()])
    async with running(Isolated(function)) as batcher:
        call = asyncio.create_task(batcher(1))
        while not function.batches:
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        assert await batcher(2) == 2
    assert (function.cancelled, function.batches) == (1, [[1], [2]])


# Stacked


def recording(function):
    def recorded(*arguments):
        recorded.calls.append(arguments)
        return function(*arguments)

    recorded.calls = []
    return recorded


def test_arrays_come_stacked_and_leave_as_rows():
    function = recording(lambda batch: batch * 2)
    items = [np.arange(6.0).reshape(2, 3) + i for i in range(4)]

    results = Stacked(function)(items)

    assert [(len(call), call[0].shape, call[0].dtype) for call in function.calls] == [(1, (4, 2, 3), np.dtype(float))]
    assert same(results, [item * 2 for item in items])


def test_numbers_and_lists_are_arrays_too():
    assert same(Stacked(lambda batch: batch + 1)([1, 2, 3]), [np.int64(2), np.int64(3), np.int64(4)])
    assert same(Stacked(sums)([[1, 2], [3, 4]]), [np.int64(3), np.int64(7)])


def test_dicts_and_tuples_of_arrays_come_as_one():
    def function(batch):
        return {"sum": batch["a"] + batch["b"][0], "both": (batch["a"], batch["b"][1])}

    items = [{"a": np.array([i, i]), "b": (np.array([i, 1]), np.float32(i))} for i in range(3)]

    results = Stacked(function)(items)

    assert same(results, [{"sum": np.array([2 * i, i + 1]), "both": (np.array([i, i]), np.float32(i))} for i in range(3)])


class Pair(typing.NamedTuple):
    left: object
    right: object


def test_named_tuples_keep_their_names():
    (result, _) = Stacked(lambda batch: Pair(batch.right, batch.left))([Pair(1, 2.5), Pair(2, 3.5)])
    assert isinstance(result, Pair)
    assert result == (2.5, 1)


def test_equal_keys_are_alike_in_whatever_order():
    function = recording(lambda batch: batch["a"] - batch["b"])
    assert same(Stacked(function)([{"a": 3, "b": 1}, {"b": 1, "a": 5}]), [np.int64(2), np.int64(4)])
    assert len(function.calls) == 1


def test_a_list_of_results_is_handed_out_as_it_is():
    outputs = ["x", None, ValueError("this one"), collections.OrderedDict(a=1), Pair(1, 2)]
    results = Stacked(lambda batch: outputs)([1, 2, 3, 4, 5])
    assert all(ours is theirs for ours, theirs in zip(results, outputs, strict=True))


def test_items_that_differ_do_not_share_a_call():
    function = recording(lambda batch: batch * 2)
    items = [np.zeros(2), np.zeros(3), np.ones(2), np.ones(2, np.float32), (np.ones(2),), np.float64(1)]
    function_of_any = lambda batch: (function(batch[0]),) if isinstance(batch, tuple) else function(batch)  # noqa: E731

    results = Stacked(function_of_any)(items)

    assert same(
        results, [np.zeros(2), np.zeros(3), np.ones(2) * 2, np.ones(2, np.float32) * 2, (np.ones(2) * 2,), np.float64(2)]
    )
    assert [call[0].shape for call in function.calls] == [(2, 2), (1, 3), (1, 2), (1, 2), (1,)]


def test_a_call_that_fails_does_so_for_its_own_items():
    def fours(batch):
        if batch.shape[1] != 4:
            raise ValueError("four, please")
        return batch

    results = Stacked(fours)([np.zeros(4), np.zeros(3), np.ones(4), np.ones(3)])

    assert same([results[0], results[2]], [np.zeros(4), np.ones(4)])
    assert [str(results[1]), str(results[3])] == ["four, please"] * 2
    with pytest.raises(ValueError, match="four, please"):
        Stacked(fours)([np.zeros(3), np.ones(3)])


@pytest.mark.parametrize(
    "item", [object(), [[1], [1, 2]], {"a": object()}, None], ids=["object", "ragged", "inside", "None"]
)
def test_an_item_that_is_no_array_fails_alone(item):
    good, bad = Stacked(lambda batch: batch)([1, item])

    assert good == 1
    assert isinstance(bad, TypeError)
    assert "must be an array" in str(bad)
    assert "numpy.array(item" in str(bad)


def test_an_item_whose_conversion_fails_does_so_alone_and_untold():
    class Hostile:
        def __array__(self, *_, **__):
            raise RuntimeError("secret")

    good, bad = Stacked(lambda batch: batch)([1, Hostile()])

    assert good == 1
    assert "secret" not in str(bad)


def test_a_row_does_not_keep_the_batch_alive_unless_told():
    whole = np.zeros((2, 3))
    rows = Stacked(lambda batch: whole)([0, 1])
    assert [row.base for row in rows] == [None, None]

    views = Stacked(lambda batch: whole, copy=False)([0, 1])
    assert all(view.base is whole for view in views)


@pytest.mark.parametrize(
    ("outputs", "error"),
    [
        (np.zeros(3), OutputCountMismatch),
        ({"a": np.zeros(2), "b": np.zeros(1)}, OutputCountMismatch),
        (np.float64(1), OutputTypeError),
        (None, OutputTypeError),
        ({}, OutputCountMismatch),
        ((), OutputCountMismatch),
        ({"a": None}, OutputTypeError),
    ],
)
def test_results_of_the_wrong_number_or_kind_are_told(outputs, error):
    with pytest.raises(error):
        Stacked(lambda batch: outputs)([1, 2])


async def test_stacking_runs_where_the_function_runs(anyio_backend):
    async with running(Stacked(lambda batch: batch * 2)) as batcher:
        results = await batcher.map([np.array([i, i]) for i in range(3)])
    assert same(results, [np.array([2 * i, 2 * i]) for i in range(3)])


# Padded


RAGGED = st.lists(st.lists(st.integers(-99, 99), max_size=9), min_size=1, max_size=9).map(
    lambda rows: [np.array(row, dtype=np.int32) for row in rows]
)


@quick
@given(RAGGED, st.integers(1, 4), st.sampled_from(["left", "right"]), st.integers(-5, 5))
def test_what_is_padded_comes_back_as_it_was(items, multiple, side, value):
    def function(batch, mask):
        width = max(map(len, items))
        assert batch.shape == mask.shape == (len(items), math.ceil(width / multiple) * multiple)
        assert mask.dtype == bool
        assert batch.dtype == np.int32
        assert (batch[~mask] == value).all()
        for row, own, item in zip(batch, mask, items, strict=True):
            assert np.array_equal(row[own], item)
            place = slice(len(row) - len(item), None) if side == "left" else slice(len(item))
            assert own[place].all()
        return batch

    assert same(Padded(function, value, multiple, side, cut=True)(items), items)


@quick
@given(RAGGED)
def test_padding_does_not_change_what_does_not_look_at_it(items):
    total = Padded(lambda batch, mask: np.where(mask, batch, 0).sum(axis=1), value=7)(items)
    assert [int(each) for each in total] == [int(item.sum()) for item in items]


def test_dicts_of_arrays_are_padded_each_to_its_own_longest():
    def function(batch, mask):
        assert batch["ids"].tolist() == [[1, 2, 3], [4, 0, 0]]
        assert mask["ids"].tolist() == [[True, True, True], [True, False, False]]
        assert batch["label"].tolist() == [7, 8]
        assert mask["label"].tolist() == [True, True]
        assert batch["grid"].shape == (2, 2, 5)
        return {"ids": batch["ids"] * 10, "more": (batch["ids"],)}

    items = [{"ids": [1, 2, 3], "label": 7, "grid": np.zeros((1, 5))}, {"ids": [4], "label": 8, "grid": np.zeros((2, 5))}]

    results = Padded(function)(items)
    assert results[1]["ids"].tolist() == [40, 0, 0]


def test_cut_results_are_as_long_as_the_longest_array_of_their_item():
    items = [{"ids": [1, 2, 3], "more": [1]}, {"ids": [4, 5], "more": [1, 2]}]
    results = Padded(lambda batch, mask: {"twice": (batch["ids"] * 2,)}, cut=True)(items)
    assert same(results, [{"twice": (np.array([2, 4, 6]),)}, {"twice": (np.array([8, 10]),)}])


def test_results_are_cut_only_if_told_even_where_the_width_happens_to_fit():
    rows = Padded(lambda batch, mask: np.ones((2, 3)))([[1, 2, 3], [4]])
    assert [row.shape for row in rows] == [(3,), (3,)]


def test_a_result_that_cannot_be_cut_says_what_to_write():
    with pytest.raises(ValueError, match=r"given 3 positions and returned a result of shape \(5,\).*leave cut=True out"):
        Padded(lambda batch, mask: np.zeros((2, 5)), cut=True)([[1, 2, 3], [4]])
    with pytest.raises(ValueError, match=r"returned a result of shape \(\)"):
        Padded(lambda batch, mask: np.zeros(2), cut=True)([[1, 2, 3], [4]])


def test_without_mask_the_function_has_one_argument():
    assert same(Padded(sums, mask=False)([[1, 2], [3]]), [np.int64(3), np.int64(3)])


def test_arrays_that_differ_in_more_than_length_do_not_share_a_call():
    function = recording(lambda batch, mask: batch)
    Padded(function)([np.zeros((2, 3)), np.zeros((1, 3)), np.zeros((1, 4)), np.zeros(3), np.zeros((2, 3), int), 1.0])
    assert [call[0].shape for call in function.calls] == [(2, 2, 3), (1, 1, 4), (1, 3), (1, 2, 3), (1,)]


def test_wrong_settings_of_padding_say_what_to_write():
    with pytest.raises(ValueError, match="side must be 'right' or 'left', not 'top'"):
        Padded(sums, side="top")
    with pytest.raises(ValueError, match="multiple_of must be at least 1"):
        Padded(sums, multiple_of=0)


def test_rows_that_were_cut_do_not_keep_the_batch_alive():
    (row, _) = Padded(lambda batch, mask: batch, cut=True)([[1, 2], [3]])
    assert row.base is None


# AllowedSizes


class Compiled:
    """A function that takes a time for each size, on a clock of its own."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.now = 0.0
        self.sizes = []

    def clock(self):
        return self.now

    def __call__(self, items):
        self.sizes.append(len(items))
        self.now += self.seconds(len(items)) * (100 if self.sizes.count(len(items)) == 1 else 1)  # it compiles
        return [item * 2 for item in items]


@quick
@given(
    st.sets(st.integers(1, 12), min_size=1),
    st.lists(st.integers(0, 40), max_size=12),
    st.sampled_from([lambda size: 1.0, lambda size: size, lambda size: 1 + size / 4, lambda size: 1 / size]),
)
def test_only_allowed_sizes_are_called_and_every_item_has_its_result(sizes, batches, seconds):
    function = Compiled(seconds)
    adapter = AllowedSizes(function, sizes, clock=function.clock)
    for size in batches:
        assert adapter(list(range(size))) == [2 * item for item in range(size)]
        assert set(function.sizes) <= sizes


def test_a_batch_is_padded_up_with_its_last_item_or_the_filler():
    for options, filled in (({}, 3), ({"filler": 0}, 0), ({"filler": None}, None)):
        function = RecordingFunction()
        adapter = AllowedSizes(function, (1, 4, 8), **options)
        assert asyncio.run(adapter([1, 2, 3])) == [1, 2, 3]
        assert function.batches == [[1, 2, 3, filled]]


def test_a_batch_larger_than_all_sizes_is_split():
    function = Compiled(lambda size: 1)
    assert len(AllowedSizes(function, (2, 4), clock=function.clock)(list(range(11)))) == 11
    assert function.sizes == [4, 4, 4]


@pytest.mark.parametrize(
    ("seconds", "sizes"),
    [(lambda size: size, [32, 1]), (lambda size: 1 + 0.001 * size, [64]), (lambda size: 40 + size, [64])],
    ids=["proportional", "constant", "between"],
)
def test_it_learns_what_costs_less(seconds, sizes):
    function = Compiled(seconds)
    adapter = AllowedSizes(function, (1, 2, 4, 8, 16, 32, 64), clock=function.clock)
    for _ in range(12):
        adapter(list(range(33)))
    before = len(function.sizes)
    adapter(list(range(33)))
    assert function.sizes[before:] == sizes


def test_learning_costs_few_calls():
    function = Compiled(lambda size: 40 + size)
    adapter = AllowedSizes(function, (1, 2, 4, 8, 16, 32, 64), clock=function.clock)
    for _ in range(100):
        adapter(list(range(33)))
    assert len(function.sizes) <= 100 + 2 * 2


def test_a_part_that_fails_leaves_the_others_their_results():
    def small(items):
        if 5 in items:
            raise ValueError("five")
        return items

    results = AllowedSizes(small, (2,))([1, 2, 5, 6, 7])
    assert [results[0], results[1], results[4]] == [1, 2, 7]
    assert [str(results[2]), str(results[3])] == ["five", "five"]


def test_as_many_results_are_due_as_the_function_was_given():
    with pytest.raises(OutputCountMismatch, match="was given 4 items and returned 3"):
        AllowedSizes(lambda items: items[:3], (4,))([1, 2, 3])


def test_many_small_sizes_are_no_matter():
    assert AllowedSizes(double, (1,))(list(range(3000))) == double(range(3000))


def test_wrong_sizes_say_what_to_write():
    with pytest.raises(ValueError, match="sizes must not be empty; write for example"):
        AllowedSizes(double, ())
    with pytest.raises(ValueError, match="each of sizes must be at least 1"):
        AllowedSizes(double, (0, 1))


# Isolated


class Poison(Exception):
    pass


def poisoned_by(poison, calls):
    def function(items):
        calls.append(list(items))
        for item in items:
            if item in poison:
                raise Poison(item)
        return [2 * item for item in items]

    return function


@quick
@given(st.integers(1, 70).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), max_size=8))))
def test_exactly_the_poisonous_items_fail_within_the_bound(case):
    size, poison = case
    calls = []

    results = Isolated(poisoned_by(poison, calls))(list(range(size)))

    for item, result in enumerate(results):
        if item in poison:
            assert isinstance(result, Poison)
            assert result.args == (item,)
        else:
            assert result == 2 * item
    levels = math.ceil(math.log2(size)) if size > 1 else 0
    assert len(calls) <= min(1 + 2 * len(poison) * levels, 2 * size - 1)
    assert all(sum(item in call for call in calls) <= levels + 1 for item in range(size))


@pytest.mark.parametrize("executor", ["inline", "thread"])
async def test_each_caller_has_its_outcome(executor, anyio_backend):
    sync = poisoned_by({2}, [])

    async def function(items):
        await asyncio.sleep(0)
        return sync(items)

    async with running(Isolated(function if executor == "inline" else sync), executor=executor) as batcher:
        one, two, three = await outcomes(batcher, 1, 2, 3)
    assert (one, three) == (2, 6)
    assert isinstance(two, Poison)
    assert two.args == (2,)
    frames = [frame.name for frame in traceback.extract_tb(two.__traceback__)]
    assert "_drive" not in frames  # which knows the whole batch


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit, StopIteration])
async def test_what_is_not_for_callers_arrives_as_a_runtime_error(error, anyio_backend):
    async with running(Isolated(RecordingFunction(script=[error]))) as batcher:
        assert isinstance(await outcome(batcher(1)), RuntimeError)
        assert await batcher(3) == 3


def test_nothing_is_run_again_for_other_errors():
    calls = []
    with pytest.raises(Poison):
        Isolated(poisoned_by({1}, calls), splits=(ValueError,))([0, 1, 2, 3])
    assert len(calls) == 1


def test_an_error_that_is_no_exception_is_raised_at_once():
    calls = []

    def function(items):
        calls.append(items)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Isolated(function)([1, 2])
    assert len(calls) == 1


def test_a_function_that_drops_items_is_found_out():
    assert [type(each) for each in Isolated(lambda items: [i for i in items if i])([1, 0, 1])] == [
        int,
        OutputCountMismatch,
        int,
    ]


def test_an_exception_among_the_results_is_final():
    calls = []

    def function(items):
        calls.append(items)
        return [ValueError(item) if item == 1 else item for item in items]

    results = Isolated(function)([0, 1, 2])
    assert len(calls) == 1
    assert isinstance(results[1], ValueError)


def test_it_looks_into_the_calls_of_what_it_wraps():
    """An error that another adapter put into several places is the failure of a call, and the innocent are saved."""

    def function(batch):
        if (batch == 13).any():
            raise Poison
        return batch

    items = [np.array([1]), np.array([13]), np.array([2]), np.array([1, 1]), np.array([3])]

    results = Isolated(Stacked(function))(items)

    assert [isinstance(each, Poison) for each in results] == [False, True, False, False, False]


@quick
@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=5), min_size=1, max_size=20))
def test_all_of_them_nest(lists):
    shapes = set()

    def model(batch, mask):
        shapes.add(batch.shape[0])
        if (batch == 9).any():
            raise Poison
        return batch * 2

    items = [np.array(each) for each in lists]

    results = Isolated(AllowedSizes(Padded(model, cut=True), (1, 4, 8)))(items)

    assert shapes <= {1, 4, 8}
    for item, result in zip(items, results, strict=True):
        assert isinstance(result, Poison) if 9 in item else same(result, item * 2)


def test_splits_are_exceptions():
    for splits in (ValueError, (BaseException,), ("ValueError",)):
        with pytest.raises(TypeError, match=r"write for example splits=\(ValueError,\)"):
            Isolated(double, splits=splits)


class Memory:
    """A function that holds so many items at once."""

    def __init__(self, room, error=MemoryError):
        self.room = room
        self.error = error
        self.sizes = []

    def __call__(self, items):
        self.sizes.append(len(items))
        if len(items) > self.room:
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB")
        return items


@pytest.mark.parametrize("error", [MemoryError, RuntimeError])
def test_a_batch_too_large_for_the_memory_is_run_in_parts_from_then_on(error):
    function = Memory(10, error)
    adapter = Isolated(function)

    assert adapter(list(range(32))) == list(range(32))
    assert function.sizes == [32, 16, 8, 8, 16, 8, 8]
    assert adapter.largest == 8

    function.sizes.clear()
    assert adapter(list(range(20))) == list(range(20))
    assert function.sizes == [8, 8, 4]


def test_memory_that_runs_out_in_one_of_several_calls_is_noticed():
    def function(batch):
        if len(batch) > 3:
            raise MemoryError
        return batch

    adapter = Isolated(Stacked(function))
    items = [np.array([i] * (1 + i % 2)) for i in range(12)]
    assert same(adapter(items), items)
    assert adapter.largest == 3


def test_a_larger_size_is_tried_again_later_and_later():
    function = Memory(10)
    adapter = Isolated(function)
    for _ in range(400):
        assert adapter(list(range(32))) == list(range(32))

    tried = function.sizes.count(16)
    assert function.sizes.count(32) == 1
    assert 4 <= tried <= 12  # two at first, and then two each time, of which there are log2(400 / 16)


def test_memory_that_comes_back_is_used_again():
    function = Memory(1)
    adapter = Isolated(function)
    adapter([1, 2, 3, 4])
    assert adapter.largest == 1
    function.room = 100
    for _ in range(200):
        adapter([1, 2, 3, 4])
    assert adapter.largest > 4
    function.sizes.clear()
    adapter([1, 2, 3, 4])
    assert function.sizes == [4]


def test_one_item_too_large_for_the_memory_does_not_slow_the_rest_for_good():
    def function(items):
        if "huge" in items:
            raise MemoryError
        return items

    adapter = Isolated(function)
    results = adapter(["a", "b", "c", "huge", "d", "e", "f", "g"])
    assert [each for each in results if not isinstance(each, MemoryError)] == list("abcdefg")
    assert adapter.largest == 4
    alone = Isolated(function)
    assert isinstance(alone(["huge"])[0], MemoryError)
    assert alone.largest == math.inf


def test_other_errors_do_not_change_the_largest_size():
    adapter = Isolated(poisoned_by({1}, []))
    adapter([0, 1, 2, 3])
    assert adapter.largest == math.inf


def test_an_error_that_cannot_be_printed_is_an_error_like_any():
    class Unprintable(Exception):
        def __str__(self):
            raise RuntimeError

    def function(items):
        if 1 in items:
            raise Unprintable
        return items

    assert [type(each) for each in Isolated(function)([0, 1])] == [int, Unprintable]


# The front door


def test_only_who_asks_for_arrays_pays_for_them():
    assert asyncbatch.Stacked is Stacked
    assert asyncbatch.Padded is Padded
    with pytest.raises(AttributeError, match="has no attribute 'Stackd'"):
        asyncbatch.Stackd  # noqa: B018
    assert inspect.getdoc(Stacked)
