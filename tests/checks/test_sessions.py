"""The rules of the sessions: the law said by hand, tables that keep it, and tables that somebody spoiled."""

from datetime import timedelta

import pytest

from dagster_project.lib.checks.identity import events_are_unique
from dagster_project.lib.checks.session_law import Event, Person, people_of, sessions_of
from dagster_project.lib.checks.session_rules import (
    open_sessions_fit_the_watermark,
    session_figures_agree,
    sessions_do_not_overlap,
)
from dagster_project.lib.checks.session_sample import sessions_follow_the_law
from dagster_project.lib.silver_columns import SESSIONS_TABLE

from .conftest import MINUTE, NOON

HALF_HOUR = 30 * MINUTE
USER = Person("r", 1, None)
LISTEN, PAGE_VIEW, AUTH, STATUS_CHANGE = range(4)


def event(ms, topic=PAGE_VIEW, user=1, session=1, item=0, detail="Home", **more):
    """An event, minutes and all plain."""
    plain = {"level": "free", "city": "Bear", "state": "DE", "artist": None, "song": None, "seconds": None}
    return Event(time_ms=ms, session=session, item=item, topic=topic, run="r", user=user, detail=detail, **plain | more)


def sessions(*events, person=USER, watermark_ms=NOON + 24 * 60 * MINUTE):
    """Sessions of a person."""
    return list(sessions_of(person, people_of(events)[person], watermark_ms))


def test_a_pause_of_half_an_hour_is_within_a_session_and_a_longer_one_is_not():
    made = sessions(event(NOON), event(NOON + HALF_HOUR, item=1), event(NOON + 2 * HALF_HOUR + 1, item=2))

    assert [(row["started_ms"] - NOON, row["duration_ms"], row["event_count"]) for row in made] == [
        (0, HALF_HOUR, 2),
        (2 * HALF_HOUR + 1, 0, 1),
    ]


def test_midnight_does_not_split():
    midnight = NOON + 12 * 60 * MINUTE

    assert len(sessions(event(midnight - MINUTE), event(midnight + MINUTE, item=1))) == 1


def test_a_song_that_two_topics_tell_of_counts_once():
    song = {"artist": "Nora Vale", "song": "Slow Harbour", "seconds": 200.0, "detail": "NextSong"}
    [row] = sessions(event(NOON, LISTEN, **song | {"detail": None}), event(NOON, **song), event(NOON + MINUTE, item=1))

    assert (row["listen_count"], row["page_view_count"], row["event_count"]) == (1, 1, 2)
    assert (row["songs"], row["artists"], row["pages"]) == (["Slow Harbour"], ["Nora Vale"], ["Home"])
    assert row["listen_seconds"] == 200.0


def test_visitors_become_the_one_user_of_their_session_within_a_day_and_else_stay_visitors():
    day = 24 * 60 * MINUTE
    stitched = people_of([event(NOON, user=None), event(NOON + day, item=1)])
    too_far = people_of([event(NOON, user=None), event(NOON + 2 * day, item=1)])
    ambiguous = people_of([event(NOON, user=None), event(NOON, user=1, item=1), event(NOON, user=2, item=2)])

    assert set(stitched) == {USER}
    assert set(too_far) == {USER, Person("r", None, 1)}
    assert set(ambiguous) == {USER, Person("r", 2, None), Person("r", None, 1)}


def test_levels_are_those_told_in_order_and_a_change_tells_its_new_one():
    [row] = sessions(
        event(NOON), event(NOON + MINUTE, STATUS_CHANGE, item=1, detail="paid"), event(NOON + MINUTE, item=2, level=None)
    )

    assert (row["level_at_start"], row["level_at_end"], row["level_changed"]) == ("free", "paid", True)
    assert row["status_change_count"] == 1


def test_a_session_is_truncated_if_its_producer_session_began_before_and_open_until_the_watermark_is_past():
    [row] = sessions(event(NOON, item=3), watermark_ms=NOON + HALF_HOUR)
    [later] = sessions(event(NOON, item=0), watermark_ms=NOON + HALF_HOUR + 1)

    assert (row["is_left_truncated"], row["first_item"], row["is_closed"]) == (True, 3, False)
    assert (later["is_left_truncated"], later["is_closed"]) == (False, True)


@pytest.fixture
def made(lake):
    """Sessions of ten users and a visitor over two days, as they should be."""
    views, listens, auths = [], [], []
    for user in range(1, 11):
        for visit in range(3):
            start = NOON + visit * 13 * 60 * MINUTE + user * 1000
            session = 100 * user + visit
            views += [
                lake.event("page_view_events", start + item * MINUTE, user, session, item, page="Home") for item in range(3)
            ]
            song = {"page": "NextSong", "artist": "A", "song": f"S{visit}", "duration": 100.5}
            views.append(lake.event("page_view_events", start + 5 * MINUTE, user, session, 3, **song))
            del song["page"]
            listens.append(lake.event("listen_events", start + 5 * MINUTE, user, session, 3, **song))
        auths.append(lake.event("auth_events", NOON + user * 1000 - MINUTE, None, 100 * user, 0))
    views.append(lake.event("page_view_events", NOON, None, 7777, 0))
    topics = {"page_view_events": views, "listen_events": listens, "auth_events": auths}
    lake.sessions(topics)
    return topics


