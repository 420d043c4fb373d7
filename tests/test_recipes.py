"""What needs no option of ours: batches that are run again, items that are made ready first, a minimum fill."""

from __future__ import annotations

import asyncio
import math

import pytest
import stamina
import tenacity
from callers import conserved, kinds, outcome, passes, running, until

from asyncbatch import ByLength, DeadlineExceeded, Outlook, batched
from asyncbatch.testing import RecordingFunction

# Running a failed batch again, by decorating the function

RETRIES = {
    "stamina": lambda wait: stamina.retry(
        on=ConnectionError, attempts=3, wait_initial=wait, wait_max=wait, wait_jitter=0, timeout=None
    ),
    "tenacity": lambda wait: tenacity.retry(
        retry=tenacity.retry_if_exception_type(ConnectionError),
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_fixed(wait),
        reraise=True,
    ),
}


class Service:
    """What a function asks: it fails so many times, with that."""

    def __init__(self, failures, error=ConnectionError):
        self.failures, self.error, self.asked = failures, error, []

    def ask(self, items):
        self.asked.append(list(items))
        if len(self.asked) <= self.failures:
            raise self.error("no service")
        return [item * 10 for item in items]


def make_async(retry, service):
    @retry
    async def function(items):
        return service.ask(items)

    return function


def make_sync(retry, service):
    @retry
    def function(items):
        return service.ask(items)

    return function


def make_class(retry, service):
    class Model:
        def __init__(self):
            service.built = getattr(service, "built", 0) + 1

        @retry
        def __call__(self, items):
            return service.ask(items)

    return Model


def make_async_class(retry, service):
    class Model:
        @retry
        async def __call__(self, items):
            return service.ask(items)

    return Model


KINDS = [make_async, make_sync, make_class, make_async_class]


@pytest.fixture(params=RETRIES)
def retry(request):
    return RETRIES[request.param]


@pytest.mark.parametrize("make", KINDS)
async def test_a_batch_that_fails_is_run_again_and_callers_notice_nothing(retry, make):
    service = Service(failures=2)
    async with running(make(retry(0.001), service)) as batcher:
        assert await asyncio.gather(*map(batcher, range(3)), batcher.map([3, 4])) == [0, 10, 20, [30, 40]]
        assert service.asked == [[0, 1, 2, 3, 4]] * 3
        statistics = batcher.statistics()
        assert (statistics.batches, statistics.succeeded, statistics.failed) == (1, 5, 0)
        assert getattr(service, "built", 1) == 1


@pytest.mark.parametrize("make", KINDS)
async def test_when_the_last_try_fails_each_caller_has_an_error_of_its_own(retry, make):
    service = Service(failures=3)
    async with running(make(retry(0.001), service)) as batcher:
        one, two = await asyncio.gather(*[outcome(batcher(item)) for item in range(2)])
        assert kinds([one, two]) == [ConnectionError, ConnectionError]
        assert one is not two
        assert "for a batch of 2" in one.__notes__[0]
        assert len(service.asked) == 3
        assert (batcher.statistics().failed, batcher.statistics().batches, conserved(batcher)) == (2, 1, True)
        assert await batcher(3) == 30


@pytest.mark.parametrize("make", KINDS)
async def test_other_errors_are_not_tried_again(retry, make):
    service = Service(failures=1, error=ValueError)
    async with running(make(retry(0.001), service)) as batcher:
        assert kinds([await outcome(batcher(1))]) == [ValueError]
        assert service.asked == [[1]]
        assert await batcher(2) == 20


@pytest.mark.virtual
async def test_who_leaves_between_two_tries_hurts_nobody(retry):
    service = Service(failures=1)
    async with running(make_async(retry(10), service)) as batcher:
        leaves, late, stays = batcher.submit(1), batcher.submit(2, timeout=5), batcher.submit(3)
        await until(lambda: service.asked)
        leaves.cancel()
        assert kinds([await outcome(late), await outcome(stays)]) == [DeadlineExceeded, 30]
        assert asyncio.get_running_loop().time() == 10
        assert service.asked == [[1, 2, 3]] * 2
        statistics = batcher.statistics()
        assert (statistics.cancelled, statistics.expired, statistics.succeeded) == (1, 1, 1)


