"""The sessions of a sample of people, recomputed from silver and held against the table."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dagster_project.lib.checks.session_law import TOPICS, Event, Person, Row, people_of, sessions_of
from dagster_project.lib.checks.verdict import NUM_SHOWN, Look, Verdict, all_rows
from dagster_project.lib.contracts import Contract
from dagster_project.lib.lake import load_table, state_of
from dagster_project.lib.rows import Condition, open_rows
from dagster_project.lib.silver_columns import SESSION_COLUMNS, SESSIONS_TABLE

#: What the law says nothing of, or says by other columns.
_NOT_COMPARED = {"session_key", "session_date", "started_at", "ended_at", "_processed_at"}
_DETAIL = {"page_view_events": "page", "status_change_events": "new_level"}
_LEVEL = {"status_change_events": "old_level"}
_HAS_SONGS = {"listen_events", "page_view_events"}
#: A visitor is rare next to users, so a sample takes at most so many of a hundred.
_VISITORS_OF_HUNDRED = 20


@dataclass(frozen=True)
class _Source:
    """A silver table as the sessions have read it."""

    topic: str
    table: str
    snapshot: int


def sessions_follow_the_law(look: Look, contracts: Iterable[Contract]) -> Verdict:
    """Sessions of a sample of people equal those recomputed from silver, as it was when the sessions read it.

    People are drawn from the sessions and from the events, so that lost sessions are found, too; the draw changes with each
    snapshot of the table.
    """
    sessions = load_table(look.environ, SESSIONS_TABLE)
    state, snapshot = state_of(sessions), sessions.current_snapshot()
    if snapshot is None or not state.get("sessions"):
        return Verdict(passed=True, text="there are no sessions yet", metadata={"value": 0, "limit": 0, "people": 0})
    sources = list(_sources(look, contracts, state.get("sources", {})))
    lost = [source.table for source in sources if load_table(look.environ, source.table).snapshot_by_id(source.snapshot) is None]
    if lost:
        text = f"what the sessions have read of {', '.join(lost)} has expired; run {SESSIONS_TABLE}, then check again"
        return Verdict(passed=False, text=text, metadata={"value": 0, "limit": 0, "people": 0}, is_warning=True)
    people = _draw(look, sources, snapshot.snapshot_id)
    if not people:
        return Verdict(passed=True, text="nobody to look at", metadata={"value": 0, "limit": 0, "people": 0})
    events = _events_around(look, sources, people)
    by_person = people_of(events)
    watermark_ms = int(state["sessions"]["watermark_ms"])
    expected = {
        (person, row["started_ms"]): row
        for person in people
        for row in sessions_of(person, by_person.get(person, ()), watermark_ms)
    }
    found = {(_person(row), row["started_ms"]): row for row in _rows_of(look, people)}
    return _compare(expected, found, len(people), len(events))


def _compare(
    expected: Mapping[tuple[Person, object], Row], found: Mapping[tuple[Person, object], Row], num_people: int, num_events: int
) -> Verdict:
    wrong: list[dict[str, str | int | None]] = []
    for key in sorted(expected.keys() | found.keys(), key=str):
        person, started_ms = key
        columns = _differences(expected.get(key), found.get(key))
        if columns:
            who = f"user {person.user}" if person.user is not None else f"visitor {person.visit}"
            wrong.append({"run_id": person.run, "person": who, "started_ms": str(started_ms), "wrong": columns})
    return Verdict(
        passed=not wrong,
        text=f"{len(wrong):,} of {len(expected):,} sessions of {num_people:,} people differ from the recomputed ones",
        metadata={"value": len(wrong), "limit": 0, "people": num_people, "sessions": len(expected), "events": num_events},
        offending=wrong[:NUM_SHOWN],
    )


def _differences(expected: Row | None, found: Row | None) -> str:
    if expected is None or found is None:
        return "not in the table" if found is None else "in the table only"
    return ", ".join(name for name, value in expected.items() if not _equal(value, found[name]))


def _equal(left: object, right: object) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9)
    return left == right


def _sources(look: Look, contracts: Iterable[Contract], consumed: Mapping[str, Any]) -> Iterable[_Source]:
    for contract in contracts:
        if contract.topic in TOPICS and contract.silver.table in consumed:
            yield _Source(contract.topic, contract.silver.table, consumed[contract.silver.table]["snapshot_id"])


def _draw(look: Look, sources: Sequence[_Source], seed: int) -> set[Person]:
    """Draws people: half from the sessions, half from the events of one topic after the other."""
    half = max(look.sample // 2, 1)
    visitors = max(half * _VISITORS_OF_HUNDRED // 100, 1)
    columns = ["run_id", "user_id", "session_ids", "session_date"]
    stream = open_rows(look.environ, SESSIONS_TABLE, columns, look.only("session_date"))
    people = "coalesce(run_id, '') AS run, user_id, CASE WHEN user_id IS NULL THEN session_ids[1] END AS visit"
    with look.database(sessions=stream) as database:
        database.execute(f"CREATE TABLE people AS SELECT DISTINCT {people} FROM sessions")
        order = f"ORDER BY hash(run, user_id, visit, {seed}), run, user_id, visit"
        rows = all_rows(database, f"SELECT * FROM people WHERE visit IS NOT NULL {order} LIMIT {visitors}")
        drawn = [*rows, *all_rows(database, f"SELECT * FROM people WHERE visit IS NULL {order} LIMIT {half}")]
    for source in sources:
        stream = open_rows(look.environ, source.table, ["run_id", "user_id"], look.only("event_date"), source.snapshot)
        share = max(half // len(sources), 1)
        with look.database(events=stream) as database:
            query = "SELECT DISTINCT coalesce(run_id, '') AS run, user_id, NULL AS visit FROM events WHERE user_id IS NOT NULL"
            drawn += all_rows(database, f"SELECT * FROM ({query}) {order} LIMIT {share}")
    return {Person(row["run"], row["user_id"], row["visit"]) for row in drawn}


def _events_around(look: Look, sources: Sequence[_Source], people: set[Person]) -> Sequence[Event]:
    """Returns all events of the people, and those of others in their producer sessions, which tell whose anonymous ones are."""
    users = sorted({person.user for person in people if person.user is not None})
    runs = {(person.run, person.user) for person in people}
    events: dict[str, Event] = {}
    for source in sources if users else ():
        theirs = _fetch(look, source, ("user_id", "in", users))
        events |= {key: event for key, event in theirs.items() if (event.run, event.user) in runs}
    visits = {(event.run, event.session) for event in events.values()}
    visits |= {(person.run, person.visit) for person in people if person.visit is not None}
    numbers = sorted({number for _, number in visits})
    for source in sources:
        beside = _fetch(look, source, ("session_id", "in", numbers))
        events |= {key: event for key, event in beside.items() if (event.run, event.session) in visits}
    return list(events.values())


def _fetch(look: Look, source: _Source, condition: Condition) -> Mapping[str, Event]:
    """Returns the events of a table for which the condition holds, by id."""
    topic = source.topic
    named = {"detail": _DETAIL.get(topic), "level": _LEVEL.get(topic, "level"), "city": "city", "state": "state"}
    songs = {"artist": "artist", "song": "song", "seconds": "duration"}
    named |= songs if topic in _HAS_SONGS else dict.fromkeys(songs)
    columns = ["event_id", "event_ts", "session_id", "item_in_session", "run_id", "user_id"]
    stream = open_rows(look.environ, source.table, [*columns, *filter(None, named.values())], [condition], source.snapshot)
    more = ", ".join(f"{column or 'NULL'} AS {name}" for name, column in named.items())
    query = f"""
        SELECT event_id, epoch_ms(event_ts) AS time_ms, session_id AS session, item_in_session AS item,
               coalesce(run_id, '') AS run, user_id AS user, {more} FROM events"""
    with look.database(events=stream) as database:
        rows = all_rows(database, query)
    number = TOPICS.index(topic)
    return {row["event_id"]: Event(topic=number, **{k: v for k, v in row.items() if k != "event_id"}) for row in rows}


def _rows_of(look: Look, people: set[Person]) -> Iterable[Row]:
    """Yields the table's rows of the people."""
    users = sorted({person.user for person in people if person.user is not None})
    if users:
        yield from _sessions(look, people, ("user_id", "in", users))
    if any(person.user is None for person in people):
        yield from _sessions(look, people, ("user_id", "is", None))


