"""Bronze tables that another pipeline filled: refused, then taken over in each of the three ways, with every row counted."""

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import load_catalog
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import DayTransform, IdentityTransform
from pyiceberg.types import (
    DateType,
    DoubleType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestampType,
    TimestamptzType,
)

from tests.integration.conftest import TABLE, Pipeline, event, send

pytestmark = pytest.mark.integration

PAYLOAD: dict[str, IcebergType] = {
    "ts": LongType(),
    "sessionId": IntegerType(),
    "auth": StringType(),
    "level": StringType(),
    "itemInSession": IntegerType(),
    "city": StringType(),
    "zip": StringType(),
    "state": StringType(),
    "userAgent": StringType(),
    "lon": DoubleType(),
    "lat": DoubleType(),
    "userId": LongType(),
    "lastName": StringType(),
    "firstName": StringType(),
    "gender": StringType(),
    "registration": LongType(),
}
DERIVED: dict[str, IcebergType] = {"event_id": StringType(), "event_ts": TimestamptzType(), "event_date": DateType()}
COORDINATES: dict[str, IcebergType] = {
    "_kafka_partition": IntegerType(),
    "_kafka_offset": LongType(),
    "_kafka_timestamp": TimestamptzType(),
    "_processing_time": TimestamptzType(),
}
IDENTITY, DAY, NONE = "identity(event_date)", "days(event_ts)", "unpartitioned"


@dataclass
class Older:
    """A table as an older pipeline makes it, with another engine's writer."""

    table: Table

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Appends rows in one commit; they are of one day where the partitions are days of a timestamp."""
        made = pa.Table.from_pylist(list(rows), schema=self.table.schema().as_arrow())
        if not any(isinstance(one.transform, DayTransform) for one in self.table.spec().fields):
            self.table.append(made)
            return
        # The library computes days for whole files only; these have no field ids then.
        path = Path(urlparse(self.table.location()).path) / "data" / f"{uuid.uuid4()}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        plain = pa.schema([field.remove_metadata() for field in made.schema])
        pq.write_table(made.cast(plain), path)
        self.table.add_files([f"file://{path}"])


def older_table(
    pipeline: Pipeline,
    columns: dict[str, IcebergType],
    partitioning: str = IDENTITY,
    version: int = 2,
    required: Sequence[str] = (),
) -> Older:
    """Creates the table in the pipeline's catalog."""
    catalog = load_catalog(
        "lakehouse", type="sql", uri=f"sqlite:///{pipeline.home}/catalog.db", warehouse=f"file://{pipeline.home}/warehouse"
    )
    catalog.create_namespace_if_not_exists("streamify")
    fields = [
        NestedField(number, name, kind, required=name in required) for number, (name, kind) in enumerate(columns.items(), 1)
    ]
    schema = Schema(*fields)
    spec = {
        IDENTITY: lambda: PartitionSpec(
            PartitionField(schema.find_field("event_date").field_id, 1000, IdentityTransform(), "event_date")
        ),
        DAY: lambda: PartitionSpec(PartitionField(schema.find_field("event_ts").field_id, 1000, DayTransform(), "event_ts_day")),
        NONE: lambda: UNPARTITIONED_PARTITION_SPEC,
    }[partitioning]()
    properties = {"format-version": str(version)}
    return Older(catalog.create_table(f"streamify.{TABLE}", schema, partition_spec=spec, properties=properties))


def row(number: int, partition: int | None = None, offset: int | None = None) -> dict[str, Any]:
    """The row that the older pipeline makes of `event(number)`."""
    made = event(number)
    text = f"{made['userId']}_{made['sessionId']}_{made['ts']}"
    time = datetime.fromtimestamp(int(str(made["ts"])) / 1000, UTC)
    made |= {"event_id": hashlib.sha256(text.encode()).hexdigest(), "event_ts": time, "event_date": time.date()}
    if partition is not None:
        made |= {"_kafka_partition": partition, "_kafka_offset": offset, "_kafka_timestamp": time, "_processing_time": time}
    return made


