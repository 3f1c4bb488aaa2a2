"""A bronze table as the stream worker leaves it, by PyIceberg: rows, dead letters, books, ranges and state of every commit."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pyiceberg.table import Table

from dagster_project.lib.checks.bronze_present import Servers
from dagster_project.lib.contracts import DEAD_LETTER_COLUMNS, DEAD_LETTER_TABLE, Contract

from .conftest import Lake

TOPIC = "listen_events"
SOURCE = {"cluster_id": "c"}


@dataclass
class Stream:
    """Lands offset ranges of one topic in its bronze table, and can be told to do it wrong."""

    lake: Lake
    folder: Path
    topic: str = TOPIC
    next: dict[int, int] = field(default_factory=dict)

    @property
    def contract(self) -> Contract:
        """The contract of the topic."""
        return self.lake.contracts[self.topic]

    @property
    def table(self) -> Table:
        """The bronze table as it stands."""
        return self.lake.table(self.contract.table)

    def rows(self, offsets: Sequence[int], partition: int = 0, epoch: int = 0) -> list[dict[str, object]]:
        """Rows of these offsets."""
        place = {"_kafka_partition": partition, "_source_epoch": epoch}
        return [self.lake.event(self.topic, item=offset, _kafka_offset=offset, **place) for offset in offsets]

    def land(
        self,
        count: int = 10,
        *,
        partition: int = 0,
        letters: int = 0,
        skipped: int = 0,
        gap: int = 0,
        lost: int = 0,
        change: Callable[[dict[str, str]], Mapping[str, str]] = lambda summary: summary,
    ) -> None:
        """Commits `count` rows, then as many dead letters and skipped offsets as asked for.

        Args:
            count: rows.
            partition: where they come from.
            letters: dead letters after the rows.
            skipped: offsets after these that hold no record.
            gap: offsets before the rows that were gone.
            lost: rows at the end that the books have and the files do not.
            change: spoils the summary.
        """
        expected = self.next.get(partition)
        start = (expected or 0) + gap
        first_letter = start + count
        end = first_letter + letters + skipped
        books = {"offsets": end - start, "received": count + letters, "rows": count, "dead_letters": letters}
        span = {"expected": expected, "start": start, "end": end}
        advance = {"topic": self.topic, "epoch": 0, "source": SOURCE, "spans": {str(partition): span}}
        summary = {
            "streamify.commit-id": f"commit-{start}",
            "streamify.ledger": json.dumps({**books, "skipped_by_broker": skipped}),
            "streamify.changes": json.dumps([{"Advance": advance}]),
            "streamify.valid-through-ms": str(int(time.time() * 1000)),
        }
        if gap and expected is not None:
            summary["streamify.gap"] = json.dumps({str(partition): [expected, start]})
        if letters:
            self._bury(range(first_letter, first_letter + letters), partition)
        self.lake.bronze(self.topic, self.rows(range(start, start + count - lost), partition), change(summary))
        self.next[partition] = end
        self.stand_at(self.next)

    def stand_at(self, offsets: Mapping[int, int]) -> None:
        """Says in the table's state where it stands."""
        current = {"epoch": 0, "source": SOURCE, "next": {str(partition): offset for partition, offset in offsets.items()}}
        with self.table.transaction() as transaction:
            transaction.set_properties(
                {"streamify.state": json.dumps({"version": 1, "topics": {self.topic: {"current": current}}})}
            )

    def lease(self) -> None:
        """An empty commit, as a writer makes that takes a lease."""
        self.lake.bronze(self.topic, [], {"streamify.leases": "[]"})

    def servers(self, *, begin: int = 0, more: int = 0, **topic: object) -> Servers:
        """A `streamify-stream` that says how far this table is: `begin` is where Kafka begins, `more` what lags."""
        partitions = [
            {"partition": number, "next_offset": at, "begin_offset": begin, "end_offset": at + more, "lag_records": more}
            for number, at in self.next.items()
        ]
        figures = {"lag_records": more * len(partitions), "lag_seconds": 0.0 if not more else 1.0, "headroom_seconds": 6e5}
        of_topic = {
            "topic": self.topic,
            "table": self.contract.table,
            "table_exists": True,
            "epoch": 0,
            **figures,
            "retention_ms": 604_800_000,
            "snapshot_id": 1,
            "committed_at_ms": 1,
            "partitions": partitions,
            "leases": [],
            **topic,
        }
        status = {"at_ms": int(time.time() * 1000), **figures, "topics": [of_topic]}
        return Servers(install_status(self.folder, status))

    def _bury(self, offsets: Sequence[int], partition: int) -> None:
        now = datetime.now(UTC)
        row = {column.name: None for column in DEAD_LETTER_COLUMNS}
        row |= {"topic": self.topic, "partition": partition, "headers": "{}", "reason": "json", "message": "m"}
        row |= {"contract_version": 1, "source_epoch": 0, "processing_time": now, "event_date": now.date(), "replayed": False}
        rows = [{**row, "offset": offset} for offset in offsets]
        self.lake.write(DEAD_LETTER_TABLE, DEAD_LETTER_COLUMNS, rows)


def install_status(folder: Path, status: object = None, script: str = "") -> dict[str, str]:
    """Installs a `streamify-stream` whose `status` prints this, or which runs this script; returns the environment."""
    folder.mkdir(exist_ok=True)
    (folder / "status.json").write_text(json.dumps(status), encoding="utf-8")
    program = folder / "streamify-stream"
    program.write_text(f'#!/bin/sh\n[ "$1" = status ] || exit 9\n{script or f"cat {folder}/status.json"}\n', encoding="utf-8")
    program.chmod(0o755)
    return {"STREAMIFY_BIN_DIR": str(folder), "PATH": "/usr/bin:/bin"}
