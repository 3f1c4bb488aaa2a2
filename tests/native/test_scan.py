"""Reading through the Arrow C stream interface: what PyIceberg reads, whoever takes it."""

from datetime import UTC, date, datetime, timedelta, timezone

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from dagster_project import _native
from tests.native.conftest import COLUMNS, events, in_order

NOON = datetime(2026, 2, 23, 0, 20, tzinfo=UTC)
MET = timezone(timedelta(hours=1))


def test_pyarrow_reads_the_rows_and_types_that_pyiceberg_reads(lake, small_files):
    small_files("t")

    table = pa.table(_native.scan("t"))

    # PyIceberg reads texts with wide offsets.
    expected = [
        (field.name, pa.string() if field.type == pa.large_string() else field.type, field.nullable)
        for field in lake.table("t").schema().as_arrow()
    ]
    assert [(field.name, field.type, field.nullable) for field in table.schema] == expected
    assert in_order(table) == lake.rows("t")


def test_duckdb_reads_a_scan_by_its_name(lake, small_files):
    small_files("t")
    scan = _native.scan("t", columns=["user_id", "duration"])

    [row] = duckdb.sql("SELECT count(*), count(user_id), sum(duration) FROM scan").fetchall()

    expected = lake.rows("t")
    assert row == (
        len(expected),
        sum(row["user_id"] is not None for row in expected),
        sum(row["duration"] for row in expected),
    )
    assert scan.schema.names == ["user_id", "duration"]


def test_polars_reads_the_rows_and_types_that_pyiceberg_reads(lake, small_files):
    small_files("t")

    frame = pl.DataFrame(_native.scan("t"))

    assert dict(frame.schema) == {
        "event_ts": pl.Datetime("us", "UTC"),
        "event_date": pl.Date,
        "user_id": pl.Int64,
        "item": pl.Int32,
        "song": pl.String,
        "duration": pl.Float64,
        "paid": pl.Boolean,
    }
    assert in_order(frame.to_arrow()) == lake.rows("t")


def test_polars_sees_columns_and_conditions_of_a_scan_and_its_absence_of_rows(lake, small_files):
    small_files("t", parts=1)
    lake.create("empty")

    frame = pl.DataFrame(_native.scan("t", ["song", "item"], [("user_id", "=", 3)]))

    assert frame.columns == ["song", "item"]
    assert frame.height == sum(row["user_id"] == 3 for row in lake.rows("t")) > 0
    empty = pl.DataFrame(_native.scan("empty"))
    assert (empty.columns, empty.height) == (COLUMNS.names, 0)


def test_a_scan_can_be_read_again_and_does_not_see_later_rows(lake, small_files):
    table = small_files("t", days=1, parts=1)
    scan = _native.scan("t")
    table.append(events(0, 9))

    first, second = pa.table(scan), pa.table(scan)

    assert (first.num_rows, second.num_rows) == (50, 50)
    assert pa.table(_native.scan("t")).num_rows == 100
    assert scan.snapshot_id != _native.scan("t").snapshot_id


def test_batches_come_one_by_one_and_a_reader_may_leave_early(small_files):
    small_files("t")
    reader = pa.RecordBatchReader.from_stream(_native.scan("t", columns=["item"]))

    first = reader.read_next_batch()
    reader.close()

    assert 0 < first.num_rows <= 50
    assert first.schema.names == ["item"]


def test_columns_come_in_the_order_asked_for(small_files):
    small_files("t", days=1, parts=1)

    table = pa.table(_native.scan("t", ["paid", "item", "event_date"]))

    assert table.column_names == ["paid", "item", "event_date"]
    assert pa.schema(_native.scan("t", ["paid", "item"]).schema).names == ["paid", "item"]
    assert pa.table(_native.scan("t", [])).num_rows == 50


CONDITIONS = [
    (("item", "=", 7), lambda row: row["item"] == 7),
    (("item", "==", 7), lambda row: row["item"] == 7),
    (("item", "!=", 7), lambda row: row["item"] != 7),
    (("user_id", ">", 2), lambda row: row["user_id"] is not None and row["user_id"] > 2),
    (("user_id", "!=", 2), lambda row: row["user_id"] not in (None, 2)),
    (("user_id", "in", [1, 2]), lambda row: row["user_id"] in (1, 2)),
    (("user_id", "not in", (1, 2)), lambda row: row["user_id"] not in (None, 1, 2)),
    (("user_id", "is", None), lambda row: row["user_id"] is None),
    (("song", "is not", None), lambda row: row["song"] is not None),
    (("song", "starts with", "song 1"), lambda row: row["song"] == "song 1"),
    (("song", "<=", "song 1"), lambda row: row["song"] is not None and row["song"] <= "song 1"),
    (("duration", "<", 2), lambda row: row["duration"] < 2),
    (("duration", ">=", 2.5), lambda row: row["duration"] >= 2.5),
    (("paid", "=", True), lambda row: row["paid"]),
    (("event_date", "=", date(2026, 2, 24)), lambda row: row["event_date"] == date(2026, 2, 24)),
    (("event_date", "<", "2026-02-24"), lambda row: row["event_date"] < date(2026, 2, 24)),
    (("event_ts", ">=", NOON), lambda row: row["event_ts"] >= NOON),
    (("event_ts", "<", NOON.astimezone(MET)), lambda row: row["event_ts"] < NOON),
    (("event_ts", "<", "2026-02-23T01:20:00+01:00"), lambda row: row["event_ts"] < NOON),
]


