"""What of a session reaches Dagster: bounded, however long the session and however talkative the worker."""

import json

import pytest

from dagster_project.resources.pipes import session
from dagster_project.resources.pipes.budget import LineBudget
from dagster_project.resources.pipes.session import MAX_LOSSES, MessageSink, SessionJournal


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        """Tells the time, in seconds."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sink(handler, log, clock) -> MessageSink:
    """A sink that lets three lines through, and one more every ten seconds."""
    return MessageSink(handler, log, SessionJournal(), LineBudget(3, 10, clock), LineBudget(3, 10, clock))


def test_a_budget_grants_a_burst_then_a_trickle_and_counts_the_rest(clock):
    budget = LineBudget(2, 10, clock)

    assert [budget.take() for _ in range(4)] == [True, True, False, False]
    clock.now += 10
    assert [budget.take(), budget.take()] == [True, False]
    assert (budget.take_left_out(), budget.take_left_out()) == (3, 0)
    clock.now += 1_000
    assert [budget.take() for _ in range(3)] == [True, True, False], "a long silence does not save up more than a burst"


def test_lines_beyond_the_budget_are_counted_and_told_when_there_is_room_again(sink, message, handler, log, clock):
    for number in range(5):
        sink.deliver(message("log", level="INFO", message=str(number)).encode())
    clock.now += 10
    sink.deliver(message("log", level="info", message="later").encode())

    assert handler.methods == ["log"] * 4
    assert log.warnings == ["[pipes] left out 2 messages of level INFO or lower of the worker: too many for the event log"]


def test_chatter_does_not_push_out_an_error(sink, message, handler, log):
    for number in range(50):
        sink.deliver(message("log", level="DEBUG", message=str(number)).encode())
    sink.deliver(message("log", level="ERROR", message="disk full").encode())
    sink.finish()

    assert handler.methods == ["log"] * 4
    assert sink.journal.last_error == "disk full"
    assert log.warnings == ["[pipes] left out 47 messages of level INFO or lower of the worker: too many for the event log"]


def test_an_error_beyond_the_budget_is_still_the_reason_of_the_failure(sink, message, handler):
    for number in range(9):
        sink.deliver(message("log", level="ERROR", message=str(number)).encode())

    assert len(handler.methods) == 3
    assert sink.journal.error == "8"


def test_broken_messages_have_a_budget_too(sink, log):
    for _ in range(100):
        sink.deliver(b"broken")
    sink.finish()

    assert sink.journal.num_refused == 100
    assert len(log.warnings) == 4
    assert log.warnings[-1] == "[pipes] left out 97 warnings and errors of the worker: too many for the event log"


def test_of_custom_messages_the_first_are_kept(sink, custom, handler, log, monkeypatch):
    monkeypatch.setattr(session, "MAX_CUSTOM_MESSAGES", 3)
    for number in range(5):
        sink.deliver(custom(number).encode())
    sink.finish()

    assert handler.payloads == [0, 1, 2]
    assert log.warnings == ["[pipes] kept the first 3 custom messages, dropped 2"]


def test_progress_is_kept_as_the_last_word_and_not_queued(sink, custom, handler, log):
    for rows in range(1_000):
        sink.deliver(custom({"streamify": "progress", "version": 1, "rows": rows}).encode())
    sink.finish()

    assert handler.payloads == []
    assert sink.journal.progress.payload["rows"] == 999
    assert log.warnings == []


def test_of_many_losses_the_first_are_kept(sink, custom):
    for seq in range(10, 10_000, 10):
        sink.deliver(json.dumps({**json.loads(custom(seq)), "seq": seq, "writer": "w"}).encode())

    assert len(sink.journal.losses) == MAX_LOSSES
