"""Table care as Dagster starts it: compaction, manifests, expiry, then the search for orphans, by the settings of a run."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from pydantic import Field

from dagster_project.lib.batch_jobs import BatchJob, BatchRunConfig
from dagster_project.lib.batch_reports import Report
from dagster_project.lib.lake import Figures

GROUP = "maintenance"
#: One run of care at a time, as a courtesy to the machine; tables may be written meanwhile.
POOL = "table_care"


class CareConfig(BatchRunConfig):
    """Config of one run of table care."""

    compact: bool = Field(True, description="Rewrite small data files into few large ones.")
    small_below: float = Field(0.75, description="A file is small below this part of the table's target file size; (0, 1].")
    min_files: int = Field(5, description="A day with fewer small files is left alone; at least 2.")
    manifests: bool = Field(True, description="Sort manifests by day, so that readers of few days read few of them.")
    min_manifests: int = Field(
        16, description="A table with fewer manifests, and none far larger than the others, is left alone; at least 2.", ge=2
    )
    expire: bool = Field(True, description="Remove old snapshots, and the files that only they needed.")
    expire_older_than_hours: float | None = Field(
        None, description="Younger snapshots stay; by the table's properties (else 120 hours) if not set."
    )
    expire_keep: int | None = Field(
        None, description="So many snapshots of each branch stay at least; by the table's properties (else 1) if not set."
    )
    orphans: bool = Field(True, description="Look for files that no snapshot knows.")
    delete_orphans: bool = Field(False, description="Delete them, too; otherwise they are only counted.")
    orphans_older_than_hours: float = Field(
        72, description="Younger files are left alone, because a writer may be about to commit them; at least 1.", ge=1
    )


def care_asset_name(table: str) -> str:
    """Returns the name of the asset that takes care of `table`."""
    return f"{table}_care"


def care_jobs(table: str, config: CareConfig) -> Sequence[BatchJob]:
    """Returns the jobs of a run, in the order in which each leaves the next one something to do."""
    jobs = []
    if config.compact:
        options = {"small_below": config.small_below, "min_files": config.min_files, "memory_limit": config.memory_limit}
        jobs.append(_job(table, "compact", options))
    if config.manifests:
        jobs.append(_job(table, "rewrite-manifests", {"min_manifests": config.min_manifests}))
    if config.expire:
        older_than = None if config.expire_older_than_hours is None else timedelta(hours=config.expire_older_than_hours)
        jobs.append(_job(table, "expire", {"older_than": older_than, "keep": config.expire_keep}))
    if config.orphans:
        older_than = timedelta(hours=config.orphans_older_than_hours)
        jobs.append(_job(table, "remove-orphans", {"older_than": older_than, "delete": config.delete_orphans}))
    return jobs


def care_metadata(before: Figures, after: Figures, reports: Mapping[str, Report]) -> dict[str, int | float]:
    """Returns what a run changed, as plain numbers, so that Dagster plots them over time.

    Args:
        before: the table before the run.
        after: the table after it; a writer may have added to it meanwhile.
        reports: what the jobs reported, by function.
    """
    figures: dict[str, int | float] = {"dagster/row_count": after.rows}
    for name in ("files", "bytes", "snapshots"):
        figures |= {f"{name}_before": getattr(before, name), f"{name}_after": getattr(after, name)}
    for function, report in reports.items():
        figures |= _FIGURES[function](report)
    return figures


def _job(table: str, command: str, options: Mapping[str, object]) -> BatchJob:
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    args = [command, "--tables", table]
    for name, value in given.items():
        args += [f"--{name.replace('_', '-')}", *([] if value is True else [_flag(value)])]
    function = command.replace("-", "_")
    is_dry_run = command == "remove-orphans" and "delete" not in given
    return BatchJob(table, args, function, {"table": table, **given}, is_dry_run=is_dry_run)


def _flag(value: object) -> str:
    return f"{value.total_seconds():.0f}s" if isinstance(value, timedelta) else str(value)


def _compacted(report: Report) -> dict[str, int | float]:
    names = ("partitions", "partitions_left", "files_rewritten", "files_added", "bytes_rewritten", "bytes_added", "seconds")
    return {f"compact_{name}": _number(report, name) for name in names}


def _rewritten(report: Report) -> dict[str, int | float]:
    return {name: _number(report, name) for name in ("manifests_before", "manifests_after")}


def _expired(report: Report) -> dict[str, int | float]:
    removed = report.get("removed")
    kept = report.get("kept")
    files, size = _tally(report.get("deleted"))
    return {
        "expire_snapshots_kept_for_readers": _kept_for_readers(kept if isinstance(kept, Mapping) else {}),
        "expire_snapshots_removed": len(removed) if isinstance(removed, Sequence) else 0,
        "expire_files_deleted": files,
        "expire_bytes_deleted": size,
    }


def _kept_for_readers(kept: Mapping[str, int]) -> int:
    """Counts the snapshots that silver or sessions still need: each reader all from its place on, so the last one tells."""
    return max((count for reason, count in kept.items() if reason.startswith("consumer ")), default=0)


def _orphaned(report: Report) -> dict[str, int | float]:
    files, size = _tally(report.get("orphans"))
    is_deleted = not report.get("dry_run")
    return {
        "orphans_found": files,
        "orphans_found_bytes": size,
        "orphans_deleted": files if is_deleted else 0,
        "orphans_deleted_bytes": size if is_deleted else 0,
    }


_FIGURES = {"compact": _compacted, "rewrite_manifests": _rewritten, "expire": _expired, "remove_orphans": _orphaned}


def _tally(by_kind: object) -> tuple[int, int]:
    """Sums `{kind: {"files": …, "bytes": …}}`."""
    tallies = list(by_kind.values()) if isinstance(by_kind, Mapping) else []
    return sum(tally["files"] for tally in tallies), sum(tally["bytes"] for tally in tallies)


def _number(report: Report, name: str) -> int | float:
    value = report.get(name)
    return value if isinstance(value, int | float) else 0


def description(table: str) -> str:
    """Returns the description of a table's care."""
    return (
        f"Keeps `{table}` small and quick to read; its rows stay the same.\n\nSmall files of a day become large, sorted ones; "
        "many manifests become few, sorted by day; then old snapshots go, with the files that only they needed, but none that a "
        "consumer still has to read; then files that no snapshot knows are looked for (and deleted only if the config says so). "
        "Writers go on meanwhile.\n\nMetadata: files, bytes, snapshots and manifests before and after, and what each step did, "
        "all as plain numbers."
    )