@pytest.mark.parametrize(
    ("condition", "holds"), CONDITIONS, ids=[f"{column} {op} {value}" for (column, op, value), _ in CONDITIONS]
)
def test_a_condition_keeps_the_rows_for_which_it_holds(lake, small_files, condition, holds):
    small_files("t", parts=1)

    table = pa.table(_native.scan("t", filter=[condition]))

    expected = [row for row in lake.rows("t") if holds(row)]
    assert in_order(table) == expected
    assert 0 < len(expected) < 100


def test_all_conditions_must_hold_and_may_be_on_columns_that_are_not_read(lake, small_files):
    small_files("t", parts=1)

    table = pa.table(_native.scan("t", ["item"], [("user_id", "=", 3), ("event_date", "=", "2026-02-23"), ("item", "<", 20)]))

    assert sorted(table["item"].to_pylist()) == [3, 8, 13, 18]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (("colour", "=", 1), "no column `colour` .columns: `event_ts`"),
        (("item", "=", "7"), "column `item` is a int: expected a whole number, got '7'"),
        (("item", "=", True), "expected a whole number, got True"),
        (("item", "=", 2**40), "expected a number of 32 bits"),
        (("song", "=", 7), "expected a text"),
        (("duration", "=", float("nan")), "NaN is equal to nothing"),
        (("event_ts", "=", datetime(2026, 2, 23)), "with a time zone"),
        (("event_date", "=", NOON), "expected a date"),
        (("event_date", "=", "23.02.2026"), "expected a date"),
        (("item", "~", 7), "`~` is not an operator .expected `=`"),
        (("item", "=", None), "nulls are found by `is`"),
        (("item", "is", 7), "goes with None only"),
        (("song", "in", "abc"), "takes a list of values"),
        (("item", "starts with", "7"), "is no text"),
    ],
)
def test_a_condition_that_cannot_be_meant_says_why(small_files, condition, message):
    small_files("t", parts=1)

    with pytest.raises(_native.SettingsError, match=message):
        _native.scan("t", filter=[condition])


@pytest.mark.parametrize(("columns", "message"), [(["item", "colour"], "no column `colour`"), (["item", "item"], "named twice")])
def test_columns_that_cannot_be_meant_are_refused(small_files, columns, message):
    small_files("t", parts=1)

    with pytest.raises(_native.SettingsError, match=message):
        _native.scan("t", columns)


def test_an_older_snapshot_is_read_by_id_tag_or_branch(small_files):
    table = small_files("t", days=1, parts=2)
    [first, second] = [snapshot.snapshot_id for snapshot in table.snapshots()]
    table.manage_snapshots().create_tag(first, "begin").create_branch(second, "work").commit()

    def num_rows(snapshot):
        return pa.table(_native.scan("t", snapshot=snapshot)).num_rows

    assert [num_rows(snapshot) for snapshot in (first, "begin", second, "work", "main", None)] == [50, 50, 100, 100, 100, 100]
    with pytest.raises(_native.TableError, match="no snapshot that is a tag or branch `end`"):
        _native.scan("t", snapshot="end")
    with pytest.raises(_native.TableError, match="no snapshot with the id 7"):
        _native.scan("t", snapshot=7)


def test_a_table_without_rows_has_its_columns(lake):
    lake.create("t")

    scan = _native.scan("t")

    assert pa.table(scan).num_rows == 0
    assert pa.table(scan).column_names == COLUMNS.names
    assert scan.snapshot_id is None


def test_a_column_that_is_younger_than_the_snapshot_is_null(small_files):
    table = small_files("t", days=1, parts=1)
    with table.update_schema() as update:
        from pyiceberg.types import StringType

        update.add_column("genre", StringType())

    rows = pa.table(_native.scan("t", ["genre", "item"]))

    assert rows["genre"].null_count == 50
    [snapshot] = [snapshot.snapshot_id for snapshot in table.snapshots()]
    assert "genre" not in _native.scan("t", snapshot=snapshot).schema.names


def test_a_file_that_is_gone_is_an_error_of_the_reader_and_not_the_end_of_the_rows(small_files, lake):
    small_files("t", days=1, parts=1)
    scan = _native.scan("t")
    for file in (lake.home / "warehouse").rglob("*.parquet"):
        file.unlink()

    with pytest.raises(pa.ArrowException, match="failed to read table `t`") as raised:
        pa.table(scan)
    assert "caused by" in str(raised.value)
