"""Every kind of table that is written here reads alike by PyIceberg, DuckDB and Spark: rows, checksums, metadata, lists.

Bronze in many small commits and compacted between them, silver and sessions made from it in two runs, a day of silver made
anew, and old snapshots expired: each kind of commit has had its turn before the engines look.
"""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from dagster_project.lib.paths import find_binary
from tests.integration.conftest import SECONDS, drop_tables
from tools.prove.engines import Checksums, by_duckdb, by_pyiceberg, by_spark, in_spark
from tools.prove.generator import START, TOPICS, clean_environment, generator
from tools.prove.tables import connect_duckdb, open_catalog
from tools.stack import Stack
from tools.stack.spark import Spark, SparkError

pytestmark = pytest.mark.integration

BRONZE = [f"bronze_{topic}" for topic in TOPICS]
SILVER = [f"silver_{topic}" for topic in TOPICS]
SESSIONS = "silver_user_sessions"
#: The day of silver that is made anew.
REBUILT = date(2026, 2, 24)


@dataclass(frozen=True)
class Lake:
    """The tables under test, and who reads them."""

    catalog: Catalog
    duckdb: duckdb.DuckDBPyConnection
    spark: Spark
    checksums: dict[str, dict[str, Checksums]] = field(default_factory=dict)

    def table(self, name: str) -> Table:
        return self.catalog.load_table(f"streamify.{name}")

    def read(self, name: str) -> dict[str, Checksums]:
        """What each engine finds in a table; read once."""
        if name not in self.checksums:
            table = self.table(name)
            self.checksums[name] = {
                "pyiceberg": by_pyiceberg(table),
                "duckdb": by_duckdb(self.duckdb, table),
                "spark": by_spark(self.spark, table),
            }
        return self.checksums[name]


