"""From an event to the Kafka record, the commit and the run that brought it.

A row of bronze or silver names its record: topic-partition, offset, source epoch. The commit is the snapshot whose offset ranges
(`streamify.changes`) hold that offset; so it is found also after the row has moved to another file by compaction or a rewrite, as
long as the snapshot is kept.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
from pyiceberg.table import Table

from dagster_project.lib.commits import COMMIT_ID, RUN_ID, lineage, offset_ranges, text_of
from dagster_project.lib.contracts import Contract
from dagster_project.lib.lake import Environ, load_table
from dagster_project.lib.rows import Condition, open_rows

EVENT_ID = re.compile("[0-9a-f]{32}")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
RECORD_COLUMNS = ("_kafka_partition", "_kafka_offset", "_source_epoch", "_kafka_timestamp")
Cell = str | int | float | bool | None


class TraceError(LookupError):
    """An event cannot be traced; the message says why."""


@dataclass(frozen=True)
class Commit:
    """A commit to a bronze table.

    Attributes:
        snapshot_id: its snapshot.
        committed_at: when it landed, UTC.
        commit_id: our id of it; also in the footers of its data files.
        run_id: the Dagster run that made it; `None`: the always-on worker did.
    """

    snapshot_id: int
    committed_at: datetime
    commit_id: str | None
    run_id: str | None


@dataclass(frozen=True)
class Delivery:
    """A record of Kafka that delivered an event.

    Attributes:
        topic: Kafka topic.
        partition: topic-partition.
        offset: its offset there.
        epoch: source epoch: which incarnation of the topic.
        timestamp: Kafka's timestamp of it, UTC.
        table: the bronze table it went to.
        commit: the commit that covered its offset, if it is still kept.
        remark: what is to be said if it is not.
    """

    topic: str
    partition: int
    offset: int
    epoch: int
    timestamp: datetime | None
    table: str
    commit: Commit | None = None
    remark: str | None = None

    def as_record(self) -> dict[str, Cell]:
        """Returns the delivery and its commit as one flat row."""
        commit = self.commit
        return {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "epoch": self.epoch,
            "kafka_timestamp": self.timestamp.isoformat() if self.timestamp else None,
            "table": self.table,
            "snapshot_id": str(commit.snapshot_id) if commit else None,
            "committed_at": commit.committed_at.isoformat() if commit else None,
            "commit_id": commit.commit_id if commit else None,
            "dagster_run_id": commit.run_id if commit else None,
            "remark": self.remark,
        }


def trace_event(
    environ: Environ, contracts: Sequence[Contract], table: str, event_id: str, day: str | None = None
) -> Sequence[Delivery]:
    """Traces an event; in bronze it may have been delivered more than once, in silver the first delivery counts.

    Args:
        environ: where the lake is.
        contracts: all contracts.
        table: a bronze or silver table of a contract.
        event_id: 32 hex digits.
        day: UTC date of the event, such as `2026-02-23`: then only that day is read, else the whole table.

    Returns:
        The deliveries, at least one, by partition and offset.

    Raises:
        TraceError: no such table in the contracts, no such event, or it has no place in Kafka.
        TableMissingError: if there is no such table in the lake.
    """
    contract = _contract_of(contracts, table)
    if not EVENT_ID.fullmatch(event_id):
        raise TraceError(f"`{event_id}` is no event id: expected 32 hex digits, lower case")
    if day is not None and not DAY.fullmatch(day):
        raise TraceError(f"`{day}` is no day: expected e.g. `2026-02-23`")
    conditions: list[Condition] = [("event_id", "=", event_id)]
    if day is not None:
        conditions.append(("event_date", "=", day))
    rows = open_rows(environ, table, RECORD_COLUMNS, conditions).read_all().to_pylist()
    if not rows:
        where = f"on {day}" if day else "on any day"
        raise TraceError(f"table `{table}` has no event `{event_id}` {where}")
    placed = [row for row in rows if row["_kafka_offset"] is not None]
    if not placed:
        raise TraceError(f"event `{event_id}` was taken over from an older pipeline that did not keep its place in Kafka")
    bronze = load_table(environ, contract.table)
    found = [_delivery(contract, bronze, row) for row in placed]
    return sorted(found, key=lambda one: (one.epoch, one.partition, one.offset))


def trace_metadata(deliveries: Sequence[Delivery]) -> dict[str, dg.MetadataValue]:
    """Returns the deliveries as metadata: a table, and links to the runs."""
    metadata: dict[str, dg.MetadataValue] = {
        "deliveries": dg.MetadataValue.table([dg.TableRecord(one.as_record()) for one in deliveries])
    }
    runs = dict.fromkeys(one.commit.run_id for one in deliveries if one.commit and one.commit.run_id)
    for number, run_id in enumerate(runs, 1):
        metadata["dagster_run" if len(runs) == 1 else f"dagster_run_{number}"] = dg.MetadataValue.dagster_run(run_id)
    return metadata


def trace_text(delivery: Delivery) -> str:
    """Returns a delivery in words, one fact per line."""
    return "\n".join(f"{name}: {value}" for name, value in delivery.as_record().items() if value is not None)


def _contract_of(contracts: Sequence[Contract], table: str) -> Contract:
    by_table = {name: contract for contract in contracts for name in (contract.table, contract.silver.table)}
    if table not in by_table:
        raise TraceError(f"`{table}` is no table with single events; expected one of {', '.join(sorted(by_table))}")
    return by_table[table]


def _delivery(contract: Contract, bronze: Table, row: dict[str, object]) -> Delivery:
    partition, offset, epoch, timestamp = (row[name] for name in RECORD_COLUMNS)
    if not isinstance(partition, int) or not isinstance(offset, int):
        raise TraceError(f"table `{contract.table}` holds an offset that is no number: {offset!r}")
    epoch = epoch if isinstance(epoch, int) else 0
    commit, remark = _commit_of(bronze, contract, partition, offset, epoch)
    at = timestamp if isinstance(timestamp, datetime) else None
    return Delivery(contract.topic, partition, offset, epoch, at, contract.table, commit, remark)


def _commit_of(bronze: Table, contract: Contract, partition: int, offset: int, epoch: int) -> tuple[Commit | None, str | None]:
    head = bronze.current_snapshot()
    line = lineage(bronze.metadata.snapshots, head.snapshot_id if head else None)
    for snapshot in reversed(line):
        for one in offset_ranges(snapshot):
            if (one.topic, one.partition, one.epoch) == (contract.topic, partition, epoch) and one.start <= offset < one.end:
                committed_at = _utc(snapshot.timestamp_ms)
                return Commit(snapshot.snapshot_id, committed_at, text_of(snapshot, COMMIT_ID), text_of(snapshot, RUN_ID)), None
    since = f"from {_utc(line[0].timestamp_ms).isoformat()} on" if line else "not at all"
    return None, f"the snapshot of its commit has expired: `{contract.table}` keeps snapshots {since}"


def _utc(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
