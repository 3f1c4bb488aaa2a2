"""Rows of the lake as Arrow streams: a few batches are held at once, however large the table is."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue

from dagster_project import _native
from dagster_project.lib.lake import Environ, load_table

#: `(column, operator, value)`; operators `=`, `in` (a list) and `is` (None). All conditions must hold.
Condition = tuple[str, str, Any]


def open_rows(
    environ: Environ, table: str, columns: Sequence[str], conditions: Sequence[Condition] = (), snapshot: int | None = None
) -> pa.RecordBatchReader:
    """Opens rows of a table; they can be read once.

    Args:
        environ: where the lake is.
        table: name of the table, without namespace.
        columns: columns to read.
        conditions: which rows; days as ISO texts.
        snapshot: id of the snapshot to read; as the table stands if `None`.

    Raises:
        TableMissingError: if there is no such table.
    """
    loaded = load_table(environ, table)
    scan: Callable[..., Any] | None = getattr(_native, "scan", None)
    if scan is None:  # a package that was installed without its compiled part
        where = " and ".join(_text(condition) for condition in conditions) or AlwaysTrue()
        rows = loaded.scan(row_filter=where, selected_fields=tuple(columns), snapshot_id=snapshot)
        return rows.to_arrow_batch_reader()
    return pa.RecordBatchReader.from_stream(scan(table, list(columns), list(conditions), snapshot, env=dict(environ)))


def _text(condition: Condition) -> str:
    column, operator, value = condition
    if operator == "is":
        return f"{column} is null"
    if operator == "in":
        return f"{column} in ({', '.join(_literal(item) for item in value)})" if value else "false"
    return f"{column} {operator} {_literal(value)}"


def _literal(value: object) -> str:
    return str(value) if isinstance(value, int) else f"'{value}'"
