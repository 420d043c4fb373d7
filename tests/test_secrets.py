"""Items and results may be secret: they appear in no log, no error, no repr and no warning of ours."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import logging
import math
import threading
import traceback
import warnings

from callers import passes
import pytest

import asyncbatch.sync
from asyncbatch import (
    Batcher,
    EarliestDeadline,
    Fifo,
    Keyed,
    Priority,
    batched,
)
from asyncbatch.testing import RecordingFunction

CANARY = "c4n4ry-5ecr3t"
RESULT = "re5ult-5ecr3t"


class Telling:
    """An item that tells its secret to whoever prints it."""

    def __repr__(self):
        return CANARY

    __str__ = __repr__


class Answer(Telling):
    def __repr__(self):
        return RESULT

    __str__ = __repr__


class Told:
    """All that was said, by whatever means."""

    def __init__(self):
        self.texts = []

    def error(self, error):
        # Not the source lines around, which are those of the test.
        while error is not None:
            self.texts += [
                repr(error),
                str(error),
                repr(error.args),
                repr(vars(error)),
                *traceback.format_exception_only(error),
            ]
            if isinstance(error, BaseExceptionGroup):
                for each in error.exceptions:
                    self.error(each)
            error = error.__cause__ or error.__context__

    def batcher(self, batcher):
        self.texts += [
            repr(batcher),
            str(batcher),
            repr(batcher.statistics()),
            repr(batcher._house),
            str(batcher._house),
        ]
        self.texts += [repr(each) for each in (batcher._house.queue, *batcher._house.flights)]
        self.texts += [repr(task) for task in asyncio.all_tasks()]
        self.texts += [thread.name for thread in threading.enumerate()]

    def assert_no_secret(self):
        assert self.texts
        for text in self.texts:
            assert CANARY not in text
            assert RESULT not in text


@contextlib.contextmanager
def listening():
    """Everything that is logged at whatever level, warned of, or said of an event loop, and what tests add to it."""
    told = Told()

    class Texts(logging.Handler):
        def emit(self, record):
            told.texts.append(self.format(record))

    loggers, handler = [logging.getLogger(name) for name in ("asyncbatch", "asyncio", "concurrent.futures")], Texts()
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(1)
        logger.addHandler(handler)
        logger.propagate = False  # other handlers may keep the frames of what was raised
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda *warning: told.texts.append(str(warning))
        try:
            yield told
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
                logger.removeHandler(handler)
                logger.propagate = True
    told.assert_no_secret()


async def tell(told, awaitable):
    try:
        async with asyncio.timeout(5):
            return await awaitable
    except asyncio.CancelledError:
        if asyncio.current_task().cancelling():
            raise
    except BaseException as error:
        told.error(error)


def raising(make):
    def function(items):
        raise make()

    return function


class Odd(BaseException):
    pass


class Uncopyable(Exception):
    def __new__(cls, *, token):
        return super().__new__(cls)

    def __init__(self, *, token):
        super().__init__()

    def __reduce__(self):
        raise TypeError


FUNCTIONS = {
    "too few": lambda items: [],
    "too many": lambda items: [Answer() for _ in range(len(items) + 1)],
    "none": lambda items: None,
    "dict": lambda items: {Answer(): item for item in items},
    "set": lambda items: {Answer() for _ in items},
    "string": lambda items: RESULT,
    "bytes": lambda items: RESULT.encode(),
    "generator": lambda items: (Answer() for _ in items),
    "object": lambda items: Answer(),
    "fine": lambda items: [Answer() for _ in items],
    "error": raising(lambda: ValueError("public")),
    "uncopyable": raising(lambda: Uncopyable(token=CANARY)),
    "base exception": raising(Odd),
    "cancelled": raising(asyncio.CancelledError),
    "stop": raising(lambda: StopIteration(5)),
    "errors": lambda items: [ValueError("public") for _ in items],
    "base exceptions": lambda items: [Odd() for _ in items],
}


@pytest.mark.parametrize("executor", ["inline", "thread"])
async def test_whatever_the_function_does_with_secrets_they_stay_secret(executor):
    with listening() as told:
        for function in FUNCTIONS.values():
            events = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: told.texts.append(context["message"]))
            async with Batcher(function, executor=executor, observers=[events.append]) as batcher:
                await tell(told, batcher(Telling()))
                await tell(told, batcher.map([Telling(), Telling()]))
                await tell(told, batcher.map([Telling(), Telling()], return_exceptions=True))
                told.batcher(batcher)
            told.texts += map(repr, events)
            gc.collect()


@pytest.mark.parametrize(
    "queue", [Fifo(1, "reject"), Fifo(1, "evict"), EarliestDeadline(1, "evict"), Priority(1, "evict"), Keyed(1, "evict")]
)
async def test_secrets_in_the_queue_stay_secret(queue):
    with listening() as told:
        gate = asyncio.Event()
        events = []
        async with Batcher(RecordingFunction(script=[gate]), queue=queue, observers=[events.append]) as batcher:
            tasks = []
            for _ in range(4):
                tasks.append(asyncio.create_task(tell(told, batcher(Telling()))))
                await passes()
            for call in (batcher.map([Telling()], timeout=0), batcher(Telling(), timeout=0)):
                await tell(told, call)
            with contextlib.suppress(asyncio.QueueFull):
                told.texts.append(repr(batcher._queue))
                tasks.append(asyncio.create_task(tell(told, batcher.submit(Telling()))))
            told.batcher(batcher)
            house = batcher._house
            told.texts += map(repr, [house, house.queue, house.departures, house.deadlines, house.flights, house.tally])
            gate.set()
            await batcher.aclose(drain=False)
            await asyncio.gather(*tasks)
            told.batcher(batcher)
            await tell(told, batcher(Telling()))
        told.texts += map(repr, events)


async def test_secrets_among_hooks_that_fail_stay_secret():
    with listening() as told:

        def broken(*_):
            raise KeyError("public")

        async with Batcher(RecordingFunction(), policy=broken, observers=[broken]) as batcher:
            await tell(told, batcher(Telling()))
        assert any("policy" in text for text in told.texts)
        for cost in (broken, lambda item: item, lambda item: CANARY, lambda item: [CANARY], lambda item: math.nan):
            async with Batcher(RecordingFunction(), cost=cost) as batcher:
                await tell(told, batcher(Telling()))
                await tell(told, batcher.map([Telling()]))


async def test_an_item_that_strays_into_another_parameter_stays_secret():
    with listening() as told:
        async with Batcher(RecordingFunction()) as batcher:
            for item in (CANARY, Telling(), [CANARY], {CANARY: 1}):
                for detail in ("timeout", "priority", "read_ahead", "something"):
                    for call in (batcher, batcher.map):
                        with contextlib.suppress(TypeError):
                            await tell(told, call([item], **{detail: item}))
                    try:
                        batcher.imap([item], **{detail: item})
                    except Exception as error:
                        told.error(error)
                await tell(told, batcher.map(Telling()))
                await tell(told, batcher.aclose(timeout=item))
                for name in ("max_batch_size", "max_wait", "max_batch_cost"):
                    try:
                        setattr(batcher, name, item)
                    except Exception as error:
                        told.error(error)


async def test_secrets_of_an_unfinished_batcher_stay_secret():
    with listening() as told:

        async def function(items):
            await asyncio.Event().wait()

        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.texts.append(context["message"]))
        batcher = Batcher(function, name="embed")
        await batcher.__aenter__()
        task = asyncio.create_task(tell(told, batcher(Telling())))
        await passes()
        told.batcher(batcher)
        for each in asyncio.all_tasks():
            if each.get_name().startswith("asyncbatch"):
                each.cancel()
        await task
        del batcher, task
        gc.collect()
        await passes()


async def test_secrets_that_call_from_where_they_should_not_stay_secret():
    with listening() as told:

        async def function(items):
            return [await batcher(item) for item in items]

        async with Batcher(function) as batcher:
            await tell(told, batcher(Telling()))

            def elsewhere():
                try:
                    batcher.submit(Telling())
                except Exception as error:
                    told.error(error)
                with contextlib.suppress(RuntimeError):
                    asyncio.run(tell(told, batcher(Telling())))

            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join(5)
        await tell(told, batcher(Telling()))
        await tell(told, Batcher(function)(Telling()))


async def test_secrets_in_decorated_functions_stay_secret():
    with listening() as told:

        class Service:
            def __repr__(self):
                return CANARY

            @batched
            async def serve(self, items):
                return None

        service = Service()
        await tell(told, service.serve(Telling()))
        told.texts += [repr(Service.serve), repr(service.serve)]
        await service.serve.aclose()
        await tell(told, service.serve(Telling()))


def test_secrets_in_threads_stay_secret():
    with listening() as told:
        with asyncbatch.sync.Batcher(lambda items: None) as batcher:
            for call in (batcher, batcher.submit, lambda item: batcher.map([item])):
                try:
                    result = call(Telling())
                    told.error(result.exception(5))
                except Exception as error:
                    told.error(error)
            told.texts += [repr(batcher), repr(batcher.statistics())]

        async def main():
            with pytest.raises(asyncbatch.WouldDeadlock) as caught:
                another(Telling())
            told.error(caught.value)

        with asyncbatch.sync.Batcher(lambda items: items) as another:
            asyncio.run(main())
        try:
            batcher(Telling())
        except asyncbatch.Closed as error:
            told.error(error)


def give_up(items):
    raise RuntimeError("public")


async def test_secrets_on_their_way_to_another_executor_stay_secret():
    with listening() as told:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            async with Batcher(give_up, executor=pool) as batcher:
                await tell(told, batcher(Telling()))
                told.batcher(batcher)
            pool.shutdown()
            async with Batcher(give_up, executor=pool) as batcher:
                await tell(told, batcher(Telling()))


def test_the_watch_for_secrets_sees_them():
    told = Told()
    told.error(ValueError(Telling()))
    with pytest.raises(AssertionError):
        told.assert_no_secret()
    told = Told()
    told.texts.append(repr([Answer()]))
    with pytest.raises(AssertionError):
        told.assert_no_secret()
