"""Counts and checksums of a table as PyIceberg, DuckDB and Spark compute them, each by its own means.

A column gives two integers that depend neither on the order of rows nor on the engine: how many values it has, and a sum over
them. Numbers, days since 1970 and microseconds since 1970 are summed as they are, doubles in millionths rounded down; of texts
and of lists (their elements joined) the first 32 bits of MD5 are summed.
"""

import hashlib
import math
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
from pyiceberg.table import Table
from pyiceberg.types import (
    BooleanType,
    DateType,
    DoubleType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    StringType,
    TimestamptzType,
)

from tools.stack.spark import CATALOG, STATEMENT_SECONDS, Spark

#: Rows, then per column the number of values and their sum.
Checksums = dict[str, int]
#: Stands between the elements of a list.
BETWEEN = "|"


def by_pyiceberg(table: Table) -> Checksums:
    """Reads the whole table and sums in Python."""
    rows = table.scan().to_arrow()
    sums: Checksums = {"rows": rows.num_rows}
    for field in table.schema().fields:
        values = [value for value in rows[field.name].to_pylist() if value is not None]
        number = _in_python(field.field_type)
        sums |= {f"{field.name} values": len(values), f"{field.name} sum": sum(map(number, values))}
    return sums


def by_pyiceberg_in_bulk(connection: duckdb.DuckDBPyConnection, table: Table) -> Checksums:
    """Reads by PyIceberg, batch by batch, and lets DuckDB sum: for tables of millions of rows."""
    rows = table.scan().to_arrow_batch_reader()
    connection.register("read_by_pyiceberg", rows)
    try:
        return _summed_by_duckdb(connection, table, "read_by_pyiceberg")
    finally:
        connection.unregister("read_by_pyiceberg")


def by_duckdb(connection: duckdb.DuckDBPyConnection, table: Table) -> Checksums:
    """Asks DuckDB, by the table's metadata file."""
    return _summed_by_duckdb(connection, table, f"iceberg_scan('{table.metadata_location}')")


def _summed_by_duckdb(connection: duckdb.DuckDBPyConnection, table: Table, rows: str) -> Checksums:
    terms = _terms(table, _in_duckdb, "CAST({} AS HUGEINT)")
    answer = connection.execute(f"SELECT {', '.join(terms)} FROM {rows}").fetchone()
    if answer is None:
        raise RuntimeError("DuckDB gave no answer")
    return {name: int(value) for name, value in zip(_names(table), answer, strict=True)}


def by_spark(spark: Spark, table: Table, seconds: float = STATEMENT_SECONDS) -> Checksums:
    """Asks Spark, by the catalog; `seconds` is how long the answer may take."""
    terms = _terms(table, _in_spark, "CAST({} AS DECIMAL(38, 0))")
    terms = [f"{term} AS c{number}" for number, term in enumerate(terms)]
    [answer] = spark.sql(f"SELECT {', '.join(terms)} FROM {in_spark(table)}", seconds)
    return {name: int(answer[f"c{number}"]) for number, name in enumerate(_names(table))}


def in_spark(table: Table, suffix: str = "") -> str:
    """The table's name in Spark, or with a suffix that of a metadata table such as `.files`."""
    return f"{CATALOG}.{'.'.join(table.name())}{suffix}"


def _names(table: Table) -> Iterable[str]:
    columns = [[f"{field.name} values", f"{field.name} sum"] for field in table.schema().fields]
    return ["rows", *(name for names in columns for name in names)]


def _terms(table: Table, number: Callable[[str, IcebergType], str], wide: str) -> list[str]:
    """The aggregates in the order of `_names`; `wide` is the cast to a type that cannot overflow."""
    terms = ["count(*)"]
    for field in table.schema().fields:
        quoted = f"`{field.name}`" if number is _in_spark else f'"{field.name}"'
        terms += [f"count({quoted})", f"coalesce(sum({wide.format(number(quoted, field.field_type))}), 0)"]
    return terms


def _in_python(kind: IcebergType) -> Callable[[Any], int]:
    match kind:
        case IntegerType() | LongType() | BooleanType():
            return int
        case DoubleType():
            return lambda value: math.floor(value * 1_000_000.0)
        case DateType():
            return lambda value: (value - date(1970, 1, 1)).days
        case TimestamptzType():
            return lambda value: (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        case StringType():
            return _digest
        case ListType():
            return lambda values: _digest(BETWEEN.join(str(value) for value in values))
    raise AssertionError(f"no checksum for {kind}")


def _digest(text: str) -> int:
    return int(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:8], 16)


def _in_duckdb(column: str, kind: IcebergType) -> str:
    match kind:
        case DoubleType():
            return f"floor({column} * 1000000.0)"
        case DateType():
            return f"date_diff('day', DATE '1970-01-01', {column})"
        case TimestamptzType():
            return f"epoch_us({column})"
        case StringType():
            return f"('0x' || substr(md5({column}), 1, 8))::BIGINT"
        case ListType():
            return _in_duckdb(f"array_to_string({column}::VARCHAR[], '{BETWEEN}')", StringType())
    return f"{column}::BIGINT"


def _in_spark(column: str, kind: IcebergType) -> str:
    match kind:
        case DoubleType():
            return f"floor({column} * 1000000D)"
        case DateType():
            return f"unix_date({column})"
        case TimestamptzType():
            return f"unix_micros({column})"
        case StringType():
            return f"conv(substr(md5({column}), 1, 8), 16, 10)"
        case ListType():
            joined = f"array_join(transform({column}, value -> CAST(value AS STRING)), '{BETWEEN}')"
            return _in_spark(joined, StringType())
        case BooleanType():
            return f"CAST({column} AS INT)"
    return column
