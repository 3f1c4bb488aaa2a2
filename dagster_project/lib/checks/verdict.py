"""What a check found, and what every check needs to look."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from dagster_project.lib.lake import Environ
from dagster_project.lib.rows import Condition

#: How many offending rows a verdict names.
NUM_SHOWN = 5


@dataclass(frozen=True)
class Verdict:
    """Whether a rule holds.

    Attributes:
        passed: whether it does.
        text: what was found, in a sentence.
        metadata: `value` and `limit`, and what helps to understand them.
        offending: up to `NUM_SHOWN` rows that break the rule.
        is_warning: whether a verdict that did not pass stops nothing.
    """

    passed: bool
    text: str
    metadata: Mapping[str, int | float | str] = field(default_factory=dict)
    offending: Sequence[Mapping[str, str | int | float | bool | None]] = ()
    is_warning: bool = False


@dataclass(frozen=True)
class Look:
    """How checks look at the lake.

    Attributes:
        environ: where the lake is.
        days: only these days, `YYYY-MM-DD`; all of them if `None`.
        memory_limit: what a query may hold, with a unit; what is more goes to disk.
        sample: how many people are looked at where not all are.
    """

    environ: Environ
    days: Sequence[str] | None = None
    memory_limit: str = "512MB"
    sample: int = 50

    def only(self, column: str) -> Sequence[Condition]:
        """Returns the condition that a day is one of `days`."""
        return [] if self.days is None else [(column, "in", list(self.days))]

    @contextmanager
    def database(self, **streams: object) -> Iterator[duckdb.DuckDBPyConnection]:
        """A database in memory, with Arrow streams as its tables; each can be read by one query."""
        with TemporaryDirectory(prefix="streamify-checks-") as folder:
            settings = {"memory_limit": self.memory_limit, "temp_directory": folder, "TimeZone": "UTC"}
            with duckdb.connect(":memory:") as connection:
                for name, value in settings.items():
                    connection.execute(f"SET {name} = '{value}'")
                for name, stream in streams.items():
                    connection.register(name, stream)
                yield connection


def one_row(connection: duckdb.DuckDBPyConnection, query: str) -> Mapping[str, Any]:
    """Returns the only row of a query, by column."""
    cursor = connection.execute(query)
    names = [column[0] for column in cursor.description or []]
    row = cursor.fetchone()
    return dict(zip(names, row or (), strict=True))


def all_rows(connection: duckdb.DuckDBPyConnection, query: str) -> Sequence[Mapping[str, Any]]:
    """Returns the rows of a query that is known to have few, by column."""
    cursor = connection.execute(query)
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
