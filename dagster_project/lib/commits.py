"""What the snapshots of a table tell of its commits: which are new, and what they amount to. Nothing here asks a server.

A commit of ours carries its books (`streamify.ledger`) and the offset ranges it covers (`streamify.changes`). Snapshots without
effect on rows and offsets (leases, compactions, rewritten manifests) are no commits; those of other programs are, by the counts
that Iceberg demands.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyiceberg.table.snapshots import Operation, Snapshot

LEDGER = "streamify.ledger"
CHANGES = "streamify.changes"
COMMIT_ID = "streamify.commit-id"
RUN_ID = "streamify.dagster-run-id"
VALID_THROUGH = "streamify.valid-through-ms"
EFFECTS = ("added-records", "deleted-records", "added-data-files", "deleted-data-files")
LEDGER_FIELDS = ("received", "dead_letters", "skipped_by_broker")


@dataclass(frozen=True)
class Cursor:
    """How far the commits of a table have been reported.

    Attributes:
        snapshot_id: head of the table then.
        sequence_number: of that snapshot, if it is known; tells what is newer after the snapshot has expired.
        table_uuid: identity of the table, if it is known; a table that was made anew begins from its start.
    """

    snapshot_id: int
    sequence_number: int | None = None
    table_uuid: str | None = None


@dataclass(frozen=True)
class OffsetRange:
    """Offsets of a topic-partition; `start` inclusive, `end` exclusive."""

    topic: str
    partition: int
    epoch: int
    start: int
    end: int


@dataclass
class Totals:
    """What some commits amount to.

    Attributes:
        commits: number of commits.
        rows: rows they added, less those they removed.
        files: data files they added.
        size_bytes: bytes of these.
        ledger: sums over the books; empty if no commit has any.
        unaccounted: received records that are neither rows nor dead letters, by the books; always 0.
        offsets: offset ranges, one per topic, partition and epoch.
        run_ids: Dagster runs that made commits, oldest first.
        oldest: the first commit.
        newest: the last one.
    """

    commits: int = 0
    rows: int = 0
    files: int = 0
    size_bytes: int = 0
    ledger: dict[str, int] = field(default_factory=dict)
    unaccounted: int = 0
    offsets: list[OffsetRange] = field(default_factory=list)
    run_ids: list[str] = field(default_factory=list)
    oldest: Snapshot | None = None
    newest: Snapshot | None = None


def lineage(snapshots: Sequence[Snapshot], head_id: int | None) -> Sequence[Snapshot]:
    """Returns the head and its ancestors as far as they are kept, oldest first."""
    by_id = {snapshot.snapshot_id: snapshot for snapshot in snapshots}
    found: list[Snapshot] = []
    snapshot_id = head_id
    while snapshot_id is not None and (snapshot := by_id.get(snapshot_id)) is not None:
        found.append(snapshot)
        snapshot_id = snapshot.parent_snapshot_id
    return found[::-1]


def newer_than(line: Sequence[Snapshot], cursor: Cursor | None, table_uuid: str) -> Sequence[Snapshot]:
    """Returns the part of a lineage that was not reported yet.

    Sequence numbers only grow, also where a table is rolled back, so they decide; if the cursor's own is unknown (it has expired,
    and was not noted), all that is kept counts as new.
    """
    if cursor is None or cursor.table_uuid not in (None, table_uuid):
        return line
    known = {snapshot.snapshot_id: snapshot.sequence_number for snapshot in line}
    reported = cursor.sequence_number if cursor.sequence_number is not None else known.get(cursor.snapshot_id)
    if reported is None:
        return line
    return [snapshot for snapshot in line if (snapshot.sequence_number or 0) > reported]


def is_commit(snapshot: Snapshot) -> bool:
    """Returns whether a snapshot changed the table's rows or offsets."""
    summary = snapshot.summary
    if summary is None or summary.operation is Operation.REPLACE:
        return False
    if LEDGER in summary.additional_properties or changes_of(snapshot):
        return True
    return any(number_of(snapshot, name) for name in EFFECTS)


def totals_of(snapshots: Sequence[Snapshot]) -> Totals:
    """Adds up the commits among `snapshots`, which are in order, oldest first."""
    totals = Totals()
    ranges: dict[tuple[str, int, int], OffsetRange] = {}
    for snapshot in filter(is_commit, snapshots):
        totals.commits += 1
        totals.rows += number_of(snapshot, "added-records") - number_of(snapshot, "deleted-records")
        totals.files += number_of(snapshot, "added-data-files")
        totals.size_bytes += number_of(snapshot, "added-files-size")
        totals.oldest = totals.oldest or snapshot
        totals.newest = snapshot
        _add_ledger(totals, _json(snapshot, LEDGER))
        for one in offset_ranges(snapshot):
            key = (one.topic, one.partition, one.epoch)
            first = ranges.get(key, one)
            ranges[key] = OffsetRange(*key, first.start, one.end)
        run_id = text_of(snapshot, RUN_ID)
        if run_id and run_id not in totals.run_ids:
            totals.run_ids.append(run_id)
    totals.offsets = [ranges[key] for key in sorted(ranges)]
    return totals


def offset_ranges(snapshot: Snapshot) -> Iterator[OffsetRange]:
    """Yields the offsets that a commit covers."""
    for change in changes_of(snapshot):
        advance = change.get("Advance") or {}
        for partition, span in advance.get("spans", {}).items():
            yield OffsetRange(advance["topic"], int(partition), advance["epoch"], span["start"], span["end"])


def changes_of(snapshot: Snapshot) -> Sequence[Mapping[str, Any]]:
    """Returns the changes of the table's state that came with a snapshot; their form is that of `rust/core/src/state.rs`."""
    changes: Sequence[Mapping[str, Any]] = _json(snapshot, CHANGES) or []
    return changes


def number_of(snapshot: Snapshot, name: str) -> int:
    """Returns a number of a snapshot's summary, 0 if it is not there."""
    return int(text_of(snapshot, name) or 0)


def text_of(snapshot: Snapshot, name: str) -> str | None:
    """Returns an entry of a snapshot's summary."""
    return snapshot.summary.additional_properties.get(name) if snapshot.summary else None


def _json(snapshot: Snapshot, name: str) -> Any:  # noqa: ANN401  # whatever stands there
    return json.loads(text_of(snapshot, name) or "null")


def _add_ledger(totals: Totals, ledger: Mapping[str, int] | None) -> None:
    if ledger is None:
        return
    for name in LEDGER_FIELDS:
        totals.ledger[name] = totals.ledger.get(name, 0) + ledger[name]
    totals.unaccounted += ledger["received"] - ledger["rows"] - ledger["dead_letters"]
