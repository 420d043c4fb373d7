"""The batcher, as its users hold it."""

from __future__ import annotations

import asyncio

import pytest

from asyncbatch import Batcher
from asyncbatch.testing import RecordingFunction


async def test_each_caller_gets_the_result_for_its_own_item():
    async with Batcher(RecordingFunction(lambda item: item * 10)) as batcher:
        assert await asyncio.gather(*map(batcher, range(100))) == [item * 10 for item in range(100)]


@pytest.mark.virtual
async def test_a_batch_waits_from_the_oldest_arrival():
    function = RecordingFunction()
    async with Batcher(function, max_wait=0.010) as batcher:
        first = asyncio.ensure_future(batcher("first"))
        await asyncio.sleep(0.006)
        await asyncio.gather(first, batcher("second"))
    assert function.batches == [["first", "second"]]
    assert function.times == pytest.approx([0.010])
