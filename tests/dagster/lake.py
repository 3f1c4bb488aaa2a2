"""A lake in a folder: real tables in a SQLite catalog, with the snapshot summaries that the worker writes."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import load_catalog
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField

FIELDS = Schema(NestedField(1, "number", LongType()))


@dataclass
class Lake:
    """The tables below a home; `environ` tells the code under test where they are."""

    home: Path
    ends: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def environ(self) -> Mapping[str, str]:
        """Environment with nothing but this lake."""
        return {"STREAMIFY_HOME": str(self.home)}

    def table(self, name: str) -> Any:
        """Loads a table, which is made first if need be."""
        self.home.mkdir(parents=True, exist_ok=True)
        uri, warehouse = f"sqlite:///{self.home}/catalog.db", f"file://{self.home}/warehouse"
        with load_catalog("lakehouse", type="sql", uri=uri, warehouse=warehouse) as catalog:
            catalog.create_namespace_if_not_exists("streamify")
            return catalog.create_table_if_not_exists(f"streamify.{name}", FIELDS)

    def drop(self, name: str) -> None:
        """Drops a table."""
        with load_catalog("lakehouse", type="sql", uri=f"sqlite:///{self.home}/catalog.db") as catalog:
            catalog.drop_table(f"streamify.{name}")

    def commit(self, name: str, rows: int, dead: int = 0, partition: int = 0, run_id: str | None = None) -> int:
        """Commits rows as the worker does; returns the snapshot's id."""
        start = self.ends.get((name, partition), 0)
        end = self.ends[name, partition] = start + rows + dead
        span = {"expected": start, "start": start, "end": end}
        source = {"cluster_id": "c"}
        topic = name.removeprefix("bronze_")
        advance = {"topic": topic, "epoch": 0, "source": source, "spans": {str(partition): span}}
        counts = {"rows": rows, "dead_letters": dead, "skipped_by_broker": 0}
        summary = {
            "streamify.ledger": json.dumps({"offsets": rows + dead, "received": rows + dead, **counts}),
            "streamify.changes": json.dumps([{"Advance": advance}]),
            "streamify.commit-id": f"commit-{start}",
            "streamify.valid-through-ms": str(int(time.time() * 1000) - 2_500),
            **({"streamify.dagster-run-id": run_id} if run_id else {}),
        }
        return self._append(name, rows, summary)

    def lease(self, name: str) -> int:
        """Makes the empty snapshot of a lease; returns its id."""
        return self._append(name, 0, {"streamify.leases": "[]", "streamify.changes": "[]"})

    def expire(self, name: str, snapshot_id: int) -> None:
        """Expires a snapshot."""
        self.table(name).maintenance.expire_snapshots().by_id(snapshot_id).commit()

    def _append(self, name: str, rows: int, summary: Mapping[str, str]) -> int:
        table = self.table(name)
        table.append(pa.table({"number": pa.array(range(rows), pa.int64())}), snapshot_properties=dict(summary))
        return table.current_snapshot().snapshot_id
