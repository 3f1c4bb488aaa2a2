"""What the always-on worker commits, as materializations of the bronze tables."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import dagster as dg
from pyiceberg.table import Table

from dagster_project.lib.bronze_tables import JOB_KEY, table_names
from dagster_project.lib.commit_events import report_new_commits
from dagster_project.lib.lake import Environ, load_table_within
from dagster_project.lib.patience import BACKGROUND

# The daemon evaluates sensors one after the other: a tick that waits holds up all.
SECONDS_PER_TICK = 1.5
# A run reports its commits within half a minute; what it leaves standing for so long, it does not report.
SECONDS_A_RUN_MAY_TAKE = 300
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass
class Seen:
    """What a tick saw.

    Attributes:
        reported: table and number of commits, for each table that had new ones.
        num_tables: tables looked at.
        next_table: where the next tick begins, if this one did not come to the end.
        obstacle: why a table could not be looked at; the last one's reason.
    """

    reported: list[str] = field(default_factory=list)
    num_tables: int = 0
    next_table: str = ""
    obstacle: str = ""

    def told(self, run_id: str | None) -> str:
        """Returns the sentence that the tick leaves behind."""
        parts = [", ".join(self.reported) if self.reported else f"nothing new in {self.num_tables} tables"]
        if run_id:
            parts.append(f"run {run_id} is in progress and reports its commits itself")
        if self.next_table:
            parts.append(f"the next tick goes on with `{self.next_table}`")
        if self.obstacle:
            parts.append(self.obstacle)
        return "; ".join(parts)


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Every minute, what was committed to the bronze tables becomes materializations: commits of the always-on worker, and "
        "what a killed run left unreported. While a run of `bronze_streaming_job` is in progress, that run reports, and this "
        "waits. A tick takes less than two seconds; what it does not get to is left to the next. On by default: without it the "
        "tables of an always-on worker look stale and nothing downstream starts; beside runs alone it costs a look at each table."
    ),
)
def bronze_commits_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Reports new commits of the bronze tables; see the description."""
    run_id = unfinished_run(context.instance)
    seen = report_within(context.instance, os.environ, context.cursor or "", SECONDS_PER_TICK, run_id)
    return dg.SensorResult(skip_reason=seen.told(run_id), cursor=seen.next_table)


def report_within(
    instance: dg.DagsterInstance, environ: Environ, first_table: str, seconds: float, run_id: str | None = None
) -> Seen:
    """Reports one table after the other until the time is over.

    Args:
        instance: gets the events.
        environ: where the lake is.
        first_table: the table to begin with; empty: the first.
        seconds: how long it may take.
        run_id: a run that is expected to report its commits by itself.
    """
    deadline = time.monotonic() + seconds
    settled = int(1000 * (time.time() - SECONDS_A_RUN_MAY_TAKE)) if run_id else None
    seen = Seen()
    for table in _beginning_with(table_names(environ), first_table):
        left = deadline - time.monotonic()
        if left <= 0:
            seen.next_table = table
            break
        load = partial(_load_within, left)
        try:
            event = report_new_commits(instance, environ, table, load=load, settled_before_ms=settled)
        except Exception as error:  # noqa: BLE001  # catalogs raise anything; the other tables have nothing to do with it
            seen.obstacle = f"cannot look at `{table}`: {type(error).__name__}: {error}"
            continue
        seen.num_tables += 1
        if event is not None:
            seen.reported.append(f"{table}: {event.metadata['commits'].value} commits, {event.metadata['rows'].value} rows")
    return seen


def unfinished_run(instance: dg.DagsterInstance) -> str | None:
    """Returns a run that makes `bronze_streaming_job` and has not ended, if there is one."""
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        if JOB_KEY in (run.asset_selection or ()):
            return run.run_id
    # Runs of a job do not name its assets; but the asset knows the run that planned it last.
    for record in instance.get_asset_records([JOB_KEY]):
        last = record.asset_entry.last_run_id
        planned = instance.get_run_by_id(last) if last else None
        if planned is not None and not planned.is_finished:
            return planned.run_id
    return None


def _beginning_with(tables: Sequence[str], first: str) -> Sequence[str]:
    at = tables.index(first) if first in tables else 0
    return [*tables[at:], *tables[:at]]


def _load_within(seconds: float, environ: Environ, table: str) -> Table:
    return load_table_within(BACKGROUND, environ, table, seconds)
