"""The truth about an event set, computed by DuckDB from its lines: distinct events, and sessions by their law.

Written from the rules alone, as one query over the whole history; it shares nothing with the jobs it is held against.
"""

from collections.abc import Mapping
from pathlib import Path

import duckdb

GAP_MS = 1_800_000
DAY_MS = 86_400_000
#: Digits that the generator gives durations: sums rounded to them do not depend on the order in which they were added.
DURATION_DIGITS = 5
#: Null where the line is no event.
TIME = "try_cast(v->>'$.ts' AS BIGINT)"
#: What each topic has beside the common fields, by wire name.
FIELDS = ("artist", "song", "duration", "page", "level", "city", "state")


def load(connection: duckdb.DuckDBPyConnection, files: Mapping[str, list[Path]]) -> None:
    """Makes the table `events`: each event once, whatever number of times it was delivered; no event: left out."""
    selects = []
    for topic, paths in files.items():
        names = ", ".join(f"'{path}'" for path in paths)
        columns = ", ".join(f"v->>'$.{name}' AS {name}" for name in FIELDS)
        selects.append(
            f"SELECT DISTINCT '{topic}' AS topic, {TIME} AS ts, (v->>'$.sessionId')::BIGINT AS session_id, "
            f"(v->>'$.itemInSession')::INT AS item, (v->>'$.userId')::BIGINT AS user_id, {columns} "
            f"FROM (SELECT line[instr(line, chr(9)) + 1:] AS v FROM read_csv([{names}], columns={{'line': 'VARCHAR'}}, "
            "delim='\x01', quote='', escape='', header=false, max_line_size=4000000)) "
            f"WHERE json_valid(v) AND {TIME} IS NOT NULL"
        )
    connection.execute(f"CREATE OR REPLACE TABLE events AS {' UNION ALL '.join(selects)}")


def sessions(connection: duckdb.DuckDBPyConnection, name: str = "true_sessions", events: str = "events") -> None:
    """Makes a table with one row per session from `events`, a relation of the columns of the table `events`."""
    connection.execute(f"""
        CREATE OR REPLACE TABLE {name} AS
        WITH days AS (SELECT *, ts // {DAY_MS} AS day FROM {events}),
        known AS (SELECT DISTINCT session_id, day, user_id FROM days WHERE user_id IS NOT NULL),
        around AS (SELECT session_id, day + shift AS day, user_id FROM known, (VALUES (-1), (0), (1)) AS shifts(shift)),
        named AS (
            SELECT session_id, day, any_value(user_id) AS only_user FROM around
            GROUP BY session_id, day HAVING count(DISTINCT user_id) = 1
        ),
        acted AS (
            SELECT days.*, coalesce(days.user_id, named.only_user) AS who FROM days LEFT JOIN named USING (session_id, day)
        ),
        -- A song is told by the listen and by the page; both are one event.
        once AS (
            SELECT who, session_id, item, ts, bool_or(is_song) AS is_song, max(kind) AS kind, max(duration) AS duration
            FROM (
                SELECT *, topic = 'listen_events' OR coalesce(page = 'NextSong', false) AS is_song,
                    CASE WHEN topic = 'listen_events' OR coalesce(page = 'NextSong', false) THEN 'song' ELSE topic END AS kind,
                    row_number() OVER () AS number
                FROM acted
            )
            GROUP BY who, session_id, item, ts, kind, CASE WHEN kind = 'song' THEN 0 ELSE number END
        ),
        actors AS (SELECT *, coalesce('u' || who, 's' || session_id) AS actor FROM once),
        marked AS (
            SELECT *, coalesce(ts - lag(ts) OVER (PARTITION BY actor ORDER BY ts, session_id, item) > {GAP_MS}, true) AS begins
            FROM actors
        ),
        numbered AS (
            SELECT *, sum(begins::INT) OVER (PARTITION BY actor ORDER BY ts, session_id, item ROWS UNBOUNDED PRECEDING) AS number
            FROM marked
        )
        SELECT any_value(who) AS user_id, min(ts) AS started_ms, max(ts) AS ended_ms, count(*) AS event_count,
            count(*) FILTER (kind = 'song') AS listen_count, count(*) FILTER (kind = 'page_view_events') AS page_view_count,
            count(*) FILTER (kind = 'auth_events') AS auth_event_count,
            count(*) FILTER (kind = 'status_change_events') AS status_change_count,
            round(coalesce(sum(duration::DOUBLE), 0), {DURATION_DIGITS}) AS listen_seconds,
            max(ts) + {GAP_MS} < (SELECT max(ts) FROM events) AS is_closed
        FROM numbered GROUP BY actor, number
    """)


#: The columns of `true_sessions` as expressions over the table of sessions.
TABLE_COLUMNS = f"""
    user_id, epoch_ms(started_at) AS started_ms, epoch_ms(ended_at) AS ended_ms, event_count::BIGINT, listen_count::BIGINT,
    page_view_count::BIGINT, auth_event_count::BIGINT, status_change_count::BIGINT,
    round(listen_seconds, {DURATION_DIGITS}), is_closed
"""


def differences(connection: duckdb.DuckDBPyConnection, expected: str, found: str) -> int:
    """Returns the number of rows that only one of two queries gives, counted with their multiplicity."""
    both = f"SELECT 1 AS side, * FROM ({expected}) UNION ALL SELECT -1, * FROM ({found})"
    by_row = f"SELECT * EXCLUDE (side), sum(side) AS surplus FROM ({both}) GROUP BY ALL"
    row = connection.execute(f"SELECT coalesce(sum(abs(surplus)), 0)::BIGINT FROM ({by_row})").fetchone()
    if row is None:
        raise RuntimeError("DuckDB gave no answer")
    return int(row[0])
