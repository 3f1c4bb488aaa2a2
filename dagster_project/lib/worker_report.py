"""The always-on worker in tables, for a run's log and metadata."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg

from dagster_project.lib.worker_health import Observation
from dagster_project.lib.worker_status import Lease, TablesStatus, WorkerStatus

Cell = str | int | float | bool | None
MAX_TEXT = 4000


def worker_metadata(status: WorkerStatus) -> dict[str, dg.MetadataValue]:
    """Returns what a worker says of itself: figures, a row for each table, a row for each partition."""
    rows: Sequence[Mapping[str, Cell]] = [
        {
            "topic": table.topic,
            "table": table.table,
            "rows": table.rows,
            "dead_letters": table.dead_letters,
            "commits": table.commits,
            "snapshot_id": None if table.snapshot_id is None else str(table.snapshot_id),  # too large for JavaScript's numbers
            "committed_at": instant(table.committed_at_ms),
            "freshness_seconds": table.freshness_seconds,
        }
        for table in status.tables
    ]
    offsets: Sequence[Mapping[str, Cell]] = [
        {
            "topic": table.topic,
            "epoch": partition.epoch,
            "partition": partition.partition,
            "to": partition.next_offset,
            "end": partition.end_offset,
            "lag_records": partition.lag_records,
        }
        for table in status.tables
        for partition in table.partitions
    ]
    return {
        **_figures(status.lag_records, status.lag_seconds, status.headroom_seconds),
        "pid": dg.MetadataValue.int(status.pid),
        "host": dg.MetadataValue.text(status.host),
        "writer_id": dg.MetadataValue.text(status.writer_id),
        "version": dg.MetadataValue.text(status.version),
        "started_at": dg.MetadataValue.text(instant(status.started_at_ms) or ""),
        "topics": table_of(rows),
        "offsets": table_of(offsets),
    }


def tables_metadata(tables: TablesStatus) -> dict[str, dg.MetadataValue]:
    """Returns what the tables say without a worker: figures, a row for each topic, a row for each lease."""
    rows: Sequence[Mapping[str, Cell]] = [
        {
            "topic": topic.topic,
            "table": topic.table,
            "lag_records": topic.lag_records,
            "lag_seconds": topic.lag_seconds,
            "headroom_seconds": topic.headroom_seconds,
            "snapshot_id": None if topic.snapshot_id is None else str(topic.snapshot_id),
            "committed_at": instant(topic.committed_at_ms),
        }
        for topic in tables.topics
    ]
    return {
        **_figures(tables.lag_records, tables.lag_seconds, tables.headroom_seconds),
        "topics": table_of(rows),
        "leases": table_of([lease_row(topic.table, lease) for topic in tables.topics for lease in topic.leases]),
    }


def observation_metadata(seen: Observation) -> dict[str, dg.MetadataValue]:
    """Returns how the worker looks from outside."""
    facts: dict[str, dg.MetadataValue] = {
        "mode": dg.MetadataValue.text(seen.mode.value),
        "wanted": dg.MetadataValue.text(seen.wanted.value if seen.wanted else "nothing"),
        "process": dg.MetadataValue.text(seen.process.value),
        "health": dg.MetadataValue.text(f"{seen.health.value}: {seen.health_text}"),
    }
    if seen.exit_code is not None:
        facts["exit_code"] = dg.MetadataValue.int(seen.exit_code)
    if seen.last_words:
        facts["last_output"] = dg.MetadataValue.md(f"```\n{seen.last_words}\n```")
    return facts


def lease_row(table: str, lease: Lease) -> Mapping[str, Cell]:
    """Returns a lease as a row."""
    return {
        "table": table,
        "host": lease.host,
        "pid": lease.pid,
        "writer_id": lease.writer_id,
        "partitions": "all" if lease.partitions is None else ", ".join(str(partition) for partition in lease.partitions),
        "since": instant(lease.since_ms),
        "valid_until": instant(lease.valid_until_ms),
        "is_valid": lease.is_valid,
    }


def table_of(rows: Sequence[Mapping[str, Cell]]) -> dg.MetadataValue:
    """Returns rows as a table; the columns are those of the first row, and a text says so where there is none."""
    if not rows:
        return dg.MetadataValue.text("none")
    kinds = {bool: "bool", int: "int", float: "float"}

    def kind(column: str) -> str:
        values = [row[column] for row in rows if row[column] is not None]
        return kinds.get(type(values[0]), "string") if values else "string"

    schema = dg.TableSchema([dg.TableColumn(name=column, type=kind(column)) for column in rows[0]])
    return dg.MetadataValue.table(records=[dg.TableRecord(dict(row)) for row in rows], schema=schema)


def lines_of(metadata: Mapping[str, dg.MetadataValue]) -> str:
    """Returns metadata as text for a log: a line for each value and each row."""
    lines: list[str] = []
    for name, value in metadata.items():
        if isinstance(value, dg.TableMetadataValue):
            for record in value.records:
                cells = ", ".join(f"{column} {cell}" for column, cell in record.data.items() if cell is not None)
                lines.append(f"{name}: {cells}")
        else:
            lines.append(f"{name}: {value.value}")
    return "\n".join(lines)[:MAX_TEXT]


def instant(at_ms: int | None) -> str | None:
    """Returns an instant for people, in UTC."""
    return None if at_ms is None else f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _figures(lag_records: int | None, lag_seconds: float | None, headroom_seconds: float | None) -> dict[str, dg.MetadataValue]:
    """Numbers that Dagster plots; what is unknown or without limit is left out."""
    figures: dict[str, dg.MetadataValue] = {}
    if lag_records is not None:
        figures["lag_records"] = dg.MetadataValue.int(lag_records)
    if lag_seconds is not None:
        figures["lag_seconds"] = dg.MetadataValue.float(lag_seconds)
    if headroom_seconds is not None:
        figures["headroom_seconds"] = dg.MetadataValue.float(headroom_seconds)
    return figures