def fill_topic(pipeline: Pipeline, partitions: int = 3, each: int = 10) -> None:
    """Event `100 * p + o` stands at offset `o` of partition `p`."""
    pipeline.create_topic(partitions)
    for partition in range(partitions):
        send(pipeline.producer(), [event(100 * partition + offset) for offset in range(each)], partition)


EVERYTHING = [100 * partition + offset for partition in range(3) for offset in range(10)]


def stored(counts: dict[int, int]) -> list[dict[str, Any]]:
    """The rows of the first `counts[p]` offsets of each partition, interleaved as a shuffle leaves them."""
    made = [row(100 * partition + offset, partition, offset) for partition, count in counts.items() for offset in range(count)]
    return sorted(made, key=lambda one: (one["_kafka_offset"], one["_kafka_partition"]))


def adoption(pipeline: Pipeline) -> dict[str, Any]:
    """What the adopting commit tells of itself."""
    summaries = [one.summary.additional_properties for one in pipeline.table().metadata.snapshots if one.summary]
    [told] = [summary["streamify.adoption"] for summary in summaries if "streamify.adoption" in summary]
    found: dict[str, Any] = json.loads(told)
    return found


def test_a_foreign_table_is_refused_and_left_as_it_is(pipeline: Pipeline) -> None:
    fill_topic(pipeline)
    older_table(pipeline, PAYLOAD | DERIVED | COORDINATES).write(stored({0: 4, 1: 2}))
    before = pipeline.table().metadata_location

    code, log = pipeline.run()

    assert code == 3, log
    assert "6 rows in 1 snapshots" in log
    assert "`_source_epoch`, `_run_id`, `_extras`" in log
    for way in ("from-offset-columns", "earliest", "latest"):
        assert f"--adopt-table {way}" in log
    assert pipeline.table().metadata_location == before, "a refused table was changed"


@pytest.mark.parametrize("partitioning", [IDENTITY, DAY, NONE])
def test_from_offset_columns_loses_and_doubles_nothing(pipeline: Pipeline, partitioning: str) -> None:
    fill_topic(pipeline)
    older = older_table(pipeline, PAYLOAD | DERIVED | COORDINATES, partitioning)
    older.write(stored({0: 7, 1: 3}))
    older.write([row(7, 0, 7), row(103, 1, 3)])

    code, log = pipeline.run("--adopt-table", "from-offset-columns")

    assert code == 0, log
    assert pipeline.sessions() == EVERYTHING
    assert adoption(pipeline)["next"] == {"0": 8, "1": 4}
    rows = pipeline.table().scan().to_arrow().to_pylist()
    places = sorted((one["_kafka_partition"], one["_kafka_offset"]) for one in rows)
    assert places == [(partition, offset) for partition in range(3) for offset in range(10)]
    assert sorted({len(one["event_id"]) for one in rows if one["_source_epoch"] is None}) == [64], "old rows keep their id"
    assert sum(one["_source_epoch"] is None for one in rows) == 12
    assert {len(one["event_id"]) for one in rows if one["_source_epoch"] == 0} == {32}
    send(pipeline.producer(), [event(500)], 1)
    assert pipeline.run("--adopt-table", "from-offset-columns")[0] == 0, "the permission changes nothing for a table of ours"
    assert pipeline.sessions() == [*EVERYTHING, 500]


def test_files_without_statistics_are_read(pipeline: Pipeline) -> None:
    fill_topic(pipeline)
    older = older_table(pipeline, PAYLOAD | DERIVED | COORDINATES)
    with older.table.transaction() as change:
        change.set_properties({"write.metadata.metrics.default": "none"})
    older.write(stored({0: 7, 1: 3, 2: 10}))
    bounds = older.table.inspect.files()["upper_bounds"].to_pylist()
    assert not any(bounds), "the writer kept statistics"

    code, log = pipeline.run("--adopt-table", "from-offset-columns")

    assert code == 0, log
    assert pipeline.sessions() == EVERYTHING
    assert adoption(pipeline)["next"] == {"0": 7, "1": 3, "2": 10}


