"""PyIceberg and Spark as rivals: what they commit between our read and our commit, between our runs, and the other way round.

The gateway holds the commit of one side until the other side's has landed, so that each test has the order it names. Rows are
told by their session id; at the end of each test every one that should be there is there, as often as it should.
"""

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pytest
from pyiceberg.table import Table

from dagster_project.lib.paths import find_binary
from tests.integration.conftest import SECONDS, TABLE, TOPIC, Pipeline, drop_tables, event, send
from tests.integration.engines import in_spark
from tools.prove.tables import open_catalog
from tools.stack import Stack
from tools.stack.spark import Spark, SparkError

pytestmark = pytest.mark.integration

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
    #: session ids that bronze should hold
    expected: Counter[int] = field(default_factory=Counter)

    def send(self, count: int) -> None:
        """Produces further events, each a session of its own."""
        numbers = range(self.next_event, self.next_event + count)
        send(self.pipeline.producer(), [event(number) for number in numbers])
        self.next_event += count
        self.expected.update(numbers)

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
        column = "sessionId" if name == TABLE else "session_id"
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


@pytest.fixture
def lake(pipeline: Pipeline, lakehouse: Stack, spark: Spark, tmp_path: Path) -> Iterator[Lake]:
    """An empty topic and an empty namespace."""
    pipeline.create_topic()
    pipeline.environment |= lakehouse.environment()
    yield Lake(pipeline, lakehouse, spark, tmp_path)
    lakehouse.gateway.control("DELETE", "faults")
    drop_tables(lakehouse)


def copy_of(table: Table, session: int, as_session: int) -> pa.Table:
    """The row of a session, as that of another one."""
    name = "sessionId" if table.name()[-1] == TABLE else "session_id"
    row = table.scan(row_filter=f"{name} = {session}").to_arrow().slice(0, 1)
    index = row.schema.get_field_index(name)
    return row.set_column(index, row.schema.field(index), pa.array([as_session], row.schema.field(index).type))


def pyiceberg_append(lake: Lake, session: int) -> None:
    table = lake.table()
    table.append(copy_of(table, session, session + 1000))
    lake.expected[session + 1000] += 1


def pyiceberg_overwrite(lake: Lake, session: int) -> None:
    table = lake.table()
    table.overwrite(copy_of(table, session, session + 1000), overwrite_filter=f"sessionId = {session}")
    lake.expected[session + 1000] += lake.expected.pop(session)


def pyiceberg_delete(lake: Lake, session: int) -> None:
    lake.table().delete(f"sessionId = {session}")
    del lake.expected[session]


def spark_insert(lake: Lake, session: int) -> None:
    table = lake.table()
    columns = [f"{session + 1000}L AS sessionId" if name == "sessionId" else name for name in table.schema().column_names]
    lake.spark.sql(
        f"INSERT INTO {in_spark(table)} SELECT {', '.join(columns)} FROM {in_spark(table)} WHERE sessionId = {session}"
    )
    lake.expected[session + 1000] += 1


def spark_delete(lake: Lake, session: int) -> None:
    lake.spark.sql(f"DELETE FROM {in_spark(lake.table())} WHERE sessionId = {session}")
    del lake.expected[session]


def spark_delete_by_file(lake: Lake, session: int) -> None:
    """Deletes merge-on-read: the row stays in its file, a delete file names it."""
    table = in_spark(lake.table())
    lake.spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('write.delete.mode' = 'merge-on-read')")
    spark_delete(lake, session)
    assert lake.spark.value(f"SELECT count(*) FROM {table}.delete_files") == 1


def spark_merge(lake: Lake, session: int) -> None:
    lake.spark.sql(
        f"MERGE INTO {in_spark(lake.table())} t USING (SELECT {session}L AS id) s ON t.sessionId = s.id "
        f"WHEN MATCHED THEN UPDATE SET sessionId = {session + 1000}L"
    )
    lake.expected[session + 1000] += lake.expected.pop(session)


