"""Silver and sessions held against the truth row by row, and read alike by several engines."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb

from tools.prove import session_law
from tools.prove.claims import Claim, equal
from tools.prove.engines import by_duckdb, by_pyiceberg_in_bulk, by_spark
from tools.prove.tables import connect_duckdb, open_catalog
from tools.stack.spark import Spark

TOPICS = ("listen_events", "page_view_events", "auth_events", "status_change_events")
SESSIONS = "silver_user_sessions"
TABLES = (*(f"silver_{topic}" for topic in TOPICS), SESSIONS)
#: Columns of silver that stand in the event as they are; texts before their repair.
COMMON = "epoch_ms(event_ts) AS ts, session_id, item_in_session AS item, user_id, city, state"
OWN = {
    "listen_events": "coalesce(artist_original, artist), coalesce(song_original, song), level",
    "page_view_events": "page, coalesce(artist_original, artist), coalesce(song_original, song), level",
    "auth_events": "level",
    "status_change_events": "old_level AS level",
}
#: The same of the events as they were told.
TOLD = {
    "listen_events": "artist, song, level",
    "page_view_events": "page, artist, song, level",
    "auth_events": "level",
    "status_change_events": "level",
}
#: How long one answer of Spark may take: it has one core and a heap of 1 GB.
SPARK_SECONDS = 300.0


def live_files(environment: Mapping[str, str], table: str, copies: Path) -> str:
    """Returns the live files of a table as a DuckDB relation; those on S3 are copied to the disk first."""
    loaded = open_catalog(dict(environment)).load_table(f"streamify.{table}")
    folder = copies / table
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, task in enumerate(loaded.scan().plan_files()):
        path = task.file.file_path
        if path.startswith("s3"):
            copy = folder / f"{number}.parquet"
            copy.write_bytes(loaded.io.new_input(path).open().read())
            path = str(copy)
        paths.append(f"'{path.removeprefix('file://')}'")
    return f"read_parquet([{', '.join(paths)}], hive_partitioning=false)"


def held_against_the_truth(
    name: str, environment: Mapping[str, str], truth: duckdb.DuckDBPyConnection, topics: Mapping[str, Any], copies: Path
) -> Iterator[Claim]:
    """Compares every row; `truth` has the tables of `session_law`, `topics` the generator's counts."""
    for topic in TOPICS:
        silver = live_files(environment, f"silver_{topic}", copies)
        found = truth.execute(f"SELECT count(*), count(DISTINCT event_id) FROM {silver}").fetchone()
        distinct = topics[topic]["distinct"]
        yield equal(f"{name}: {topic}: rows, event ids", found, (distinct, distinct))
        expected = f"SELECT ts, session_id, item, user_id, city, state, {TOLD[topic]} FROM events WHERE topic = '{topic}'"
        differing = session_law.differences(truth, expected, f"SELECT {COMMON}, {OWN[topic]} FROM {silver}")
        yield equal(f"{name}: {topic}: rows unlike the truth", differing, 0)
    sessions = f"SELECT {session_law.TABLE_COLUMNS} FROM {live_files(environment, SESSIONS, copies)}"
    [count] = truth.execute("SELECT count(*) FROM true_sessions").fetchone() or [0]
    differing = session_law.differences(truth, "SELECT * FROM true_sessions", sessions)
    yield equal(f"{name}: sessions unlike the truth, of {count:,}", differing, 0)


def read_alike(name: str, environment: Mapping[str, str], with_spark: bool) -> Iterator[Claim]:
    """Compares counts and checksums of all columns of all tables, on a REST catalog."""
    catalog = open_catalog(dict(environment))
    tables = [catalog.load_table(f"streamify.{table}") for table in TABLES]
    with connect_duckdb(dict(environment)) as connection:
        readers = [
            ("PyIceberg", [by_pyiceberg_in_bulk(connection, table) for table in tables]),
            ("DuckDB", [by_duckdb(connection, table) for table in tables]),
        ]
    if with_spark:
        with Spark(environment) as spark:
            readers.append(("Spark", [by_spark(spark, table, SPARK_SECONDS) for table in tables]))
    for (one, by_one), (other, by_other) in itertools.pairwise(readers):
        for table, left, right in zip(TABLES, by_one, by_other, strict=True):
            unlike = [column for column in left if left[column] != right[column]]
            text = f"{name}: {table}: checksums unlike, {one} and {other}, of {len(left)} over {left['rows']:,} rows"
            yield equal(text, ", ".join(unlike) or "none", "none")
