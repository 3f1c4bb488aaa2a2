"""What the kept snapshots of a bronze table say of themselves: books and offset ranges of every commit, oldest first."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot

from dagster_project.lib.bronze_news import changes_rows, lineage

COMMIT_ID = "streamify.commit-id"
LEDGER = "streamify.ledger"
CHANGES = "streamify.changes"
GAP = "streamify.gap"
ADOPTION = "streamify.adoption"
VALID_THROUGH = "streamify.valid-through-ms"
#: The books of a commit, in records.
BOOKS = ("offsets", "received", "rows", "dead_letters", "skipped_by_broker")


@dataclass(frozen=True)
class Span:
    """An offset range that a commit covers: `start` inclusive, `end` exclusive; `expected` is where the table stood before."""

    topic: str
    epoch: int
    partition: int
    expected: int | None
    start: int
    end: int


@dataclass(frozen=True)
class Entry:
    """A snapshot, as far as checks look at it.

    Attributes:
        snapshot_id: its id.
        at: when it was made, seconds since 1970.
        is_ours: whether Streamify made it.
        changes_rows: whether it added or removed rows, other than by moving them to other files.
        added_rows: rows that it added, as Iceberg counts them.
        ledger: books of a commit of the stream; empty for others.
        spans: the offset ranges it covers.
        gaps: offsets that were gone before they could be read, by partition: from (inclusive) to (exclusive).
        is_adoption: whether it took over a table that another pipeline had filled.
        valid_through: up to when the table is complete, seconds since 1970.
    """

    snapshot_id: int
    at: float
    is_ours: bool
    changes_rows: bool
    added_rows: int
    ledger: Mapping[str, int]
    spans: Sequence[Span]
    gaps: Mapping[int, tuple[int, int]]
    is_adoption: bool
    valid_through: float | None


@dataclass(frozen=True)
class History:
    """The kept snapshots of a table, oldest first.

    Attributes:
        entries: one per snapshot.
        is_complete: whether none has expired.
    """

    entries: Sequence[Entry]
    is_complete: bool

    @property
    def commits(self) -> Sequence[Entry]:
        """The commits of the stream."""
        return [entry for entry in self.entries if entry.ledger]

    def total(self, name: str, since: float = 0) -> int:
        """Returns a sum over the books of the commits since a time."""
        return sum(entry.ledger[name] for entry in self.commits if entry.at >= since)


def history_of(table: Table) -> History:
    """Reads the kept snapshots of the main branch; no data."""
    newest_first = list(lineage(table))
    # The parent does not tell: some writers clear it when they expire the snapshot that it names.
    is_complete = not newest_first or (newest_first[-1].sequence_number or 0) <= 1
    return History([_entry(snapshot) for snapshot in reversed(newest_first)], is_complete)


def _entry(snapshot: Snapshot) -> Entry:
    summary = snapshot.summary

    def text(name: str) -> str | None:
        return summary[name] if summary else None

    through = text(VALID_THROUGH)
    books = json.loads(text(LEDGER) or "{}")
    return Entry(
        snapshot_id=snapshot.snapshot_id,
        at=snapshot.timestamp_ms / 1000,
        is_ours=text(COMMIT_ID) is not None,
        changes_rows=changes_rows(snapshot),
        added_rows=0 if summary and summary.operation is Operation.REPLACE else int(text("added-records") or 0),
        ledger={name: int(books.get(name, 0)) for name in BOOKS} if books else {},
        spans=list(_spans(json.loads(text(CHANGES) or "[]"))),
        gaps={int(partition): (int(of[0]), int(of[1])) for partition, of in json.loads(text(GAP) or "{}").items()},
        is_adoption=text(ADOPTION) is not None,
        valid_through=int(through) / 1000 if through else None,
    )


def _spans(changes: Sequence[Mapping[str, Any]]) -> Iterator[Span]:
    for change in changes:
        advance = change.get("Advance") or {}
        for partition, span in advance.get("spans", {}).items():
            yield Span(advance["topic"], advance["epoch"], int(partition), span["expected"], span["start"], span["end"])
