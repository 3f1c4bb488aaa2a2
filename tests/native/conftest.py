"""A lake on disk, filled by PyIceberg: the second opinion on everything that the Rust side reads and writes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import BooleanType, DateType, DoubleType, IntegerType, LongType, NestedField, StringType, TimestamptzType
from sqlalchemy import NullPool, create_engine

FIRST_DAY = datetime(2026, 2, 23, tzinfo=UTC)
SCHEMA = Schema(
    NestedField(1, "event_ts", TimestamptzType(), required=True),
    NestedField(2, "event_date", DateType()),
    NestedField(3, "user_id", LongType()),
    NestedField(4, "item", IntegerType()),
    NestedField(5, "song", StringType()),
    NestedField(6, "duration", DoubleType()),
    NestedField(7, "paid", BooleanType()),
)
COLUMNS = SCHEMA.as_arrow()


@dataclass(frozen=True)
class LocalLake:
    """A catalog and a warehouse in a folder."""

    home: Path
    catalog: SqlCatalog

    @property
    def env(self) -> dict[str, str]:
        """The variables that lead there."""
        return {"STREAMIFY_HOME": str(self.home)}

    def create(self, name: str) -> Table:
        """An empty table, partitioned by day."""
        spec = PartitionSpec(PartitionField(source_id=2, field_id=1000, transform=IdentityTransform(), name="event_date"))
        return self.catalog.create_table(f"streamify.{name}", SCHEMA, partition_spec=spec, properties={"format-version": "2"})

    def table(self, name: str) -> Table:
        """A table as it stands."""
        return self.catalog.load_table(f"streamify.{name}")

    def rows(self, name: str) -> list[dict[str, object]]:
        """All rows, in an order that does not depend on the files."""
        return in_order(self.table(name).scan().to_arrow())


def in_order(table: pa.Table) -> list[dict[str, object]]:
    """Rows by their key."""
    return sorted(table.to_pylist(), key=lambda row: (row["event_ts"], row["user_id"] or -1, row["item"]))


def events(day: int, part: int, count: int = 50) -> pa.Table:
    """Rows of one day; every part has others. Some values are null."""
    start = FIRST_DAY + timedelta(days=day, seconds=part)
    rows = [
        {
            "event_ts": start + timedelta(minutes=number),
            "event_date": date(2026, 2, 23) + timedelta(days=day),
            "user_id": None if number % 7 == 0 else number % 5,
            "item": number,
            "song": None if number % 11 == 0 else f"song {number % 3}",
            "duration": number / 4,
            "paid": number % 2 == 0,
        }
        for number in range(count)
    ]
    return pa.Table.from_pylist(rows, schema=COLUMNS)


@pytest.fixture
def lake(clean_environment: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalLake]:
    """An empty lake; the environment leads to it."""
    home = tmp_path / "home"
    home.mkdir()
    clean_environment.setenv("STREAMIFY_HOME", str(home))
    catalog = SqlCatalog("lakehouse", uri=f"sqlite:///{home}/catalog.db", warehouse=f"file://{home}/warehouse")
    # No connection stays open: `_native` has an SQLite of its own, and closing a file in one releases the locks of the other.
    catalog.engine = create_engine(catalog.properties["uri"], poolclass=NullPool)
    catalog.create_namespace("streamify")
    yield LocalLake(home, catalog)
    catalog.close()


@pytest.fixture
def small_files(lake: LocalLake) -> Callable[..., Table]:
    """`small_files(name, days=2, parts=5)`: a table with that many files per day."""

    def make(name: str, days: int = 2, parts: int = 5) -> Table:
        table = lake.create(name)
        for part in range(parts):
            table.append(pa.concat_tables([events(day, part) for day in range(days)]))
        return table

    return make
