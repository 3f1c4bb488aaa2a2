"""Silver and sessions in process; what their rows must be is tested in Rust."""

from datetime import date, timedelta

import pyarrow as pa
import pytest
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DateType, DoubleType, IntegerType, LongType, NestedField, StringType, TimestamptzType

from dagster_project import _native
from dagster_project.lib.contracts import load_contracts
from dagster_project.lib.paths import contracts_folder
from tests.native.conftest import FIRST_DAY

TYPES = {
    "string": StringType(),
    "long": LongType(),
    "int": IntegerType(),
    "double": DoubleType(),
    "date": DateType(),
    "timestamptz": TimestamptzType(),
}


@pytest.fixture
def bronze(lake):
    """A bronze table of listen_events with ten deliveries of nine events; returns it."""
    [contract] = [contract for contract in load_contracts(contracts_folder({})) if contract.table == "bronze_listen_events"]
    fields = [
        NestedField(number, column.name, TYPES[column.type], required=not column.nullable)
        for number, column in enumerate(contract.columns, start=1)
    ]
    schema = Schema(*fields)
    day = next(field.field_id for field in fields if field.name == "event_date")
    spec = PartitionSpec(PartitionField(source_id=day, field_id=1000, transform=IdentityTransform(), name="event_date"))
    table = lake.catalog.create_table(f"streamify.{contract.table}", schema, partition_spec=spec)
    table.append(
        pa.Table.from_pylist([delivery(schema, offset, min(offset, 8)) for offset in range(10)], schema=schema.as_arrow())
    )
    return table


def delivery(schema, offset, event):
    """A row: event number `event`, delivered at `offset`."""
    empty = {StringType(): "x", LongType(): 1, IntegerType(): 0, DoubleType(): 1.5, DateType(): date(2026, 2, 23)}
    at = FIRST_DAY + timedelta(minutes=event)
    row = {field.name: empty.get(field.field_type, at) for field in schema.fields}
    row |= {"_run_id": None, "_extras": None, "ts": int(at.timestamp() * 1000), "_kafka_offset": offset}
    return row | {"event_id": f"{event:032x}", "userId": 7, "sessionId": 1, "itemInSession": event}


def test_silver_and_sessions_take_what_is_new_and_then_nothing(bronze):
    report = _native.silver("listen_events")

    assert (report["table"], report["rows_in"], report["rows_out"]) == ("silver_listen_events", 10, 9)
    assert report["days"] == ["2026-02-23"]
    assert pa.table(_native.scan("silver_listen_events", ["event_id"])).num_rows == 9
    assert _native.silver("bronze_listen_events")["snapshot_id"] is None

    sessions = _native.sessions()

    assert sessions["rows_out"] == 1
    [session] = pa.table(_native.scan("silver_user_sessions", ["user_id", "listen_count", "duration_ms"])).to_pylist()
    assert session == {"user_id": 7, "listen_count": 9, "duration_ms": 8 * 60_000}
    assert _native.sessions()["snapshot_id"] is None


def test_a_day_is_rebuilt_in_its_place(bronze):
    _native.silver("silver_listen_events")
    before = pa.table(_native.scan("silver_listen_events", ["event_id"])).sort_by("event_id")

    report = _native.silver("silver_listen_events", rebuild=[date(2026, 2, 23)])

    assert report["rows_out"] == 9
    assert pa.table(_native.scan("silver_listen_events", ["event_id"])).sort_by("event_id") == before


def test_a_table_that_silver_does_not_make_is_refused_with_those_it_makes(lake):
    with pytest.raises(_native.SettingsError, match=r"silver_auth_events.*silver_listen_events"):
        _native.silver("gold_listen_events")
