"""Rules that every row of the sessions keeps by itself, or with its neighbour."""

from datetime import date, timedelta

from dagster_project.lib.checks.verdict import NUM_SHOWN, Look, Verdict, all_rows, one_row
from dagster_project.lib.lake import load_table, state_of
from dagster_project.lib.rows import Condition, open_rows
from dagster_project.lib.silver_columns import SESSIONS_TABLE

#: The longest pause within a session, in ms (inclusive).
GAP_MS = 1_800_000

_FIGURES_DISAGREE = """
    duration_ms < 0
    OR duration_ms <> epoch_ms(ended_at) - epoch_ms(started_at)
    OR session_date <> CAST(started_at AT TIME ZONE 'UTC' AS DATE)
    OR event_count < 1
    OR event_count <> listen_count + page_view_count + auth_event_count + status_change_count
    OR len(songs) <> listen_count OR len(artists) <> listen_count OR len(pages) <> page_view_count
    OR len(session_ids) < 1 OR listen_seconds < 0
"""


def sessions_do_not_overlap(look: Look) -> Verdict:
    """Sessions of one person lie more than half an hour apart."""
    columns = ["session_key", "run_id", "user_id", "session_ids", "started_at", "ended_at"]
    # With its days before and after, because the session before may have begun there.
    stream = open_rows(look.environ, SESSIONS_TABLE, columns, _with_neighbours(look))
    with look.database(sessions=stream) as database:
        database.execute(
            f"""
            CREATE TABLE close AS SELECT * FROM (
                SELECT session_key, epoch_ms(started_at) - epoch_ms(lag(ended_at) OVER person) AS pause_ms
                FROM sessions
                WINDOW person AS (
                    PARTITION BY coalesce(run_id, ''), user_id, CASE WHEN user_id IS NULL THEN session_ids[1] END
                    ORDER BY started_at, ended_at))
            WHERE pause_ms <= {GAP_MS}
            """
        )
        number = one_row(database, "SELECT count(*) AS n FROM close")["n"]
        shown = all_rows(database, f"SELECT session_key, pause_ms FROM close ORDER BY pause_ms, session_key LIMIT {NUM_SHOWN}")
    text = f"{number:,} sessions begin half an hour or less after the one before of the same person ended"
    return Verdict(number == 0, text, {"value": number, "limit": 0, "shortest_pause_allowed_ms": GAP_MS + 1}, shown)


def session_figures_agree(look: Look) -> Verdict:
    """No duration is negative; days, sums and lists of a row agree with each other."""
    columns = ["session_key", "session_date", "session_ids", "started_at", "ended_at", "duration_ms", "event_count"]
    columns += ["listen_count", "page_view_count", "auth_event_count", "status_change_count", "listen_seconds"]
    stream = open_rows(look.environ, SESSIONS_TABLE, [*columns, "songs", "artists", "pages"], look.only("session_date"))
    with look.database(sessions=stream) as database:
        found = one_row(
            database,
            f"""
            SELECT count(*) AS row_count, count(*) FILTER ({_FIGURES_DISAGREE}) AS wrong,
                   count(*) FILTER (duration_ms < 0) AS negative_durations,
                   coalesce(max(duration_ms), 0) / 3600000 AS longest_hours,
                   max_by(session_key, session_key, {NUM_SHOWN}) FILTER ({_FIGURES_DISAGREE}) AS examples
            FROM sessions
            """,
        )
    numbers = {name: found[name] for name in ("row_count", "negative_durations", "longest_hours")}
    return Verdict(
        passed=found["wrong"] == 0,
        text=f"figures of {found['wrong']:,} of {found['row_count']:,} sessions contradict each other",
        metadata={"value": found["wrong"], "limit": 0, **numbers},
        offending=[{"session_key": key} for key in found["examples"] or []],
    )


def open_sessions_fit_the_watermark(look: Look) -> Verdict:
    """A session is closed exactly if its end plus half an hour lies before the largest event time consumed."""
    progress = state_of(load_table(look.environ, SESSIONS_TABLE)).get("sessions")
    stream = open_rows(look.environ, SESSIONS_TABLE, ["session_key", "session_date", "ended_at", "is_closed"])
    watermark_ms = progress["watermark_ms"] if progress else 0
    wrong = f"is_closed <> (epoch_ms(ended_at) + {GAP_MS} < {watermark_ms})"
    with look.database(sessions=stream) as database:
        found = one_row(
            database,
            f"""
            SELECT count(*) AS row_count, count(*) FILTER (NOT is_closed) AS open_sessions, count(*) FILTER ({wrong}) AS wrong,
                   datediff('day', DATE '1970-01-01', min(session_date) FILTER (NOT is_closed)) AS open_from_day,
                   max_by(session_key, session_key, {NUM_SHOWN}) FILTER ({wrong}) AS examples
            FROM sessions
            """,
        )
    stored = progress.get("open_from_day") if progress else None
    is_same_day = found["open_from_day"] == stored
    return Verdict(
        passed=found["wrong"] == 0 and is_same_day,
        text=f"{found['open_sessions']:,} of {found['row_count']:,} sessions are open; {found['wrong']:,} are marked wrongly"
        + ("" if is_same_day else f"; the first open day is {_day(found['open_from_day'])}, the state says {_day(stored)}"),
        metadata={
            "value": found["wrong"],
            "limit": 0,
            "row_count": found["row_count"],
            "open_sessions": found["open_sessions"],
            "watermark_ms": watermark_ms,
        },
        offending=[{"session_key": key} for key in found["examples"] or []],
    )


def _day(number: int | None) -> str:
    return "none" if number is None else (date(1970, 1, 1) + timedelta(days=number)).isoformat()


def _with_neighbours(look: Look) -> list[Condition]:
    if look.days is None:
        return []
    days = {date.fromisoformat(day) + timedelta(days=shift) for day in look.days for shift in (-1, 0, 1)}
    return [("session_date", "in", sorted(day.isoformat() for day in days))]