def spark_rewrite(lake: Lake, session: int) -> None:
    [answer] = lake.call("rewrite_data_files", options="map('rewrite-all', 'true')")
    assert answer["rewritten_data_files_count"], answer


def spark_manifests(lake: Lake, session: int) -> None:
    lake.call("rewrite_manifests", use_caching="false")


def spark_expiry(lake: Lake, session: int) -> None:
    expire(lake)


def expire(lake: Lake, name: str = TABLE) -> None:
    """Spark expires everything but the head of a table."""
    lake.call("expire_snapshots", name, older_than="TIMESTAMP '2100-01-01 00:00:00'", retain_last="1")
    assert len(lake.table(name).snapshots()) == 1


Rival = Callable[[Lake, int], None]
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


@pytest.mark.parametrize("rivals", [BY_PYICEBERG, BY_SPARK], ids=["PyIceberg", "Spark"])
def test_the_stream_goes_on_whatever_landed_first(lake: Lake, rivals: list[Rival]) -> None:
    lake.land(10)
    for number, rival in enumerate(rivals):
        conflicts = lake.counter("status.commit.409") + lake.counter("status.commit.400")
        lake.send(2)

        done = lake.between(lake.stream, lambda act=rival, session=number: act(lake, session))  # type: ignore[misc]

        assert done.code == 0, f"{rival.__name__}: {done.log}"
        assert lake.rows() == lake.expected, rival.__name__
        met = lake.counter("status.commit.409") + lake.counter("status.commit.400") - conflicts
        # An expiry leaves the head where it is.
        assert (met > 0) is (rival is not spark_expiry), rival.__name__


@pytest.mark.parametrize(
    ("rival", "lands"),
    [
        (pyiceberg_append, True),
        (pyiceberg_delete, False),
        (spark_insert, True),
        (spark_delete, False),
        (spark_delete_by_file, False),
        (spark_rewrite, False),
        (spark_manifests, True),
        (spark_expiry, True),
    ],
)
def test_a_compaction_lands_unless_its_files_are_gone(lake: Lake, rival: Rival, lands: bool) -> None:
    lake.land(3)
    pyiceberg_append(lake, 0)
    pyiceberg_append(lake, 1)

    done = lake.between(lake.compact, lambda: rival(lake, 2))

    assert done.code == 0, done.log
    assert (done.report["partitions"], done.report["partitions_left"]) == (int(lands), int(not lands))
    assert lake.rows() == lake.expected
    lake.land(1)
    assert lake.rows() == lake.expected


def test_silver_begins_anew_only_if_its_rows_changed(lake: Lake) -> None:
    lake.land(5)
    assert lake.silver().code == 0
    lake.land(5)

    def rewritten() -> None:
        [answer] = lake.call("rewrite_data_files", SILVER, options="map('rewrite-all', 'true')")
        assert answer["rewritten_data_files_count"] == 1

    beside_rewrite = lake.between(lake.silver, rewritten, SILVER)

    assert (beside_rewrite.code, beside_rewrite.report["restarts"]) == (0, 0), beside_rewrite.log
    assert lake.rows(SILVER) == lake.expected
    lake.land(5)
    silver = lake.table(SILVER)
    beside_append = lake.between(lake.silver, lambda: silver.append(copy_of(silver, 1, 1001)), SILVER)

    assert (beside_append.code, beside_append.report["restarts"]) == (0, 1), beside_append.log
    assert lake.rows(SILVER) == lake.expected + Counter([1001])
    [day] = {str(day) for day in lake.table(SILVER).scan(selected_fields=("event_date",)).to_arrow()["event_date"].to_pylist()}
    rebuilt = lake.between(lambda: lake.batch("rebuild", "--days", day, "--tables", SILVER), rewritten_all(lake), SILVER)

    assert (rebuilt.code, rebuilt.report["restarts"]) == (0, 1), rebuilt.log
    assert lake.rows(SILVER) == lake.expected


