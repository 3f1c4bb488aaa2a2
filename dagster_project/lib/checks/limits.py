"""The limits in `limits.toml`, by name and table."""

import tomllib
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import dagster as dg

LIMITS_FILE = Path(__file__).with_name("limits.toml")


@dataclass(frozen=True)
class Limit:
    """A limit, its unit and why it is what it is."""

    value: float
    unit: str
    reason: str

    @property
    def metadata(self) -> dict[str, float | str]:
        """What a check shows of it."""
        return {"limit": self.value, "unit": self.unit, "reason": self.reason}


def limit(name: str, table: str = "", path: Path = LIMITS_FILE) -> Limit:
    """Returns the limit of that name for a table.

    Raises:
        LookupError: the file has none.
    """
    found = [of for named, patterns, of in _entries(path) if named == name and any(fnmatchcase(table, one) for one in patterns)]
    if not found:
        raise LookupError(f"no limit `{name}` for table `{table}` in `{path}`")
    return found[-1]


def freshness_policy(table: str) -> dg.FreshnessPolicy:
    """Returns how long a table may go without a materialization."""
    warn, fail = (timedelta(seconds=limit(name, table).value) for name in ("fresh_warn_seconds", "fresh_fail_seconds"))
    return dg.FreshnessPolicy.time_window(fail_window=fail, warn_window=warn)


@cache
def _entries(path: Path) -> tuple[tuple[str, tuple[str, ...], Limit], ...]:
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["limits"]
    return tuple(
        (entry["name"], tuple(entry["tables"]), Limit(float(entry["value"]), entry["unit"], entry["reason"])) for entry in entries
    )
