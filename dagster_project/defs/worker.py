"""Jobs for the always-on worker: start, stop, restart, status. What they do stands in `resources/worker_service.py`."""

import os
from collections.abc import Mapping

import dagster as dg
from pydantic import Field

from dagster_project.lib.paths import BinaryNotFoundError
from dagster_project.lib.worker_process import LockedError
from dagster_project.lib.worker_report import lines_of, observation_metadata, tables_metadata, worker_metadata
from dagster_project.lib.worker_status import TablesUnknownError, ask_tables
from dagster_project.lib.worker_wanted import Wanted
from dagster_project.resources.pipes.exit_codes import meaning_of
from dagster_project.resources.worker_outcome import Done, WorkerServiceError
from dagster_project.resources.worker_service import WorkerService

#: One start or stop at a time, as a courtesy; what decides is a lock below STREAMIFY_HOME, and the lease on the tables.
POOL = "bronze_worker"
SECONDS_FOR_TABLES = 30.0
TAGS = {"layer": "bronze"}


class StartConfig(dg.Config):
    """Config of a start of the always-on worker."""

    extra_args: list[str] = Field(
        [],
        description="Arguments for this start alone, such as `--adopt-new-topic` or `--take-over`; lasting settings belong in "
        "the environment. Not with a service manager.",
    )


class RestartConfig(StartConfig):
    """Config of a restart of the always-on worker."""

    only_if_wanted: bool = Field(
        False, description="Do nothing if the worker has been stopped on purpose meanwhile; the restart sensor sets this."
    )


@dg.op(pool=POOL, out=dg.Out(dg.Nothing, description="The worker once it is ready."))
def start_worker(context: dg.OpExecutionContext, config: StartConfig, worker_service: WorkerService) -> dg.Output[None]:
    """Starts the always-on worker and waits until it is ready; says so if it runs already, and starts no second one."""
    with _FailuresForPeople():
        return _report(context, worker_service.start(config.extra_args))


@dg.op(pool=POOL, out=dg.Out(dg.Nothing, description="What was done."))
def stop_worker(context: dg.OpExecutionContext, worker_service: WorkerService) -> dg.Output[None]:
    """Stops the always-on worker: it commits what it has read and ends. It stays stopped until it is started again."""
    with _FailuresForPeople():
        return _report(context, worker_service.stop())


@dg.op(pool=POOL, out=dg.Out(dg.Nothing, description="The worker once it is ready."))
def restart_worker(context: dg.OpExecutionContext, config: RestartConfig, worker_service: WorkerService) -> dg.Output[None]:
    """Stops the always-on worker, also one that hangs, starts it, and waits until it is ready."""
    if config.only_if_wanted and worker_service.wanted() is Wanted.STOPPED:
        return _report(context, Done("the worker was stopped on purpose meanwhile; nothing was done", False, None))
    with _FailuresForPeople():
        return _report(context, worker_service.restart(config.extra_args))


@dg.op(out=dg.Out(dg.Nothing, description="The worker, or the tables if none runs."))
def show_worker(context: dg.OpExecutionContext, worker_service: WorkerService) -> dg.Output[None]:
    """Shows the always-on worker: wanted or not, running or not, well or not, how far; if none answers, who holds the tables."""
    with _FailuresForPeople():
        seen = worker_service.observe()
        metadata = observation_metadata(seen)
        if seen.status is not None:
            metadata |= worker_metadata(seen.status)
        else:
            metadata |= _of_tables(context)
        context.log.info("always-on worker\n%s", lines_of(metadata))
        return dg.Output(None, metadata=metadata)


@dg.job(tags=TAGS)
def bronze_worker_start() -> None:
    """Starts the always-on stream worker; succeeds without a second start if it runs already."""
    start_worker()


@dg.job(tags=TAGS)
def bronze_worker_stop() -> None:
    """Stops the always-on stream worker; what it has read is committed. Nothing starts it again but `bronze_worker_start`."""
    stop_worker()


@dg.job(tags=TAGS)
def bronze_worker_restart() -> None:
    """Stops the always-on stream worker if it runs, and starts it; also for one that hangs."""
    restart_worker()


@dg.job(tags=TAGS)
def bronze_worker_status() -> None:
    """Shows whether the always-on stream worker runs and is well, its lag, its tables and its offsets."""
    show_worker()


class _FailuresForPeople:
    """What went wrong with the worker, as the run's failure; a retry is offered only where it can help."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        match error:
            case WorkerServiceError(exit_code=int() as code):
                meaning = meaning_of(code)
                metadata = {"exit_code": dg.MetadataValue.int(code), "exit_meaning": dg.MetadataValue.text(meaning.text)}
                raise dg.Failure(description=str(error), metadata=metadata, allow_retries=meaning.retry_helps) from error
            case WorkerServiceError() | BinaryNotFoundError() | LockedError():
                raise dg.Failure(description=str(error), allow_retries=not isinstance(error, BinaryNotFoundError)) from error


def _report(context: dg.OpExecutionContext, done: Done) -> dg.Output[None]:
    metadata: dict[str, dg.MetadataValue] = {"did": dg.MetadataValue.text(done.did)}
    if done.status is not None:
        metadata |= worker_metadata(done.status)
    context.log.info(lines_of(metadata))
    return dg.Output(None, metadata=metadata)


def _of_tables(context: dg.OpExecutionContext) -> Mapping[str, dg.MetadataValue]:
    try:
        return tables_metadata(ask_tables(os.environ, SECONDS_FOR_TABLES))
    except (TablesUnknownError, BinaryNotFoundError) as error:
        context.log.warning("how the tables are is not known: %s", error)
        return {"tables": dg.MetadataValue.text(f"not known: {error}")}
