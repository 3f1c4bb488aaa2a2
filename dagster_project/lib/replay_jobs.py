"""Days of bronze read again, as Dagster starts it: the command lines for the days of a run, and what a comparison says.

A replay reads a topic into a staging table of its own. Its name has the run's id, so that no run meets the rows that another
one left, decoded by other contracts; a retried step finds its own and goes on.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from pydantic import Field

from dagster_project.lib.batch_jobs import BatchJob
from dagster_project.lib.batch_reports import Report, Value
from dagster_project.lib.contracts import DEAD_LETTER_TABLE, Contract

REPLAY_KEY = dg.AssetKey("bronze_replay")
#: One replay at a time, as a courtesy to broker and machine; the stream goes on meanwhile.
POOL = "bronze_replay"
DIFFERENCE = ("equal", "differing", "missing", "extra")
COLUMNS = ("rows_before", "rows_after", *DIFFERENCE)


class ReplayConfig(dg.Config):
    """Config of a run that reads days of bronze again."""

    topics: list[str] = Field([], description="Topics to read again; empty: all whose bronze table holds rows.")
    dry_run: bool = Field(False, description="Compare only: nothing is swapped, and no day counts as materialized.")
    accept_loss: bool = Field(False, description="Let rows go that only the bronze table has.")
    keep_staging: bool = Field(False, description="Keep the staging tables, to look at them.")
    memory_limit: str | None = Field(None, description="Bytes that a swap may hold, with a unit, e.g. `256MB`; at least 64MB.")


@dataclass(frozen=True)
class Compared:
    """Rows of a range in two tables, by their place in Kafka and their payload.

    Attributes:
        equal: in both, alike.
        differing: in both, with another payload.
        missing: only read again; bronze lacks them.
        extra: only in bronze; a swap would lose them.
    """

    equal: int = 0
    differing: int = 0
    missing: int = 0
    extra: int = 0

    def __add__(self, other: "Compared") -> "Compared":
        return Compared(*(getattr(self, name) + getattr(other, name) for name in DIFFERENCE))

    @property
    def rows_before(self) -> int:
        """Rows of the range that bronze had."""
        return self.equal + self.differing + self.extra

    @property
    def rows_after(self) -> int:
        """Rows of the range once they are swapped in."""
        return self.equal + self.differing + self.missing

    @property
    def is_equal(self) -> bool:
        """Whether a swap would change nothing."""
        return not (self.differing or self.missing or self.extra)

    def figures(self) -> dict[str, int]:
        """All counts, by their names in Dagster."""
        return {name: getattr(self, name) for name in COLUMNS}


@dataclass(frozen=True)
class Replay:
    """One topic's range read again."""

    topic: str
    table: str
    staging: str

    @property
    def tables(self) -> Sequence[str]:
        """The tables that it makes."""
        return [self.staging, f"{self.staging}_{DEAD_LETTER_TABLE}"]


def replays_of(contracts: Iterable[Contract], run_id: str) -> Sequence[Replay]:
    """Returns a replay for each contract, with staging tables that no other run has."""
    return [Replay(one.topic, one.table, f"replay_{one.topic}_{run_id.partition('-')[0]}") for one in contracts]


def replay_args(replay: Replay, days: str) -> Sequence[str]:
    """Returns the arguments of `streamify-stream` that read the days (`first..last` or one) into the staging table."""
    return ["--topics", replay.topic, "--replay-into", replay.staging, "--event-times", days]


def swap_job(replay: Replay, config: ReplayConfig, *, dry_run: bool) -> BatchJob:
    """Compares a staging table with its bronze table; unless it is a dry run, puts its rows in place."""
    args = ["swap", replay.staging, *(["--dry-run"] if dry_run else [])]
    args += ["--accept-loss"] if config.accept_loss else []
    return BatchJob(replay.table, [*args, *memory_args(config.memory_limit)], "swap", is_dry_run=dry_run, in_native=False)


def run_metadata(reports: Sequence[Report], days: str, staging_tables: Iterable[str]) -> dict[str, Value]:
    """Returns the metadata that all days of a run share; the counts are not among it, because each day has its own."""
    snapshots = {str(report["target"]): str(report["snapshot_id"]) for report in reports if report.get("snapshot_id")}
    return {
        "replayed_days": dg.MetadataValue.text(days),
        "days": comparison_metadata(reports)["days"],
        "snapshot_ids": dg.MetadataValue.json(snapshots),
        "staging_tables": dg.MetadataValue.json(list(staging_tables)),
    }


def compared_in(report: Report) -> Compared:
    """Returns what a swap found in all of its range."""
    return _compared(report.get("total"))


def compared_by_day(reports: Iterable[Report], days: Iterable[str]) -> Mapping[str, Compared]:
    """Returns what swaps of several tables found on each of these days (and in `none`, for a table without partitions)."""
    by_day = dict.fromkeys(days, Compared())
    for report in reports:
        for day, found in _by_day(report).items():
            by_day[day] = by_day.get(day, Compared()) + found
    return by_day


def comparison_metadata(reports: Sequence[Report]) -> dict[str, Value]:
    """Returns what the comparisons of a run said: sums, and a row for each day and table."""
    total = sum((compared_in(report) for report in reports), Compared())
    rows = [
        dg.TableRecord({"day": day, "table": str(report["target"]), **found.figures()})
        for report in reports
        for day, found in _by_day(report).items()
    ]
    columns = [dg.TableColumn("day", "string"), dg.TableColumn("table", "string")]
    schema = dg.TableSchema([*columns, *(dg.TableColumn(name, "int") for name in COLUMNS)])
    counts = {name: dg.MetadataValue.int(count) for name, count in total.figures().items()}
    return {**counts, "days": dg.MetadataValue.table(sorted(rows, key=lambda row: str(row.data)), schema)}


def memory_args(limit: str | None) -> Sequence[str]:
    """Returns the arguments that set a job's memory limit."""
    return ["--memory-limit", limit] if limit else []


def _by_day(report: Report) -> Mapping[str, Compared]:
    days: dict[str, Compared] = {}
    for partition, counts in mapping(report.get("partitions")).items():
        day = partition[: len("YYYY-MM-DD")]
        days[day] = days.get(day, Compared()) + _compared(counts)
    return days


def _compared(counts: object) -> Compared:
    return Compared(**{name: int(str(count)) for name, count in mapping(counts).items()})


def mapping(value: object) -> Mapping[str, object]:
    """Returns a part of a report that holds values by name; empty if it is not there."""
    return value if isinstance(value, Mapping) else {}