def _sessions(look: Look, people: set[Person], condition: Condition) -> Iterable[Row]:
    compared = [column.name for column in SESSION_COLUMNS if column.name not in _NOT_COMPARED]
    times = "epoch_ms(started_at) AS started_ms, epoch_ms(ended_at) AS ended_ms"
    stream = open_rows(look.environ, SESSIONS_TABLE, [*compared, "started_at", "ended_at"], [condition])
    with look.database(sessions=stream) as database:
        database.execute("CREATE TABLE people (run VARCHAR, user_id BIGINT, visit BIGINT)")
        database.executemany("INSERT INTO people VALUES (?, ?, ?)", [list(person) for person in people])
        rows = all_rows(
            database,
            f"""
            SELECT {", ".join(compared)}, {times} FROM sessions SEMI JOIN people ON coalesce(sessions.run_id, '') = people.run
            AND sessions.user_id IS NOT DISTINCT FROM people.user_id
            AND (sessions.user_id IS NOT NULL OR sessions.session_ids[1] = people.visit)
            """,
        )
    yield from ({**row, "run_id": row["run_id"] or None} for row in rows)


def _person(row: Row) -> Person:
    user, ids = row["user_id"], row["session_ids"]
    run = str(row["run_id"] or "")
    if isinstance(user, int):
        return Person(run, user, None)
    return Person(run, None, ids[0] if isinstance(ids, list) else None)
