"""The batch jobs as a resource: as a process over Pipes, or in this process, with the same report."""

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from dagster_project.lib.batch_jobs import BatchJob, Execution
from dagster_project.lib.batch_reports import Report, metadata_of_all
from dagster_project.lib.paths import BinaryNotFoundError, find_binary, streamify_home
from dagster_project.resources.in_process import run_in_process
from dagster_project.resources.pipes.client import StreamifyPipesClient
from dagster_project.resources.pipes.results import keep_results
from dagster_project.resources.stream_worker import new_reader


class BatchRunner(dg.ConfigurableResource[object]):
    """Runs batch jobs.

    Attributes:
        binary: file name of the batch program.
        seconds_per_stop_step: time it gets after SIGINT, and again after SIGTERM; it needs at most 2 s.
    """

    binary: str = "streamify-batch"
    seconds_per_stop_step: float = 10.0

    def run(self, context: dg.AssetExecutionContext, jobs: Sequence[BatchJob], execution: Execution) -> Sequence[Report]:
        """Runs jobs one after the other and returns their reports.

        If one fails, or the run is stopped, what those before it did is recorded all the same: it was committed.

        Raises:
            dagster.Failure: a job did not end well, or there is no binary.
        """
        reports: list[Report] = []
        try:
            for job in jobs:
                if execution is Execution.in_process:
                    run_in_process(context, job, {"STREAMIFY_HOME": str(streamify_home(os.environ))}, reports.append)
                else:
                    reports.append(self._run_binary(context, job))
        except BaseException:
            changes = [report for report in reports if not report.get("dry_run")]
            if changes:
                kept = dg.MaterializeResult[None](asset_key=context.asset_key, metadata=metadata_of_all(changes))
                keep_results(context, [kept])
            raise
        return reports

    def _run_binary(self, context: dg.AssetExecutionContext, job: BatchJob) -> Report:
        try:
            binary = find_binary(self.binary, os.environ)
        except BinaryNotFoundError as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error
        client = StreamifyPipesClient(
            new_reader=new_reader,
            seconds_per_stop_step=self.seconds_per_stop_step,
            env={"STREAMIFY_HOME": str(streamify_home(os.environ))},
        )
        with tempfile.TemporaryDirectory(prefix="streamify-batch-") as folder:
            summary = Path(folder) / "summary.json"
            command = [str(binary), *job.args, "--summary-json", str(summary)]
            # A dry run changes nothing, so it reports no materialization.
            client.run(context=context, command=command, makes_asset=not job.is_dry_run)
            return _read_summary(summary, job)


def _read_summary(path: Path, job: BatchJob) -> Report:
    try:
        tables = json.loads(path.read_text(encoding="utf-8"))["tables"]
        [report] = [table for table in tables if table["table"] == job.table]
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        text = f"`streamify-batch {' '.join(job.args)}` ended with code 0 but its summary says nothing of `{job.table}`"
        raise dg.Failure(description=text, metadata={"error": str(error)}) from error
    typed: Report = report
    return typed