def rewritten_all(lake: Lake) -> Callable[[], object]:
    return lambda: lake.call("rewrite_data_files", SILVER, options="map('rewrite-all', 'true')")


def test_between_two_runs_silver_passes_over_compactions_and_expiries_and_asks_about_changes(lake: Lake) -> None:
    lake.land(4)
    lake.land(4)
    assert lake.silver().report["rows_out"] == 8
    spark_rewrite(lake, 0)
    lake.land(2)

    after_compaction = lake.silver()

    assert (after_compaction.code, after_compaction.report["rows_in"]) == (0, 2), after_compaction.log
    lake.land(3)
    expire(lake)

    after_expiry = lake.silver()

    assert (after_expiry.code, after_expiry.report["rows_out"]) == (0, 3), after_expiry.log
    assert lake.rows(SILVER) == lake.expected
    events = Counter(lake.expected)
    spark_delete(lake, 5)
    foreign = lake.table().current_snapshot()
    assert foreign is not None
    lake.land(2)
    events.update([13, 14])

    refused = lake.silver()

    assert refused.code == 3
    assert f"another engine changed rows of table `{TABLE}`: snapshot {foreign.snapshot_id} (overwrite)" in refused.log
    assert "--accept-change SNAPSHOT" in refused.log
    assert lake.rows(SILVER) == events - Counter([13, 14])
    accepted = lake.silver("--accept-change", foreign.snapshot_id)

    assert (accepted.code, accepted.report["rows_out"]) == (0, 2), accepted.log
    assert lake.rows(SILVER) == events
    assert lake.rows() == lake.expected
    assert lake.silver().report["rows_in"] == 0


def test_sessions_pass_over_compactions_of_silver_and_ask_about_changes_and_expiry(lake: Lake) -> None:
    def up_to_date() -> Done:
        lake.land(3)
        assert lake.silver().code == 0
        return lake.batch("sessions")

    assert up_to_date().code == 0
    lake.call("rewrite_data_files", SILVER, options="map('rewrite-all', 'true')")

    after_compaction = up_to_date()

    assert (after_compaction.code, after_compaction.report["rows_in"]) == (0, {SILVER: 3}), after_compaction.log
    assert lake.sessions() == lake.expected
    lake.spark.sql(f"UPDATE {in_spark(lake.table(SILVER))} SET city = 'Elsewhere' WHERE session_id = 1")
    foreign = lake.table(SILVER).current_snapshot()
    assert foreign is not None

    refused = up_to_date()

    assert refused.code == 3
    assert f"another engine changed rows of table `{SILVER}`: snapshot {foreign.snapshot_id}" in refused.log
    accepted = lake.batch("sessions", "--accept-change", foreign.snapshot_id)
    assert accepted.code == 0, accepted.log
    assert lake.sessions() == lake.expected
    lake.land(1)
    assert lake.silver().code == 0
    expire(lake, SILVER)

    expired = lake.batch("sessions")

    assert expired.code == 3
    assert f"of table `{SILVER}`, which was read last, has expired" in expired.log
    anew = lake.batch("sessions", "--full")
    assert anew.code == 0, anew.log
    assert lake.sessions() == lake.expected


def test_rivals_that_lose_the_race_to_us_retry_or_say_so(lake: Lake) -> None:
    lake.land(4)
    lake.land(4)
    for number, rival in enumerate([spark_rewrite, spark_insert, spark_delete, pyiceberg_append, pyiceberg_delete]):
        lake.between(lambda act=rival, session=number: act(lake, session), lambda: lake.land(2))  # type: ignore[misc]

        assert lake.rows() == lake.expected, rival.__name__
    lake.land(1)
    with pytest.raises(SparkError, match="conflicted with another concurrent Iceberg operation"):
        lake.between(lambda: spark_rewrite(lake, 0), lambda: compacted(lake))

    assert lake.rows() == lake.expected


def compacted(lake: Lake) -> None:
    done = lake.compact()
    assert (done.code, done.report["partitions"]) == (0, 1), done.log
