"""How a service that uses a batcher is tested: on a clock that jumps, with a function that records its batches.

Run it: pytest examples/test_my_service.py
"""

import asyncio

import anyio
import pytest

from asyncbatch import Batcher, DeadlineExceeded
from asyncbatch.testing import RecordingFunction, VirtualClockLoop


class Search:
    """The service: it ranks each query against each document, and asks the model for all pairs at once."""

    def __init__(self, model: Batcher[tuple[str, str], float]) -> None:
        self.model = model

    async def best(self, query: str, documents: list[str]) -> str:
        scores = await self.model.map([(query, document) for document in documents], timeout=1.0)
        return documents[scores.index(max(scores))]


def overlap(pair: tuple[str, str]) -> float:
    query, document = pair
    return len({*query.split()} & {*document.split()})


pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio", {"loop_factory": VirtualClockLoop}


async def test_the_best_document_is_found():
    async with Batcher(RecordingFunction(overlap)) as model:
        assert await Search(model).best("red apple", ["blue sky", "red ripe apple", "apple pie"]) == "red ripe apple"


async def test_two_searches_share_a_batch():
    function = RecordingFunction(overlap)
    async with Batcher(function, max_batch_size=8, max_wait=0.010) as model:
        async with anyio.create_task_group() as tg:
            tg.start_soon(Search(model).best, "one", ["a", "b"])
            await anyio.sleep(0.008)
            tg.start_soon(Search(model).best, "two", ["c"])

    assert function.batches == [[("one", "a"), ("one", "b"), ("two", "c")]]
    assert function.times == pytest.approx([0.010])  # counted from the first arrival


async def test_a_model_that_hangs_costs_a_caller_one_second():
    hang = asyncio.Event()  # that nobody sets
    async with Batcher(RecordingFunction(overlap, script=[hang])) as model:
        with pytest.raises(DeadlineExceeded):
            await Search(model).best("red", ["apple"])
        assert anyio.current_time() == pytest.approx(1.0)


async def test_a_failing_model_fails_the_search_and_not_the_next():
    async with Batcher(RecordingFunction(overlap, script=[ConnectionError("no GPU")])) as model:
        with pytest.raises(ConnectionError, match="no GPU"):
            await Search(model).best("red", ["apple"])
        assert await Search(model).best("red", ["apple"]) == "apple"


async def test_a_caller_that_leaves_does_not_disturb_the_other():
    function = RecordingFunction(overlap)
    async with Batcher(function, max_wait=0.010) as model:
        async with anyio.create_task_group() as tg:
            with anyio.move_on_after(0.005):
                await Search(model).best("gone", ["a"])
            tg.start_soon(Search(model).best, "stays", ["b"])

    assert function.batches == [[("stays", "b")]]