def test_earliest_reads_the_whole_topic_again(pipeline: Pipeline) -> None:
    fill_topic(pipeline)
    older_table(pipeline, PAYLOAD | DERIVED).write([row(1), row(2)])

    code, log = pipeline.run("--adopt-table", "earliest")

    assert code == 0, log
    assert pipeline.sessions() == sorted([*EVERYTHING, 1, 2]), "silver drops what is there twice"
    assert adoption(pipeline) == {"from": "earliest", "at_ms": adoption(pipeline)["at_ms"], "next": {}}


def test_latest_takes_only_what_comes_afterwards(pipeline: Pipeline) -> None:
    fill_topic(pipeline)
    older_table(pipeline, PAYLOAD | DERIVED).write([row(1), row(2)])

    code, log = pipeline.run("--adopt-table", "latest")

    assert code == 0, log
    assert pipeline.sessions() == [1, 2]
    send(pipeline.producer(), [event(500)], 2)
    assert pipeline.run()[0] == 0
    assert pipeline.sessions() == [1, 2, 500]


def test_workers_that_share_the_partitions_find_one_adoption(pipeline: Pipeline) -> None:
    fill_topic(pipeline)
    older_table(pipeline, PAYLOAD | DERIVED | COORDINATES).write(stored({0: 7, 1: 3}))
    command = ("--until", "caught-up", "--adopt-table", "from-offset-columns", "--partitions")

    workers = [pipeline.worker(*command, partition) for partition in ("0", "1,2")]
    logs = [worker.communicate(timeout=60)[1] for worker in workers]

    assert [worker.returncode for worker in workers] == [0, 0], logs
    assert pipeline.sessions() == EVERYTHING
    assert adoption(pipeline)["next"] == {"0": 7, "1": 3}


@pytest.mark.parametrize(
    ("counts", "told"),
    [({0: 7, 3: 1}, "has 3 partitions"), ({0: 7, 1: 11}, "ends at 10")],
    ids=["a partition too many", "an offset too large"],
)
def test_offsets_that_the_topic_has_not_are_refused(pipeline: Pipeline, counts: dict[int, int], told: str) -> None:
    fill_topic(pipeline)
    older_table(pipeline, PAYLOAD | DERIVED | COORDINATES).write(stored(counts))

    code, log = pipeline.run("--adopt-table", "from-offset-columns")

    assert code == 3, log
    assert told in log


def test_a_table_without_offset_columns_cannot_be_adopted_from_them(pipeline: Pipeline) -> None:
    fill_topic(pipeline)
    older_table(pipeline, PAYLOAD | DERIVED).write([row(1)])

    code, log = pipeline.run("--adopt-table", "from-offset-columns")

    assert code == 3, log
    assert "_kafka_partition" in log


def test_timestamps_without_zone_are_refused_with_both_types(pipeline: Pipeline) -> None:
    fill_topic(pipeline)
    older_table(pipeline, PAYLOAD | DERIVED | {"event_ts": TimestampType()}).write(
        [row(1) | {"event_ts": datetime(2026, 9, 21, tzinfo=UTC).replace(tzinfo=None)}]
    )

    code, log = pipeline.run("--adopt-table", "earliest")

    assert code == 3, log
    assert "column `event_ts`" in log
    assert "is of type timestamp, but timestamptz is wanted" in log
    assert "without zone" in log


def test_a_required_column_that_only_the_table_has_is_refused(pipeline: Pipeline) -> None:
    fill_topic(pipeline)
    older = older_table(pipeline, PAYLOAD | DERIVED | {"country": StringType()}, required=["country"])
    older.write([row(1) | {"country": "US"}])

    code, log = pipeline.run("--adopt-table", "earliest")

    assert code == 3, log
    assert "`country` is required" in log


def test_format_version_1_is_refused(pipeline: Pipeline) -> None:
    fill_topic(pipeline)
    older_table(pipeline, PAYLOAD | DERIVED, version=1).write([row(1)])

    code, log = pipeline.run("--adopt-table", "earliest")

    assert code == 3, log
    assert "format v1" in log
