"""How often columns are null, against the bounds in `null_shares.toml`."""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dagster_project.lib.checks.verdict import Look, Verdict, one_row
from dagster_project.lib.contracts import Column
from dagster_project.lib.rows import open_rows

BOUNDS_FILE = Path(__file__).with_name("null_shares.toml")
ALL_TABLES = "*"
NUM_DEVIATIONS = 4


@dataclass(frozen=True)
class Bound:
    """The shares of nulls that are right for a column, 0 to 1, both ends included."""

    least: float
    most: float
    reason: str

    def room(self, num_rows: int) -> tuple[float, float]:
        """Returns both ends with the room that chance needs in `num_rows` rows."""
        low = self.least - NUM_DEVIATIONS * math.sqrt(self.least * (1 - self.least) / num_rows)
        high = self.most + NUM_DEVIATIONS * math.sqrt(self.most * (1 - self.most) / num_rows)
        return max(low, 0.0), min(high, 1.0)


def load_bounds(table: str, columns: Sequence[Column], path: Path = BOUNDS_FILE) -> Mapping[str, Bound]:
    """Returns the bounds of a table's columns; those without any are left out."""
    bounds = {column.name: Bound(0, 0, "the table's schema does not allow it") for column in columns if not column.nullable}
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["bounds"]
    for entry in sorted(entries, key=lambda entry: entry["table"] != ALL_TABLES):
        if entry["table"] in (ALL_TABLES, table):
            bound = Bound(entry.get("min", 0.0), entry.get("max", 1.0), entry["reason"])
            bounds |= dict.fromkeys(entry["columns"], bound)
    names = {column.name for column in columns}
    return {name: bound for name, bound in bounds.items() if name in names}


def null_shares_are_within_bounds(look: Look, table: str, columns: Sequence[Column]) -> Verdict:
    """No column is null more often, or less often, than it should be."""
    bounds = load_bounds(table, columns)
    names = [column.name for column in columns]
    counts = ", ".join(f'count("{name}") AS "{name}"' for name in names)
    with look.database(silver=open_rows(look.environ, table, names, look.only("event_date"))) as database:
        found = one_row(database, f"SELECT count(*) AS row_count, {counts} FROM silver")
    num_rows = found["row_count"]
    if num_rows == 0:
        return Verdict(passed=True, text="no rows", metadata={"value": 0, "limit": 0, "row_count": 0})
    shares = {name: 1 - found[name] / num_rows for name in names}
    outside = []
    for name, bound in bounds.items():
        low, high = bound.room(num_rows)
        if not low <= shares[name] <= high:
            limits = {"min": bound.least, "max": bound.most, "reason": bound.reason}
            outside.append({"column": name, "null_share": shares[name], **limits})
    return Verdict(
        passed=not outside,
        text=f"{len(outside)} of {len(bounds)} columns with a bound are null too often or too rarely, in {num_rows:,} rows",
        metadata={
            "value": len(outside),
            "limit": 0,
            "row_count": num_rows,
            **{f"null_share_{name}": shares[name] for name, bound in bounds.items() if bound.most > 0},
        },
        offending=outside,
    )
