"""A lake that PyIceberg made, with silver and sessions as they should be; each test breaks what it wants to be found."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DoubleType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)
from sqlalchemy import NullPool, create_engine

from dagster_project.lib.checks.session_law import TOPICS, Event, people_of, sessions_of
from dagster_project.lib.checks.verdict import Look
from dagster_project.lib.contracts import Column, Contract, load_contracts
from dagster_project.lib.paths import contracts_folder
from dagster_project.lib.silver_columns import SESSION_COLUMNS, SESSIONS_TABLE, silver_columns, snake_case

NOON = int(datetime(2026, 2, 23, 12, tzinfo=UTC).timestamp() * 1000)
MINUTE = 60_000
TYPES: Mapping[str, IcebergType] = {
    "string": StringType(),
    "int": IntegerType(),
    "long": LongType(),
    "double": DoubleType(),
    "boolean": BooleanType(),
    "binary": BinaryType(),
    "date": DateType(),
    "timestamptz": TimestamptzType(),
    "list<long>": ListType(1001, LongType(), element_required=True),
    "list<string>": ListType(1002, StringType(), element_required=True),
}
ZERO = {"string": "", "int": 0, "long": 0, "double": 0.0, "boolean": False}


def time(ms: int) -> datetime:
    """An event time."""
    return datetime.fromtimestamp(ms / 1000, UTC)


@dataclass
class Lake:
    """A catalog and a warehouse in a folder, and the rows that go into bronze and silver alike."""

    home: Path
    catalog: SqlCatalog
    contracts: Mapping[str, Contract]
    num_ids: int = 0
    state: dict[str, object] = field(default_factory=dict)

    def look(self, **options: object) -> Look:
        """How a check looks at it."""
        return Look({"STREAMIFY_HOME": str(self.home)}, **options)

    def table(self, name: str) -> Table:
        """A table as it stands."""
        return self.catalog.load_table(f"streamify.{name}")

    def write(
        self,
        name: str,
        columns: Iterable[Column],
        rows: Sequence[Mapping[str, object]],
        summary: Mapping[str, str] | None = None,
    ) -> Table:
        """Appends rows, with these entries in the snapshot's summary, and makes the table if there is none."""
        types = [(number, column, TYPES[column.type]) for number, column in enumerate(columns, start=1)]
        fields = [NestedField(number, column.name, of, required=not column.nullable) for number, column, of in types]
        table = self.catalog.create_table_if_not_exists(f"streamify.{name}", Schema(*fields))
        made = pa.Table.from_pylist([dict(row) for row in rows], schema=table.schema().as_arrow())
        table.append(made, snapshot_properties=dict(summary or {}))
        return table

    def event(self, topic: str, ms: int = NOON, user: int | None = 1, session: int = 1, item: int = 0, **more: object) -> dict:
        """A silver row; what is not said has a plain value."""
        self.num_ids += 1
        columns = silver_columns(self.contracts[topic])
        row = {column.name: ZERO.get(column.type, time(ms)) for column in columns}
        row |= {name: None for name in row if name.endswith("_original")} | {"_extras": None, "run_id": "r"}
        row |= {"event_id": f"{self.num_ids:032x}", "event_ts": time(ms), "event_date": time(ms).date(), "user_id": user}
        row |= {"session_id": session, "item_in_session": item, "_kafka_offset": self.num_ids, "_source_epoch": 0}
        return row | more

    def silver(self, topic: str, rows: Sequence[Mapping[str, object]]) -> Table:
        """Appends to a silver table."""
        contract = self.contracts[topic]
        return self.write(contract.silver.table, silver_columns(contract), rows)

    def bronze(self, topic: str, rows: Sequence[Mapping[str, object]], summary: Mapping[str, str] | None = None) -> Table:
        """Appends to a bronze table what such rows of silver come from."""
        contract = self.contracts[topic]
        times = {"ts": NOON, "registration": NOON, "_run_id": "r"}
        made = []
        for row in rows:
            of_silver = {column.name: row.get(snake_case(column.name), row.get(column.name)) for column in contract.columns}
            zeros = {c.name: ZERO.get(c.type, row["event_ts"]) for c in contract.columns if of_silver[c.name] is None}
            made.append(of_silver | {name: zeros[name] for name in zeros} | {k: v for k, v in times.items() if k in of_silver})
        return self.write(contract.table, contract.columns, made, summary)

    def consumed(self, topic: str, below: int) -> None:
        """Says in the silver table's state that bronze was read up to an offset of partition 0."""
        contract = self.contracts[topic]
        offsets = {topic: {"current": {"epoch": 0, "source": {"cluster_id": "c"}, "next": {"0": below}}}}
        self._remember(contract.silver.table, contract.table, topics=offsets)

    def sessions(self, events: Mapping[str, Sequence[Mapping[str, object]]], watermark_ms: int | None = None) -> Table:
        """Makes silver of the events and the sessions that belong to them."""
        made = [self._session_event(topic, row) for topic, rows in events.items() for row in rows]
        watermark_ms = watermark_ms or max(event.time_ms for event in made)
        rows = []
        for person, theirs in people_of(made).items():
            for row in sessions_of(person, theirs, watermark_ms):
                started, ended = time(row["started_ms"]), time(row["ended_ms"])
                times = {"started_at": started, "ended_at": ended, "session_date": started.date(), "_processed_at": ended}
                rows.append({**row, **times, "session_key": f"{len(rows) + 1:032x}"})
        table = self.write(SESSIONS_TABLE, SESSION_COLUMNS, rows)
        for topic in TOPICS:
            self.silver(topic, events.get(topic, []))
            self._remember(SESSIONS_TABLE, self.contracts[topic].silver.table)
        open_days = [(row["session_date"] - datetime(1970, 1, 1).date()).days for row in rows if not row["is_closed"]]
        self.state["sessions"] = {"watermark_ms": watermark_ms} | ({"open_from_day": min(open_days)} if open_days else {})
        self._remember(SESSIONS_TABLE, None)
        return table

    def change_sessions(self, change: Callable[[dict[str, object]], dict[str, object] | None]) -> None:
        """Rewrites the sessions, each as `change` says; `None` drops it."""
        table = self.table(SESSIONS_TABLE)
        rows = [changed for row in table.scan().to_arrow().to_pylist() if (changed := change(row))]
        table.overwrite(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))

    def _session_event(self, topic: str, row: Mapping[str, object]) -> Event:
        songs = topic in ("listen_events", "page_view_events")
        return Event(
            time_ms=int(row["event_ts"].timestamp() * 1000),
            session=row["session_id"],
            item=row["item_in_session"],
            topic=TOPICS.index(topic),
            run=row["run_id"] or "",
            user=row["user_id"],
            detail=row.get("page", row.get("new_level")),
            level=row.get("level", row.get("old_level")),
            city=row["city"],
            state=row["state"],
            artist=row["artist"] if songs else None,
            song=row["song"] if songs else None,
            seconds=row["duration"] if songs else None,
        )

    def _remember(self, table: str, source: str | None, topics: Mapping[str, object] | None = None) -> None:
        if source is not None:
            read = self.table(source)
            snapshot = read.current_snapshot()
            consumed = {"table_uuid": str(read.metadata.table_uuid), "snapshot_id": snapshot.snapshot_id if snapshot else 0}
            self.state.setdefault("sources", {})[source] = {**consumed, "sequence_number": 1, "topics": topics or {}}
        with self.table(table).transaction() as transaction:
            transaction.set_properties({"streamify.state": json.dumps({"version": 1, "topics": {}, **self.state})})


@pytest.fixture
def lake(clean_environment: pytest.MonkeyPatch, tmp_path: Path) -> Iterable[Lake]:
    """An empty lake; the environment leads to it."""
    clean_environment.setenv("STREAMIFY_HOME", str(tmp_path))
    catalog = SqlCatalog("lakehouse", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    # No connection stays open: `_native` reads the same file with an SQLite of its own.
    catalog.engine = create_engine(catalog.properties["uri"], poolclass=NullPool)
    catalog.create_namespace("streamify")
    yield Lake(tmp_path, catalog, {contract.topic: contract for contract in load_contracts(contracts_folder({}))})
    catalog.close()