@pytest.mark.virtual
async def test_when_all_have_left_there_is_no_further_try(retry):
    service = Service(failures=9)
    async with running(make_async(retry(10), service)) as batcher:
        calls = [batcher.submit(item) for item in range(2)]
        await until(lambda: service.asked)
        for call in calls:
            call.cancel()
        await passes()
        assert batcher.statistics().in_flight == 0
        service.failures = 0
        assert await batcher(7) == 70
        assert service.asked == [[0, 1], [7]]


async def test_a_decorated_function_is_batched_as_any_other(retry):
    service = Service(failures=1)
    async with batched(make_async(retry(0.001), service)) as function:
        assert await asyncio.gather(*map(function, range(3))) == [0, 10, 20]
        assert service.asked == [[0, 1, 2]] * 2


# A stage for each item, before it queues


@pytest.mark.virtual
async def test_items_are_made_ready_while_a_batch_runs_so_no_slot_waits_for_them():
    function = RecordingFunction(seconds=1)
    async with running(function, max_batch_size=4, cost=len, max_batch_cost=20, queue=ByLength()) as batcher:

        async def call(item):
            await asyncio.sleep(1)  # decoding, fetching, tokenising
            return await batcher(item * 5)

        first = [asyncio.create_task(call(item)) for item in "abcd"]
        await asyncio.sleep(1)
        second = [asyncio.create_task(call(item)) for item in "efgh"]
        await asyncio.gather(*first, *second)
        assert [{item[0] for item in batch} for batch in function.batches] == [set("abcd"), set("efgh")]
        assert function.times == [1, 2]


async def test_an_item_that_cannot_be_made_ready_fails_its_own_caller_only():
    async with running(RecordingFunction()) as batcher:

        async def call(text):
            return await batcher(int(text))

        assert kinds(await asyncio.gather(*[outcome(call(text)) for text in ("1", "x", "3")])) == [1, ValueError, 3]
        assert (batcher.statistics().submitted, batcher.statistics().failed) == (2, 0)


# A minimum fill, as a policy


def at_least(fewest, patience):
    def policy(outlook: Outlook) -> float:
        if outlook.count >= fewest:
            return 0.0
        last_start = outlook.nearest_deadline - outlook.run_time - 0.002
        return min(outlook.oldest + patience, last_start) - outlook.now

    return policy


@pytest.mark.virtual
async def test_fewer_leave_only_when_their_time_is_up():
    function = RecordingFunction(seconds=0.25)
    async with running(function, max_batch_size=8, policy=at_least(4, 2.0)) as batcher:
        first = [batcher.submit(item) for item in range(3)]
        await asyncio.sleep(1.5)
        second = [batcher.submit(3)]  # the fourth: none waits for the full batch
        await asyncio.gather(*first, *second)
        assert function.times == [1.5]
        third = [batcher.submit(item) for item in range(2)]
        await asyncio.gather(*third)
        assert function.times[1] == pytest.approx(3.75)
        urgent = [batcher.submit(1), batcher.submit(2, timeout=1.0)]
        assert await asyncio.gather(*urgent) == [1, 2]
        assert function.times[2] == pytest.approx(4.0 + 1.0 - 0.25 - 0.002)
        assert [len(batch) for batch in function.batches] == [4, 2, 2]


@pytest.mark.virtual
async def test_a_full_batch_a_flush_and_a_close_do_not_ask_for_a_minimum():
    function = RecordingFunction()
    async with running(function, max_batch_size=4, policy=at_least(4, math.inf)) as batcher:
        full = [batcher.submit(item) for item in range(4)]
        await asyncio.gather(*full)
        flushed = batcher.submit(4)
        batcher.flush()
        await flushed
        closed = batcher.submit(5)
    assert await closed == 5
    assert batcher.statistics().reasons == {"full": 1, "flush": 1, "close": 1}
