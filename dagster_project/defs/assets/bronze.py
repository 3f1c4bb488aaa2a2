"""Bronze: the bounded run of the stream worker."""

import os
from importlib.metadata import version

import dagster as dg

from dagster_project.lib.attach import Attached, AttachError, wait_until_caught_up
from dagster_project.lib.bronze_tables import GROUP, OWNERS, table_names
from dagster_project.lib.durations import seconds_of
from dagster_project.lib.leases import explain_lease
from dagster_project.lib.worker_args import AlwaysOn, StreamRunConfig, needs_own_worker, worker_args
from dagster_project.lib.worker_process import LockedError
from dagster_project.lib.worker_report import worker_metadata
from dagster_project.lib.worker_status import worker_url
from dagster_project.resources.live_reports import LiveReports
from dagster_project.resources.pipes.session import SessionJournal
from dagster_project.resources.stream_worker import StreamWorker
from dagster_project.resources.worker_outcome import WorkerServiceError, when_answering
from dagster_project.resources.worker_service import WorkerService

SECONDS_TO_FIND_IT = 2.0
#: How long the always-on worker may store nothing while a run waits for it.
PATIENCE_SECONDS = 600.0


@dg.asset(
    group_name=GROUP,
    kinds={"rust", "kafka", "iceberg"},
    owners=OWNERS,
    tags={"layer": "bronze"},
    pool="bronze_stream",
    code_version=version("streamify"),
)
def bronze_streaming_job(
    context: dg.AssetExecutionContext, config: StreamRunConfig, stream_worker: StreamWorker, worker_service: WorkerService
) -> dg.MaterializeResult[None]:
    """A bounded run of the stream worker: everything new in the Kafka topics, landed in the bronze tables.

    Each record is stored exactly once; offsets live in the tables, so a run goes on where the last commit ended, whoever made
    it. What cannot be decoded goes to `bronze_dead_letters`. Cancelling stops the worker within seconds, and what it had
    committed stays recorded.

    **Beside the always-on worker** (config `worker`). One writer at a time holds a table, so by default (`AUTO`) a run looks
    first: if the always-on worker runs, it starts no second one but waits until everything that is in the topics now is in the
    tables, and shows that worker's figures. So the same command is right on a laptop and beside a service, and what comes after
    it finds the same rows. `OWN` starts a worker in any case (exit code 3 if the tables are held), `ATTACH` only waits, `STOP`
    stops the always-on worker first, `RESTART` restarts it and waits. Cancelling a run that waits leaves that worker alone.

    Metadata: `rows`, `dead_letters`, `received`, `skipped_by_broker` and `unaccounted` are records (the ledger: `unaccounted` =
    `received` - `rows` - `dead_letters`, always 0); `size_bytes` bytes; `seconds` and `freshness_seconds` seconds; `topics` has
    one row per topic, `offsets` one per topic-partition (`from` inclusive, `to` exclusive). A run that waited has `attached_to`;
    its `rows` and `dead_letters` were stored while it waited, its table `topics` counts since that worker's start.

    Exit codes of the worker: 1 failure (run again), 2 bad settings, 3 a decision is needed (see the message).
    """
    if _is_left_to_always_on(context, config, worker_service):
        return _wait_for_always_on(context, config)
    try:
        results = stream_worker.run(context, worker_args(config))
    except dg.Failure as failure:
        if (explained := explain_lease(failure, os.environ)) is not None:
            raise explained from failure
        raise
    return next(result for result in results if isinstance(result, dg.MaterializeResult))


def _is_left_to_always_on(context: dg.AssetExecutionContext, config: StreamRunConfig, service: WorkerService) -> bool:
    """Does what the config says about the always-on worker; returns whether it is to be waited for."""
    try:
        match config.worker:
            case AlwaysOn.OWN:
                return False
            case AlwaysOn.STOP:
                context.log.info(service.stop().did)
                return False
            case AlwaysOn.RESTART:
                context.log.info(service.restart().did)
    except (WorkerServiceError, LockedError) as error:
        raise dg.Failure(description=str(error)) from error
    running = when_answering(os.environ, SECONDS_TO_FIND_IT)
    if running is not None and running.is_always_on:
        _refuse_what_it_cannot_be_told(config)
        return True
    if config.worker is AlwaysOn.AUTO:
        return False
    text = f"the always-on worker does not run (asked at {worker_url(os.environ)}); start it with `bronze_worker_start`"
    raise dg.Failure(description=text)


def _refuse_what_it_cannot_be_told(config: StreamRunConfig) -> None:
    if names := needs_own_worker(config):
        settings = ", ".join(f"`{name}`" for name in names)
        text = f"the always-on worker runs, and cannot be told {settings} of one run; leave these out, or run with `worker: STOP`"
        raise dg.Failure(description=text, allow_retries=False)


def _wait_for_always_on(context: dg.AssetExecutionContext, config: StreamRunConfig) -> dg.MaterializeResult[None]:
    try:
        longest = seconds_of(config.max_duration) if config.max_duration else None
    except ValueError as error:
        raise dg.Failure(description=f"invalid `max_duration`: {error}", allow_retries=False) from error
    context.log.info("the always-on worker runs at %s: waiting for it, no second one is started", worker_url(os.environ))
    try:
        attached = wait_until_caught_up(os.environ, config.topics, longest, PATIENCE_SECONDS, context.log.info)
    except AttachError as error:
        raise dg.Failure(description=str(error), allow_retries=error.retry_helps) from error
    # While this run is in progress it is the reporter of the tables' commits, whoever made them.
    LiveReports(context.instance, context.log, SessionJournal(), os.environ, table_names(os.environ)).report_commits()
    return dg.MaterializeResult(metadata=_metadata(attached))


def _metadata(attached: Attached) -> dict[str, dg.MetadataValue]:
    after = attached.after
    return {
        **worker_metadata(after),
        "attached_to": dg.MetadataValue.text(f"the always-on worker, process {after.pid} on {after.host}"),
        "caught_up": dg.MetadataValue.bool(attached.caught_up),
        "rows": dg.MetadataValue.int(attached.rows),
        "dead_letters": dg.MetadataValue.int(attached.dead_letters),
        "seconds": dg.MetadataValue.float(attached.seconds),
    }
