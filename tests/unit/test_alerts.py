"""When people are told, and what: by values alone."""

import pytest

from dagster_project.lib.alerts import Alert, Known, Problem, Stage, decide, is_beyond, message_of

HOUR = 3600.0
LATE = Problem("lag/t", "`t` lacks 5 records", "table `t`", "start the worker", link="http://ui/assets/t")


def told(known, problems, now, unjudged=()):
    """Returns the stages that are told, and what is remembered."""
    alerts, remembered = decide(known, problems, now, HOUR, unjudged)
    return [alert.stage for alert in alerts], remembered


def test_a_problem_is_told_once_then_every_hour_then_when_it_is_over():
    stages, known = told({}, [LATE], 0.0)
    assert stages == [Stage.NEW]

    for now, expected in [(60, []), (HOUR - 1, []), (HOUR, [Stage.LASTS]), (HOUR + 60, []), (2 * HOUR, [Stage.LASTS])]:
        stages, known = told(known, [LATE], now)
        assert stages == expected, now

    stages, known = told(known, [], 2 * HOUR + 60)
    assert stages == [Stage.OVER]
    assert told(known, [], 2 * HOUR + 120)[0] == []
    assert told(known, [], 4 * HOUR)[1] == {}, "forgotten after the repeat time"


def test_what_comes_and_goes_is_told_once_per_hour_and_its_end_once():
    known = {}
    heard = []
    for minute in range(0, 60, 2):
        stages, known = told(known, [LATE], minute * 60.0)
        heard += stages
        stages, known = told(known, [], minute * 60.0 + 60)
        heard += stages

    assert heard == [Stage.NEW, Stage.OVER]
    assert told(known, [LATE], HOUR)[0] == [Stage.NEW], "it is news again after an hour"


def test_what_came_back_silently_is_told_as_new_once_the_hour_is_over():
    _, known = told({}, [LATE], 0.0)
    _, known = told(known, [], 60.0)
    stages, known = told(known, [LATE], 120.0)
    assert stages == []

    stages, known = told(known, [LATE], HOUR + 1)

    assert stages == [Stage.NEW]
    assert known["lag/t"].since == 120.0


def test_what_is_unknown_in_a_tick_changes_nothing():
    _, known = told({}, [LATE], 0.0)

    assert told(known, [], 60.0, unjudged=["lag/t"]) == ([], known)
    assert told({}, [], 60.0, unjudged=["lag/t"]) == ([], {})


def test_the_time_since_when_is_that_of_the_problem_or_of_the_first_look():
    [alert], known = decide({}, [LATE], 50.0, HOUR)
    assert alert.problem.since == 50.0
    [again], _ = decide(known, [LATE], 50.0 + HOUR, HOUR)
    assert again.problem.since == 50.0

    [dated], _ = decide({}, [Problem("k", "w", "x", "n", since=10.0)], 50.0, HOUR)
    assert dated.problem.since == 10.0


@pytest.mark.parametrize(
    ("value", "was_beyond", "expected"),
    [(100, False, False), (101, False, True), (90, True, True), (80, True, False), (90, False, False)],
)
def test_a_most_value_is_left_only_well_below_it(value, was_beyond, expected):
    assert is_beyond(value, 100, was_beyond=was_beyond, back_at=80) is expected


@pytest.mark.parametrize(
    ("value", "was_beyond", "expected"),
    [(100, False, False), (99, False, True), (110, True, True), (125, True, False), (110, False, False)],
)
def test_a_least_value_is_left_only_well_above_it(value, was_beyond, expected):
    assert is_beyond(value, 100, was_beyond=was_beyond, back_at=125) is expected


def test_a_message_says_what_where_since_when_and_what_to_do():
    dated = Problem(**{**vars(LATE), "since": 1_790_000_000.0})

    message = message_of([Alert(dated), Alert(LATE, Stage.OVER)])

    assert message.subject == "[Streamify] `t` lacks 5 records (and 1 more)"
    assert message.text == (
        "What: `t` lacks 5 records\n"
        "Where: table `t`\n"
        "Since: 2026-09-21 14:13:20 UTC\n"
        "Link: http://ui/assets/t\n"
        "Next: start the worker\n"
        "\n"
        "What: over: `t` lacks 5 records\n"
        "Where: table `t`\n"
        "Link: http://ui/assets/t"
    )


def test_a_problem_that_is_over_is_told_in_the_words_it_was_known_by():
    known = {"lag/t": Known("`t` lacks 5 records", "table `t`", since=5.0, told_at=5.0)}

    [alert], _ = decide(known, [], 60.0, HOUR)

    assert (alert.headline, alert.problem.where, alert.problem.since) == ("over: `t` lacks 5 records", "table `t`", 5.0)
