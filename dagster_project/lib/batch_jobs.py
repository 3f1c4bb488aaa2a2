"""The batch jobs as Dagster starts them: from an asset's config to one of two forms.

Either the command line of `streamify-batch`, or a call of `dagster_project._native`, which does the same in this process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import dagster as dg
from pydantic import Field


class Execution(StrEnum):
    """Where a batch job runs. Members are named as they are written in a run's config."""

    binary = "binary"
    in_process = "in_process"


@dataclass(frozen=True)
class BatchJob:
    """One job on one table, in both of its forms.

    Attributes:
        table: the table it changes.
        args: arguments of `streamify-batch`.
        function: the subcommand in snake_case, which is its name in `_native`.
        arguments: keyword arguments there.
        is_dry_run: whether it only says what it would do.
    """

    table: str
    args: Sequence[str]
    function: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    is_dry_run: bool = False


class BatchRunConfig(dg.Config):
    """What all batch jobs can be told; what is not set here follows the environment, then the defaults."""

    execution: Execution = Field(
        Execution.binary,
        description="`binary`: a process of its own (`streamify-batch`), stopped by signals. `in_process`: in the step's.",
    )
    memory_limit: str | None = Field(None, description="Bytes that the job may hold, with a unit, e.g. `256MB`; at least 64MB.")


class SilverRunConfig(BatchRunConfig):
    """Config of a run that brings one silver table up to date."""

    reread: bool = Field(False, description="Read bronze from its beginning, whatever was consumed; rows that are there stay.")
    accept_changes: list[int] = Field(
        [], description="Snapshots of bronze in which another engine changed rows, to be taken as they are."
    )


class SessionsRunConfig(BatchRunConfig):
    """Config of a run that brings the sessions up to date."""

    full: bool = Field(False, description="Compute every session anew, whatever was consumed.")
    accept_changes: list[int] = Field(
        [], description="Snapshots of silver in which another engine changed rows, to be taken as they are."
    )


class RebuildRunConfig(BatchRunConfig):
    """Config of a run that makes days of silver anew."""

    tables: list[str] = Field([], description="Silver tables; empty: all that have a contract.")


def silver_job(table: str, config: SilverRunConfig) -> BatchJob:
    """Takes what is new in bronze into a silver table."""
    args = ["silver", "--tables", table]
    if config.reread:
        args.append("--reread")
    return _job(table, args, "silver", config, {"table": table, "reread": config.reread}, config.accept_changes)


def sessions_job(table: str, config: SessionsRunConfig) -> BatchJob:
    """Brings the sessions up to date with what is new in silver."""
    args = ["sessions", *(["--full"] if config.full else [])]
    return _job(table, args, "sessions", config, {"full": config.full}, config.accept_changes)


def rebuild_job(table: str, days: str, config: RebuildRunConfig) -> BatchJob:
    """Makes days of a silver table anew.

    Args:
        table: the silver table.
        days: `YYYY-MM-DD`, or `YYYY-MM-DD..YYYY-MM-DD` with both ends included.
        config: config of the run.
    """
    return _job(table, ["rebuild", "--days", days, "--tables", table], "silver", config, {"table": table, "rebuild": days})


def _job(
    table: str,
    args: Sequence[str],
    function: str,
    config: BatchRunConfig,
    arguments: Mapping[str, object],
    accepted: Sequence[int] = (),
) -> BatchJob:
    more = ["--accept-change", ",".join(map(str, accepted))] if accepted else []
    more += ["--memory-limit", config.memory_limit] if config.memory_limit else []
    options: dict[str, object] = {"accept_changes": list(accepted)} if accepted else {}
    options |= {"memory_limit": config.memory_limit} if config.memory_limit else {}
    return BatchJob(table, [*args, *more], function, {**arguments, **options})
