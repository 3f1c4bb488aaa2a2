"""Reports the commits of a table as materializations of its asset, whoever made them.

Guarantees: the newest materialization with a `snapshot_id` is the cursor; a report covers everything after it in one event, so
nothing is reported twice and nothing is left out, however the work is divided among runs, the sensor, and those that were killed
in between. The one exception is told in the event: if the cursor's snapshot has expired, commits before the oldest kept snapshot
may be missing (`cursor_expired`). On one machine a lock lets one reporter after the other; on several, two that report the same
table in the same milliseconds could both do it.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from dagster_project.lib.commits import (
    VALID_THROUGH,
    Cursor,
    OffsetRange,
    Totals,
    lineage,
    newer_than,
    number_of,
    text_of,
    totals_of,
)
from dagster_project.lib.lake import Environ, TableMissingError, load_table

# How many of the newest materializations are looked through for one of ours; people may report some by hand.
MAX_FOREIGN_EVENTS = 100
MAX_RUN_LINKS = 5
Value = dg.MetadataValue  # of any type
Load = Callable[[Environ, str], Table]


def report_new_commits(
    instance: dg.DagsterInstance,
    environ: Environ,
    table: str,
    *,
    load: Load = load_table,
    settled_before_ms: int | None = None,
) -> dg.AssetMaterialization | None:
    """Reports what was committed to a table since the last report, as one materialization that belongs to no run.

    Args:
        instance: where the asset's events are.
        environ: where the lake is.
        table: name of the table, which is its asset's key.
        load: loads the table.
        settled_before_ms: do it only if the oldest new commit is from before this time (ms since 1970), because somebody else
            is expected to report it; `None`: at once.

    Returns:
        The event; `None` if there is nothing new, or no such table yet.
    """
    try:
        loaded = load(environ, table)
    except TableMissingError:
        return None
    head = loaded.current_snapshot()
    if head is None:
        return None
    line = lineage(loaded.metadata.snapshots, head.snapshot_id)
    with _alone(instance, table):
        cursor = cursor_of(instance, table)
        totals = totals_of(newer_than(line, cursor, str(loaded.metadata.table_uuid)))
        if totals.oldest is None:
            return None
        if settled_before_ms is not None and totals.oldest.timestamp_ms >= settled_before_ms:
            return None
        kept = {snapshot.snapshot_id for snapshot in loaded.metadata.snapshots}
        event = dg.AssetMaterialization(
            asset_key=table,
            metadata={
                **event_metadata(totals, head),
                **position(cursor, head, str(loaded.metadata.table_uuid), kept),
            },
        )
        instance.report_runless_asset_event(event)
        return event


def cursor_of(instance: dg.DagsterInstance, table: str) -> Cursor | None:
    """Returns how far a table's commits have been reported, by the newest of its materializations that tells."""
    for record in instance.fetch_materializations(dg.AssetKey(table), limit=MAX_FOREIGN_EVENTS).records:
        metadata = record.asset_materialization.metadata if record.asset_materialization else {}
        snapshot_id = _plain(metadata, "snapshot_id")
        if snapshot_id is not None and snapshot_id.isdecimal():
            sequence_number = _plain(metadata, "sequence_number")
            return Cursor(int(snapshot_id), int(sequence_number) if sequence_number else None, _plain(metadata, "table_uuid"))
    return None


def event_metadata(totals: Totals, head: Snapshot) -> dict[str, Value]:
    """Returns what an event says of the commits it covers.

    Args:
        totals: what they amount to; at least one commit.
        head: the table's head, which may be newer than the last commit (a lease, a compaction).
    """
    numbers = {"rows": totals.rows, **totals.ledger, "files": totals.files, "size_bytes": totals.size_bytes}
    numbers["commits"] = totals.commits
    if totals.ledger:
        numbers["unaccounted"] = totals.unaccounted
    if text_of(head, "total-records") is not None:
        numbers["dagster/row_count"] = number_of(head, "total-records")
    metadata: dict[str, Value] = {name: dg.MetadataValue.int(number) for name, number in numbers.items()}
    if totals.newest is not None:
        metadata["committed_at"] = dg.MetadataValue.timestamp(totals.newest.timestamp_ms / 1000)
        if valid_through := text_of(totals.newest, VALID_THROUGH):
            seconds = max(0, totals.newest.timestamp_ms - int(valid_through)) / 1000
            metadata["freshness_seconds"] = dg.MetadataValue.float(seconds)
    if totals.offsets:
        metadata["offsets"] = _offsets_table(totals.offsets)
    return {**metadata, **_run_links(totals.run_ids)}


def position(cursor: Cursor | None, head: Snapshot, table_uuid: str, kept: set[int]) -> dict[str, Value]:
    """Returns where the event's range begins and ends; its end is the next cursor. Ids are texts: a UI would round them."""
    metadata: dict[str, Value] = {
        "snapshot_id": dg.MetadataValue.text(str(head.snapshot_id)),
        "sequence_number": dg.MetadataValue.int(head.sequence_number or 0),
        "table_uuid": dg.MetadataValue.text(table_uuid),
    }
    if cursor is not None and cursor.table_uuid in (None, table_uuid):
        metadata["from_snapshot_id"] = dg.MetadataValue.text(str(cursor.snapshot_id))
        if cursor.snapshot_id not in kept:
            metadata["cursor_expired"] = dg.MetadataValue.bool(True)
    return metadata


def _offsets_table(offsets: Sequence[OffsetRange]) -> Value:
    records = [
        dg.TableRecord({"topic": one.topic, "partition": one.partition, "epoch": one.epoch, "from": one.start, "to": one.end})
        for one in offsets
    ]
    return dg.MetadataValue.table(records)


def _run_links(run_ids: Sequence[str]) -> dict[str, Value]:
    newest = run_ids[-MAX_RUN_LINKS:]
    if len(newest) == 1:
        return {"dagster_run": dg.MetadataValue.dagster_run(newest[0])}
    return {f"dagster_run_{number}": dg.MetadataValue.dagster_run(run_id) for number, run_id in enumerate(newest, 1)}


def _plain(metadata: dict[str, Value] | object, name: str) -> str | None:
    value = metadata.get(name) if isinstance(metadata, dict) else None
    return str(value.value) if value is not None and value.value is not None else None


@contextmanager
def _alone(instance: dg.DagsterInstance, table: str) -> Iterator[None]:
    """Lets one reporter of a table after the other, on this machine; the time in between is that of two database calls."""
    folder = Path(instance.root_directory) / "streamify"
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / f"{table}.lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
