"""Days of bronze read again, as Dagster starts it: the command lines for the days of a run, and what a comparison says.

A replay reads a topic into a staging table of its own. Its name has the run's id, so that no run meets the rows that another
one left, decoded by other contracts; a retried step finds its own and goes on.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from pydantic import Field

from dagster_project.lib.batch_jobs import BatchJob, BatchRunConfig
from dagster_project.lib.batch_reports import Report, Value
from dagster_project.lib.contracts import DEAD_LETTER_TABLE, Contract

REPLAY_KEY = dg.AssetKey("bronze_replay")
#: One replay at a time, as a courtesy to broker and machine; the stream goes on meanwhile.
POOL = "bronze_replay"
DIFFERENCE = ("equal", "differing", "missing", "extra")
COLUMNS = ("rows_before", "rows_after", *DIFFERENCE)


class ReplayConfig(BatchRunConfig):
    """Config of a run that reads days of bronze again."""

    topics: list[str] = Field([], description="Topics to read again; empty: all whose bronze table holds rows.")
    dry_run: bool = Field(False, description="Compare only: nothing is swapped, and no day counts as materialized.")
    accept_loss: bool = Field(False, description="Let rows go that only the bronze table has.")
    keep_staging: bool = Field(False, description="Keep the staging tables, to look at them.")


@dataclass(frozen=True, order=True)
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


def staging_tables(replays: Iterable[Replay]) -> Sequence[str]:
    """Returns all tables that replays make."""
    return [table for one in replays for table in one.tables]


def replay_args(replay: Replay, days: str) -> Sequence[str]:
    """Returns the arguments of `streamify-stream` that read the days (`first..last` or one) into the staging table."""
    return ["--topics", replay.topic, "--replay-into", replay.staging, "--event-times", days]


def swap_job(replay: Replay, config: ReplayConfig, *, dry_run: bool) -> BatchJob:
    """Compares a staging table with its bronze table; unless it is a dry run, puts its rows in place."""
    args = ["swap", replay.staging, *(["--dry-run"] if dry_run else [])]
    args += ["--accept-loss"] if config.accept_loss else []
    args += memory_args(config.memory_limit)
    arguments: dict[str, object] = {"staging": replay.staging, "accept_loss": config.accept_loss, "dry_run": dry_run}
    arguments |= {"memory_limit": config.memory_limit} if config.memory_limit else {}
    return BatchJob(replay.table, args, "swap", arguments, is_dry_run=dry_run)


def compared_in(report: Report) -> Compared:
    """Returns what a swap found in all of its range."""
    return _compared(report.get("total"))


def snapshot_ids(reports: Iterable[Report]) -> dict[str, str]:
    """Returns the snapshots that swaps made, by table."""
    return {str(report["target"]): str(report["snapshot_id"]) for report in reports if report.get("snapshot_id")}


def day_metadata(reports: Iterable[Report], day: str) -> dict[str, Value]:
    """Returns what the comparisons of a run said of one day: sums, and a row for each table."""
    found = {str(report["target"]): _by_day(report).get(day, Compared()) for report in reports}
    rows: list[dict[str, str | int]] = [{"table": table, **one.figures()} for table, one in sorted(found.items())]
    return {**_sums(found.values()), "tables": _table(["table"], rows)}


def run_metadata(reports: Iterable[Report]) -> dict[str, Value]:
    """Returns what the comparisons of a run said of all days: sums, and a row for each day and table."""
    found = sorted((day, str(report["target"]), one) for report in reports for day, one in _by_day(report).items())
    rows: list[dict[str, str | int]] = [{"day": day, "table": table, **one.figures()} for day, table, one in found]
    return {**_sums(one for _, _, one in found), "days": _table(["day", "table"], rows)}


def memory_args(limit: str | None) -> Sequence[str]:
    """Returns the arguments that set a job's memory limit."""
    return ["--memory-limit", limit] if limit else []


def _sums(found: Iterable[Compared]) -> dict[str, Value]:
    total = sum(found, Compared())
    return {name: dg.MetadataValue.int(count) for name, count in total.figures().items()}


def _table(texts: Sequence[str], rows: Iterable[Mapping[str, str | int]]) -> Value:
    columns = [dg.TableColumn(name, "string") for name in texts] + [dg.TableColumn(name, "int") for name in COLUMNS]
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows], dg.TableSchema(columns))


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
