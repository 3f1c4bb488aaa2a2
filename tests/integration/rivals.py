"""What the tests of rivals work with: a topic with its tables, and what PyIceberg and Spark may do to them.

Rows are told by their session id. Each act notes in `Lake.expected` which rows the table should hold after it.
"""

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
from pyiceberg.table import Table

from dagster_project.lib.paths import find_binary
from tests.integration.conftest import SECONDS, TABLE, TOPIC, Pipeline, event, send
from tools.prove.engines import in_spark
from tools.prove.tables import open_catalog
from tools.stack import Stack
from tools.stack.spark import Spark

SILVER = f"silver_{TOPIC}"
SESSIONS = "silver_user_sessions"
#: Longest time that a commit is held; no test waits for it.
HOLD_SECONDS = 120
T = TypeVar("T")


@dataclass(frozen=True)
class Done:
    """A run of one of our programs that ended."""

    code: int
    log: str
    report: dict[str, object] = field(default_factory=dict)


@dataclass
class Lake:
    """A topic, the tables made from it, and who works on them."""

    pipeline: Pipeline
    stack: Stack
    spark: Spark
    home: Path
    #: number of the next event to be sent
    next_event: int = 0
    #: session ids that bronze and silver should hold
    expected: dict[str, Counter[int]] = field(default_factory=lambda: {TABLE: Counter(), SILVER: Counter()})

    def send(self, count: int) -> None:
        """Produces further events, each a session of its own."""
        numbers = range(self.next_event, self.next_event + count)
        send(self.pipeline.producer(), [event(number) for number in numbers])
        self.next_event += count
        self.expected[TABLE].update(numbers)

    def stream(self) -> Done:
        """Runs the stream worker until it has caught up."""
        return Done(*self.pipeline.run())

    def land(self, count: int) -> None:
        """Further events, in bronze by one commit."""
        self.send(count)
        done = self.stream()
        assert done.code == 0, done.log

    def batch(self, *arguments: object) -> Done:
        """Runs a job."""
        path = self.home / "report.json"
        program = find_binary("streamify-batch", os.environ)
        command = [str(program), *map(str, arguments), "--summary-json", str(path)]
        done = subprocess.run(
            command,
            env=os.environ | self.pipeline.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        tables = json.loads(path.read_text(encoding="utf-8"))["tables"]
        return Done(done.returncode, done.stderr, tables[0] if tables else {})

    def silver(self, *arguments: object) -> Done:
        """Brings silver up to date."""
        return self.batch("silver", "--tables", SILVER, *arguments)

    def compact(self) -> Done:
        """Joins the small files of bronze."""
        return self.batch("compact", "--tables", TABLE, "--min-files", 2)

    def table(self, name: str = TABLE) -> Table:
        return open_catalog(self.pipeline.environment).load_table(f"streamify.{name}")

    def rows(self, name: str = TABLE) -> Counter[int]:
        """How often each session id is in a table."""
        column = session_column(name)
        return Counter(self.table(name).scan(selected_fields=(column,)).to_arrow()[column].to_pylist())

    def sessions(self) -> Counter[int]:
        """How often each producer session is in the sessions."""
        lists = self.table(SESSIONS).scan(selected_fields=("session_ids",)).to_arrow()["session_ids"].to_pylist()
        return Counter(session for sessions in lists for session in sessions)

    def call(self, procedure: str, name: str = TABLE, **arguments: str) -> list[dict[str, object]]:
        """Calls one of Spark's procedures on a table."""
        given = [f"table => 'streamify.{name}'", *(f"{key} => {value}" for key, value in arguments.items())]
        return self.spark.sql(f"CALL lake.system.{procedure}({', '.join(given)})")

    def counter(self, name: str) -> int:
        return int(self.stack.gateway.control("GET", "counters")["counters"].get(name, 0))

    def between(self, slow: Callable[[], T], quick: Callable[[], object], name: str = TABLE) -> T:
        """Holds the commit of `slow` to a table, lets `quick` do its work, then lets the commit go on."""
        before = self.counter("fault.hold")
        self.stack.gateway.control("POST", "faults", kind="hold", table=name, seconds=HOLD_SECONDS)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(slow)
            try:
                deadline = time.monotonic() + SECONDS
                while self.counter("fault.hold") == before and not running.done():
                    assert time.monotonic() < deadline, "there was no commit to be held"
                    time.sleep(0.02)
                assert not running.done(), f"ended without a commit: {running.result()}"
                quick()
            finally:
                self.stack.gateway.control("DELETE", "faults")
            return running.result()


def session_column(name: str) -> str:
    """The column of a table that tells its rows apart."""
    return "sessionId" if name == TABLE else "session_id"


def copy_of(table: Table, session: int, as_session: int) -> pa.Table:
    """The row of a session, as that of another one."""
    name = session_column(table.name()[-1])
    row = table.scan(row_filter=f"{name} = {session}").to_arrow().slice(0, 1)
    index = row.schema.get_field_index(name)
    return row.set_column(index, row.schema.field(index), pa.array([as_session], row.schema.field(index).type))


def pyiceberg_append(lake: Lake, session: int, name: str = TABLE) -> None:
    table = lake.table(name)
    table.append(copy_of(table, session, session + 1000))
    lake.expected[name][session + 1000] += 1


def pyiceberg_overwrite(lake: Lake, session: int, name: str = TABLE) -> None:
    table = lake.table(name)
    table.overwrite(copy_of(table, session, session + 1000), overwrite_filter=f"{session_column(name)} = {session}")
    lake.expected[name][session + 1000] += lake.expected[name].pop(session)


def pyiceberg_delete(lake: Lake, session: int, name: str = TABLE) -> None:
    lake.table(name).delete(f"{session_column(name)} = {session}")
    del lake.expected[name][session]


def spark_insert(lake: Lake, session: int, name: str = TABLE) -> None:
    table, told = lake.table(name), session_column(name)
    columns = [f"{session + 1000}L AS {told}" if column == told else column for column in table.schema().column_names]
    query = f"SELECT {', '.join(columns)} FROM {in_spark(table)} WHERE {told} = {session}"
    lake.spark.sql(f"INSERT INTO {in_spark(table)} {query}")
    lake.expected[name][session + 1000] += 1


def spark_delete(lake: Lake, session: int, name: str = TABLE) -> None:
    lake.spark.sql(f"DELETE FROM {in_spark(lake.table(name))} WHERE {session_column(name)} = {session}")
    del lake.expected[name][session]


def spark_delete_by_file(lake: Lake, session: int, name: str = TABLE) -> None:
    """Deletes merge-on-read: the row stays in its file, a delete file names it."""
    table = in_spark(lake.table(name))
    lake.spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('write.delete.mode' = 'merge-on-read')")
    spark_delete(lake, session, name)
    assert lake.spark.value(f"SELECT count(*) FROM {table}.delete_files") == 1


def spark_merge(lake: Lake, session: int, name: str = TABLE) -> None:
    told = session_column(name)
    lake.spark.sql(
        f"MERGE INTO {in_spark(lake.table(name))} t USING (SELECT {session}L AS id) s ON t.{told} = s.id "
        f"WHEN MATCHED THEN UPDATE SET {told} = {session + 1000}L"
    )
    lake.expected[name][session + 1000] += lake.expected[name].pop(session)


def spark_rewrite(lake: Lake, session: int, name: str = TABLE) -> None:
    [answer] = lake.call("rewrite_data_files", name, options="map('rewrite-all', 'true')")
    assert answer["rewritten_data_files_count"], answer


def spark_manifests(lake: Lake, session: int, name: str = TABLE) -> None:
    lake.call("rewrite_manifests", name, use_caching="false")


def spark_expiry(lake: Lake, session: int, name: str = TABLE) -> None:
    expire(lake, name)


def expire(lake: Lake, name: str = TABLE) -> None:
    """Spark expires everything but the head of a table."""
    lake.call("expire_snapshots", name, older_than="TIMESTAMP '2100-01-01 00:00:00'", retain_last="1")
    assert len(lake.table(name).snapshots()) == 1


Rival = Callable[[Lake, int, str], None]
BY_PYICEBERG: list[Rival] = [pyiceberg_append, pyiceberg_overwrite, pyiceberg_delete]
BY_SPARK: list[Rival] = [
    spark_insert,
    spark_delete,
    spark_merge,
    spark_rewrite,
    spark_manifests,
    spark_expiry,
    spark_delete_by_file,
]
