"""Bounded waiting: nobody waits longer than asked, and nothing is begun twice."""

import threading
import time

import pytest

from dagster_project.lib import patience
from dagster_project.lib.patience import TICK_SECONDS, Background, Deadline, NotYetError


@pytest.fixture
def background() -> Background:
    return Background()


def test_a_tick_has_two_seconds_for_everything_together():
    now = 100.0
    deadline = Deadline(clock=lambda: now)

    assert (TICK_SECONDS, deadline.left(), deadline.left(0.5)) == (2.0, 2.0, 0.5)
    now = 101.8
    assert deadline.left(0.5) == pytest.approx(0.2)
    now = 200.0
    assert deadline.left() == 0


def test_what_ends_in_time_is_returned_and_what_fails_raises(background):
    def broken():
        raise LookupError("no such table")

    assert background.call("a", lambda: 7, 30) == 7
    with pytest.raises(LookupError, match="no such table"):
        background.call("b", broken, 30)
    assert background.call("b", lambda: 8, 30) == 8, "an outcome that somebody got is gone"


def test_a_call_that_hangs_is_left_behind_and_its_outcome_is_for_the_next(background):
    go_on = threading.Event()
    begun = []

    def slow():
        begun.append(1)
        go_on.wait(30)
        return "late"

    before = time.monotonic()
    for _ in range(3):
        with pytest.raises(NotYetError, match=r"^`x` did not end within 0\.0 s; it goes on"):
            background.call("x", slow, 0.01)
    assert time.monotonic() - before < 10
    go_on.set()

    assert background.call("x", lambda: "another", 30, max_age=60) == "late"
    assert begun == [1]


def test_an_outcome_that_is_too_old_is_thrown_away(background):
    background.begin("x", lambda: "old")
    background._calls["x"].done.wait(30)

    background.begin("x", lambda: "kept is the old one", max_age=60)
    assert background.outcome("x", 30) == "old"
    background.begin("x", lambda: "old")
    background._calls["x"].done.wait(30)
    assert background.call("x", lambda: "new", 30, max_age=-1) == "new"


def test_what_was_given_up_is_begun_anew(background):
    hang = threading.Event()
    background.begin("x", hang.wait)
    background.forget("x")

    assert background.call("x", lambda: "new", 30) == "new"
    hang.set()


def test_a_call_that_has_hung_for_long_is_begun_anew(background, monkeypatch):
    hang = threading.Event()
    background.begin("x", hang.wait)
    monkeypatch.setattr(patience, "HUNG_SECONDS", -1)

    assert background.call("x", lambda: "new", 30) == "new"
    hang.set()