def run(environment: dict[str, str], name: str, *arguments: object) -> None:
    """Runs one of our programs to its end."""
    command = [str(find_binary(name, os.environ)), *map(str, arguments)]
    done = subprocess.run(
        command, env=clean_environment() | environment, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.returncode == 0, f"{command}:\n{done.stderr}"


def halves(path: Path) -> list[tuple[Path, int, int]]:
    """Splits a file in two; each with the number of its first line and how many lines it has."""
    lines = path.read_bytes().splitlines(keepends=True)
    made = []
    for number, (begin, end) in enumerate([(0, len(lines) // 2), (len(lines) // 2, len(lines))]):
        part = path.with_name(f"{path.stem}.{number}.kv")
        part.write_bytes(b"".join(lines[begin:end]))
        made.append((part, begin, end - begin))
    return made


@pytest.fixture(scope="module")
def lake(lakehouse: Stack, spark: Spark, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """Tables that have met every kind of commit."""
    work = tmp_path_factory.mktemp("engines")
    asked = ("--seed", "3", "--users", "400", "--start", START, "--days", "3", "--out", str(work / "events"))
    made = generator("run", *asked, folder=work)
    assert made.code == 0, made.error
    environment = lakehouse.environment() | {"STREAMIFY_HOME": str(work / "home")}
    parts = {topic: halves(work / "events" / f"{topic}.jsonl") for topic in TOPICS}
    for half in range(2):
        for topic, files in parts.items():
            path, first, count = files[half]
            run(environment, "examples/fill_bronze", path, topic, max(count // 4, 1), 0, first)
        run(environment, "streamify-batch", "compact", "--min-files", 2, "--tables", "bronze_listen_events")
        run(environment, "streamify-batch", "silver")
        run(environment, "streamify-batch", "sessions")
    run(environment, "streamify-batch", "rebuild", "--days", REBUILT, "--tables", "silver_page_view_events")
    run(environment, "streamify-batch", "compact", "--min-files", 2, "--tables", "silver_listen_events")
    expiry = ("expire", "--older-than", "0s", "--keep", 2, "--tables", "bronze_page_view_events")
    run(environment, "streamify-batch", *expiry)
    connection = connect_duckdb(environment)
    yield Lake(open_catalog(environment), connection, spark)
    connection.close()
    drop_tables(lakehouse)


@pytest.mark.parametrize("name", [*BRONZE, *SILVER, SESSIONS])
def test_rows_and_checksums_of_all_columns_are_equal(lake: Lake, name: str) -> None:
    found = lake.read(name)

    assert found["pyiceberg"]["rows"] > 0
    assert found["spark"] == found["pyiceberg"]
    assert found["duckdb"] == found["pyiceberg"]


def test_each_kind_of_commit_has_had_its_turn(lake: Lake) -> None:
    operations = {
        name: [snapshot.summary.operation.value for snapshot in lake.table(name).snapshots() if snapshot.summary]
        for name in (
            "bronze_listen_events",
            "bronze_page_view_events",
            "silver_page_view_events",
            "silver_listen_events",
            SESSIONS,
        )
    }

    assert {"append", "replace"} == set(operations["bronze_listen_events"])
    assert len(operations["bronze_page_view_events"]) < 8, "old snapshots have expired"
    assert operations["silver_page_view_events"][-1] == "overwrite"
    assert operations["silver_listen_events"][-1] == "replace"
    assert operations[SESSIONS] == ["append", "overwrite"]


@pytest.mark.parametrize("topic", TOPICS)
def test_silver_has_each_event_of_bronze_once(lake: Lake, topic: str) -> None:
    bronze, silver = lake.table(f"bronze_{topic}"), in_spark(lake.table(f"silver_{topic}"))

    [counts] = lake.spark.sql(f"SELECT count(*) AS events, count(DISTINCT event_id) AS ids FROM {silver}")
    ids = lake.spark.value(f"SELECT count(DISTINCT event_id) FROM {in_spark(bronze)}")

    assert counts == {"events": ids, "ids": ids}


def test_the_lists_of_sessions_are_lists_to_everybody(lake: Lake) -> None:
    table = lake.table(SESSIONS)
    columns = "session_key, size(songs) AS songs, get(songs, 0) AS first_song, size(session_ids) AS producer_sessions"
    by_key = {row.pop("session_key"): row for row in lake.spark.sql(f"SELECT {columns} FROM {in_spark(table)}")}
    rows = table.scan(selected_fields=("session_key", "songs", "session_ids", "listen_count")).to_arrow().to_pylist()
    query = f"SELECT session_key, len(songs), songs[1] FROM iceberg_scan('{table.metadata_location}')"

    assert by_key == {
        row["session_key"]: {
            "songs": len(row["songs"]),
            "first_song": row["songs"][0] if row["songs"] else None,
            "producer_sessions": len(row["session_ids"]),
        }
        for row in rows
    }
    assert [row["listen_count"] for row in rows] == [len(row["songs"]) for row in rows]
    assert max(len(row["songs"]) for row in rows) > 1
    assert {key: (songs, first) for key, songs, first in lake.duckdb.execute(query).fetchall()} == {
        key: (row["songs"], row["first_song"]) for key, row in by_key.items()
    }


@pytest.mark.parametrize("name", ["bronze_listen_events", "silver_page_view_events", SESSIONS])
def test_metadata_tables_are_equal(lake: Lake, name: str) -> None:
    table = lake.table(name)
    files = {(row["file_path"], row["record_count"], row["file_size_in_bytes"]) for row in table.inspect.files().to_pylist()}
    snapshots = {(row["snapshot_id"], row["parent_id"], row["operation"]) for row in table.inspect.snapshots().to_pylist()}
    history = [row["snapshot_id"] for row in table.inspect.history().to_pylist()]

    assert files == rows_of(lake, table, "file_path, record_count, file_size_in_bytes", ".files")
    assert snapshots == rows_of(lake, table, "snapshot_id, parent_id, operation", ".snapshots")
    assert history == [
        row["snapshot_id"]
        for row in lake.spark.sql(f"SELECT snapshot_id FROM {in_spark(table, '.history')} ORDER BY made_current_at")
    ]
    assert sum(count for _, count, _ in files) == lake.read(name)["pyiceberg"]["rows"]


def rows_of(lake: Lake, table: Table, columns: str, suffix: str) -> set[tuple[object, ...]]:
    return {tuple(row.values()) for row in lake.spark.sql(f"SELECT {columns} FROM {in_spark(table, suffix)}")}


def test_bounds_and_partitions_prune_without_losing_rows(lake: Lake) -> None:
    table = lake.table("silver_listen_events")
    rows = table.scan().to_arrow().to_pylist()
    one = max(rows, key=lambda row: (row["song"], row["event_ts"]))
    cases = {
        f"event_date = DATE '{REBUILT}'": ("event_date", lambda value: value == REBUILT),
        f"user_id = {one['user_id']}": ("user_id", lambda value: value == one["user_id"]),
        "song >= '{}'".format(one["song"].replace("'", "''")): ("song", lambda value: value >= one["song"]),
        "event_ts >= TIMESTAMP '2026-02-25 12:00:00+00'": (
            "event_ts",
            lambda value: value >= datetime(2026, 2, 25, 12, tzinfo=UTC),
        ),
    }
    for condition, (column, holds) in cases.items():
        expected = sum(holds(row[column]) for row in rows)
        location = table.metadata_location
        by_duck = lake.duckdb.execute(f"SELECT count(*) FROM iceberg_scan('{location}') WHERE {condition}").fetchone()

        assert 0 < expected < len(rows), condition
        assert lake.spark.value(f"SELECT count(*) FROM {in_spark(table)} WHERE {condition}") == expected, condition
        assert by_duck == (expected,), condition


def test_an_earlier_snapshot_reads_alike(lake: Lake) -> None:
    table = lake.table("silver_page_view_events")
    first = table.snapshots()[0].snapshot_id

    by_pyiceberg = table.scan(snapshot_id=first).to_arrow().num_rows

    assert 0 < by_pyiceberg < lake.read("silver_page_view_events")["pyiceberg"]["rows"]
    assert lake.spark.value(f"SELECT count(*) FROM {in_spark(table)} VERSION AS OF {first}") == by_pyiceberg


def test_spark_names_what_it_refuses(spark: Spark) -> None:
    with pytest.raises(SparkError, match=r"TABLE_OR_VIEW_NOT_FOUND.*no_such_table"):
        spark.sql("SELECT * FROM lake.streamify.no_such_table")