def law(lake, **options):
    """Judges by the law."""
    return sessions_follow_the_law(lake.look(**options), lake.contracts.values())


CHECKS = {
    "unique": lambda lake: events_are_unique(lake.look(), SESSIONS_TABLE, "session_key", "session_date"),
    "law": law,
    "overlap": lambda lake: sessions_do_not_overlap(lake.look()),
    "figures": lambda lake: session_figures_agree(lake.look()),
    "watermark": lambda lake: open_sessions_fit_the_watermark(lake.look()),
}


@pytest.mark.parametrize("check", CHECKS)
def test_sessions_as_they_should_be_pass(lake, made, check):
    verdict = CHECKS[check](lake)

    assert verdict.passed, verdict
    assert verdict.metadata["value"] == 0


def test_the_law_looks_at_all_these_people_if_the_sample_is_large_enough(lake, made):
    verdict = law(lake, sample=200)

    assert verdict.metadata["people"] == 11
    assert verdict.metadata["sessions"] == 31


def doubled(lake):
    """Every session twice."""
    table = lake.table(SESSIONS_TABLE)
    table.append(table.scan().to_arrow())


def change(lake, **columns):
    """Sets columns of the sessions of one user."""
    lake.change_sessions(lambda row: {**row, **columns} if row["user_id"] == 3 else row)


def split(lake):
    """Ends sessions early: the rest of each is lost."""

    def shorter(row):
        ended = row["ended_at"] - timedelta(minutes=1)
        return {**row, "ended_at": ended, "duration_ms": max(row["duration_ms"] - MINUTE, 0)} if row["user_id"] == 4 else row

    lake.change_sessions(shorter)


def close_together(lake):
    """A user's later sessions begin a minute after the first."""

    def moved(row):
        if row["user_id"] != 5 or row["session_ids"] == [500]:
            return row
        visit = row["session_ids"][0] - 500
        start = row["started_at"] - timedelta(hours=13 * visit) + timedelta(minutes=10 * visit)
        return {**row, "started_at": start, "ended_at": start + timedelta(minutes=5), "session_date": start.date()}

    lake.change_sessions(moved)


@pytest.mark.parametrize(
    ("check", "spoil"),
    [
        pytest.param("unique", doubled, id="sessions twice"),
        pytest.param("law", lambda lake: change(lake, listen_count=9), id="a wrong count"),
        pytest.param("law", lambda lake: change(lake, songs=["other"]), id="a wrong list"),
        pytest.param("law", split, id="a session cut short"),
        pytest.param(
            "law", lambda lake: lake.change_sessions(lambda row: row if row["user_id"] != 6 else None), id="lost sessions"
        ),
        pytest.param(
            "law", lambda lake: lake.change_sessions(lambda row: {**row, "user_id": row["user_id"] or 9}), id="a visitor gone"
        ),
        pytest.param("overlap", close_together, id="sessions too close"),
        pytest.param("figures", lambda lake: change(lake, duration_ms=-1), id="a negative duration"),
        pytest.param("figures", lambda lake: change(lake, event_count=99), id="a wrong sum"),
        pytest.param("figures", lambda lake: change(lake, pages=[]), id="a list too short"),
        pytest.param("watermark", lambda lake: change(lake, is_closed=False), id="open though past"),
        pytest.param(
            "watermark", lambda lake: lake.change_sessions(lambda row: {**row, "is_closed": True}), id="closed too early"
        ),
    ],
)
def test_spoiled_sessions_do_not_pass(lake, made, check, spoil):
    spoil(lake)

    verdict = law(lake, sample=200) if check == "law" else CHECKS[check](lake)

    assert not verdict.passed
    assert verdict.metadata["value"] > verdict.metadata["limit"]
    assert verdict.offending


def test_silver_that_the_sessions_have_not_read_yet_is_left_out(lake, made):
    lake.silver("listen_events", [lake.event("listen_events", NOON + 20 * MINUTE, 1, 100, 9)])

    assert law(lake, sample=200).passed


def test_what_cannot_be_compared_any_more_warns_and_blocks_nothing(lake, made):
    lake.state["sources"]["silver_listen_events"]["snapshot_id"] = 5
    lake._remember(SESSIONS_TABLE, None)

    verdict = law(lake)

    assert (verdict.passed, verdict.is_warning) == (False, True)
    assert "silver_listen_events" in verdict.text
