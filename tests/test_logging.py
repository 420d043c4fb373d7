"""What the standard `logging` is told: a line for people, attributes for programs, and nothing of any item."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from callers import outcome, running

from asyncbatch.metrics.events import WorkerDied
from asyncbatch.metrics.logging import LoggingObserver
from asyncbatch.testing import RecordingFunction

STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime"}


@pytest.fixture
def records(caplog):
    """What was logged so far, each record as its level, its message and the attributes of its own."""

    def so_far():
        told = [each for each in caplog.records if each.name.startswith("asyncbatch")]
        own = [{name: value for name, value in vars(each).items() if name not in STANDARD} for each in told]
        return [(each.levelname, each.getMessage(), attributes) for each, attributes in zip(told, own, strict=True)]

    caplog.set_level(logging.DEBUG, "asyncbatch")
    yield so_far
    caplog.clear()


@pytest.mark.virtual
async def test_a_record_has_a_message_and_attributes(records):
    async with running(RecordingFunction(seconds=2), name="embed", max_wait=1, observers=[LoggingObserver()]) as batcher:
        assert await batcher.map(["secret", "secret"]) == ["secret", "secret"]
        await outcome(batcher("secret", timeout=0))
    started, ended, dropped = records()
    assert started == (
        "DEBUG",
        "BatchStarted of batcher 'embed': reason wait, size 2, waited 1",
        {"event": "BatchStarted", "batcher": "embed", "reason": "wait", "size": 2, "waited": 1.0},
    )
    told = "size 2, seconds 2, error None, succeeded 2, failed 0, elements 0, padding 0"
    assert ended[1] == f"BatchEnded of batcher 'embed': {told}"
    assert dropped[2] == {"event": "RequestDropped", "batcher": "embed", "outcome": "expired", "size": 1}
    assert "secret" not in json.dumps(records())


async def test_what_goes_wrong_is_a_warning(records):
    observer = LoggingObserver()
    async with running(RecordingFunction(script=[KeyError("secret")]), observers=[observer]) as batcher:
        assert isinstance(await outcome(batcher(1)), KeyError)
    observer(WorkerDied("it", "signal", -9))
    assert [level for level, _, _ in records()] == ["DEBUG", "WARNING", "WARNING"]
    assert records()[1][2]["error"] == "KeyError"
    assert "secret" not in str(records())


async def test_the_logger_and_the_level_can_be_chosen(records):
    observer = LoggingObserver(logging.getLogger("asyncbatch.mine"), logging.INFO)
    async with running(RecordingFunction(), observers=[observer]) as batcher:
        assert await asyncio.gather(batcher(1), batcher(2)) == [1, 2]
    assert [level for level, _, _ in records()] == ["INFO", "INFO"]


async def test_nothing_is_made_where_nobody_reads(records, caplog):
    caplog.set_level(logging.WARNING, "asyncbatch.events")
    async with running(RecordingFunction(), observers=[LoggingObserver()]) as batcher:
        assert await batcher(1) == 1
    assert records() == []
