"""Spark 4 does the jobs' work, for comparison on the same tables and in the same minutes.

Each step is a session of its own with two cores and 4 GB, as a scheduled job would be, and its CPU is that of all its
processes from the start to the last row. Spark does less than our jobs: its silver is the columns of bronze without repaired
texts and parsed user agents, its sessions are times and counts without lists of songs, and it keeps no state of what it has read.
"""

import itertools
import json
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from bench.batch import BATCH_ROWS, LISTENS, ROUND_DAYS, START_MS, Lake
from bench.process import cpu_with_children
from tools.prove.claims import Claim, at_least, equal
from tools.stack import Stack, StackOptions
from tools.stack.spark import CATALOG, LARGE, Spark

#: The gap that ends a session, in milliseconds.
GAP_MS = 1_800_000
STEP_SECONDS = 1_200.0
WRITTEN = """TBLPROPERTIES ('format-version' = '2', 'write.parquet.compression-codec' = 'zstd',
    'write.distribution-mode' = 'none', 'write.spark.fanout.enabled' = 'true', 'write.merge.distribution-mode' = 'none')"""
#: The first delivery of each event, and those that silver has not.
MERGE = """MERGE INTO {silver} t USING (
        SELECT * EXCEPT (number) FROM (
            SELECT *, row_number() OVER (
                PARTITION BY event_id ORDER BY _kafka_timestamp, _kafka_partition, _kafka_offset) AS number
            FROM {bronze} WHERE _kafka_offset >= {offset})
        WHERE number = 1) s
    ON t.event_id = s.event_id AND t.event_ts = s.event_ts
    WHEN NOT MATCHED THEN INSERT *"""
SESSIONS = f"""CREATE TABLE {{sessions}} USING iceberg {WRITTEN} AS
    SELECT userId, min(ts) AS start_ms, max(ts) AS end_ms, count(*) AS events,
        sha2(concat_ws('_', userId, min(ts)), 256) AS session_id
    FROM (
        SELECT *, sum(coalesce(is_new, 1)) OVER (PARTITION BY userId ORDER BY ts ROWS UNBOUNDED PRECEDING) AS number
        FROM (
            SELECT userId, ts, CAST(ts - lag(ts) OVER (PARTITION BY userId ORDER BY ts) > {GAP_MS} AS INT) AS is_new
            FROM {{silver}} WHERE userId IS NOT NULL))
    GROUP BY userId, number"""


#: "A tenth of what it costs now": so many times our CPU-seconds Spark takes at least for all jobs together.
TENTH = 10.0
#: And for each of them: Spark's sessions are less work than ours, and one run of either varies by a fifth.
EACH = 5.0


def beside(data: Path, work: Path) -> Iterator[Claim]:
    """Our jobs and Spark's in turns on the same bronze; claims how many times our CPU-seconds Spark takes."""
    truth = json.loads((data / "truth.json").read_text(encoding="utf-8"))
    distinct, sessions = truth["topics"][LISTENS]["distinct"], truth["listens_only"]["sessions"]
    head = work / "head.kv"
    with (data / f"{LISTENS}.kv").open("rb") as source:
        head.write_bytes(b"".join(itertools.islice(source, BATCH_ROWS)))
    silver = ("silver", "--tables", f"silver_{LISTENS}")
    # By job: Spark's CPU-seconds and ours.
    costs: dict[str, tuple[float, float]] = {}
    with Stack(work / "stack-spark", StackOptions(only=("gateway",))) as stack:
        lake = Lake(stack.environment() | {"STREAMIFY_HOME": str(work)}, work)
        peer = SparkPeer(lake.environment, LISTENS)
        offset = lake.fill(data / f"{LISTENS}.kv")
        costs["silver"] = peer.silver(), lake.job(*silver)[0].cpu
        costs["sessions"] = peer.sessions(), lake.job("sessions")[0].cpu
        yield equal("beside Spark: sessions of Spark", lake.rows("spark_sessions"), sessions)
        lake.fill(head, offset=offset)
        costs[f"{BATCH_ROWS:,} known rows again"] = peer.again(offset), lake.job(*silver)[0].cpu
        for table in ("spark_silver", f"silver_{LISTENS}"):
            yield equal(f"beside Spark: rows of {table}", lake.rows(table), distinct)
        # Rows can be compacted once, so Spark has the same ones on later days.
        ours = lake.job("compact", "--tables", f"bronze_{LISTENS}", "--min-files", "2")[0].cpu
        lake.fill(data / f"{LISTENS}.kv", shift_days=ROUND_DAYS, offset=offset + BATCH_ROWS)
        later = datetime.fromtimestamp(START_MS / 1_000, UTC) + timedelta(days=ROUND_DAYS)
        costs["compaction, sorted"] = peer.compact(from_day=later.date() - timedelta(days=1)), ours
    shutil.rmtree(work / "stack-spark")
    for job, (spark, own) in costs.items():
        yield at_least(f"beside Spark: {job}: its CPU-s to ours", spark / own, EACH, f" x {own:.2f} s")
    spark, own = (sum(cost) for cost in zip(*costs.values(), strict=True))
    yield at_least("beside Spark: all of these: its CPU-s to ours", spark / own, TENTH, f" x {own:.2f} s")


class SparkPeer:
    """Does the jobs' work on one topic's bronze; every step returns its CPU-seconds."""

    def __init__(self, environment: Mapping[str, str], topic: str) -> None:
        """Names the tables: Spark's own silver and sessions stand beside ours."""
        self._environment = environment
        self._bronze = f"{CATALOG}.streamify.bronze_{topic}"
        self._silver = f"{CATALOG}.streamify.spark_silver"
        self._sessions = f"{CATALOG}.streamify.spark_sessions"

    def silver(self) -> float:
        """Merges all of bronze into an empty silver."""
        partitioned = f"USING iceberg PARTITIONED BY (days(event_ts)) {WRITTEN}"
        empty = f"CREATE TABLE {self._silver} {partitioned} AS SELECT * FROM {self._bronze} LIMIT 0"
        return self._run(empty, self._merge(0))

    def again(self, offset: int) -> float:
        """Merges what bronze has from an offset on."""
        return self._run(self._merge(offset))

    def sessions(self) -> float:
        """Makes the sessions of all of silver."""
        return self._run(SESSIONS.format(sessions=self._sessions, silver=self._silver))

    def compact(self, from_day: date) -> float:
        """Rewrites the days of bronze from a day on, sorted by user and time."""
        table = self._bronze.removeprefix(f"{CATALOG}.")
        return self._run(
            f"CALL {CATALOG}.system.rewrite_data_files(table => '{table}', strategy => 'sort', "
            f"where => \"event_date >= DATE '{from_day}'\", "
            "sort_order => 'userId ASC NULLS FIRST, ts ASC NULLS FIRST', options => map('rewrite-all', 'true'))"
        )

    def _merge(self, offset: int) -> str:
        return MERGE.format(silver=self._silver, bronze=self._bronze, offset=offset)

    def _run(self, *statements: str) -> float:
        with Spark(self._environment, LARGE) as spark:
            for statement in statements:
                spark.sql(statement, STEP_SECONDS)
            return cpu_with_children(spark.pid)
