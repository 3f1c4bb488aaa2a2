"""Restarts what streams, when it has ended or hangs and starting it anew can help."""

import os
import time

import dagster as dg

from dagster_project.defs import jobs, worker  # not their jobs: those would be found in this module once more
from dagster_project.lib.restart_policy import (
    Decision,
    Limits,
    State,
    answer_failed_run,
    decide,
    dump_state,
    limits_from,
    load_state,
)
from dagster_project.lib.rolling_runs import NODE, LastRun, last_run
from dagster_project.resources.worker_outcome import WorkerServiceError
from dagster_project.resources.worker_service import WorkerService

OBSERVATION_SECONDS = 1.5  # of the two that an evaluation may take: a sensor that waits holds up all others
WORKER_JOBS = (worker.bronze_worker_start.name, worker.bronze_worker_stop.name, worker.bronze_worker_restart.name)
UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


DESCRIPTION = """Restarts the always-on worker if it has died or hangs, and a rolling run of `bronze_streaming_job` that failed.

The worker hangs if it says for a minute that it cannot work, or nothing at all, or if it commits nothing while its lag grows
(STREAMIFY_WORKER_STALL_LIMIT). It is left alone if it was stopped on purpose, if it exited with code 2 (settings) or 3 (a
person has to decide), and where a service manager would start it. A run is rolling if a schedule launched it, if it has no
end (`until: NEVER`), or by the tag `streamify/rolling: true`.

Pauses between restarts double from 15 s to 15 min, until it was well for 10 min; at most STREAMIFY_WORKER_RESTARTS_PER_HOUR
(6) come within an hour. Why nothing is done stands in the tick's skip reason."""


@dg.sensor(
    jobs=[worker.bronze_worker_restart, jobs.bronze_rolling_job],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=DESCRIPTION,
)
def bronze_restart_sensor(context: dg.SensorEvaluationContext, worker_service: WorkerService) -> dg.SensorResult:
    """Looks once and decides; see the description."""
    state, now_ms = load_state(context.cursor), round(time.time() * 1000)
    run, busy = last_run(context.instance), _worker_job_under_way(context.instance)
    try:
        limits = limits_from(os.environ)
        about_worker = _about_worker(worker_service, busy, run, state, now_ms, limits)
    except (ValueError, WorkerServiceError) as error:
        return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
    if about_worker.restart or busy is not None:
        about_run = Decision(about_worker.state, False, "after the worker, which may make them wait for it")
    else:
        about_run = _about_run(run, about_worker.state, now_ms, limits)
    reasons = f"worker: {about_worker.reason}. Runs: {about_run.reason}"
    context.log.info(reasons)
    cursor = dump_state(about_run.state)
    if about_worker.restart:
        return dg.SensorResult(run_requests=[_worker_request(about_worker)], cursor=cursor)
    if run is not None and about_run.restart:
        return dg.SensorResult(run_requests=[_run_request(run, about_run)], cursor=cursor)
    return dg.SensorResult(skip_reason=reasons, cursor=cursor)


def _worker_job_under_way(instance: dg.DagsterInstance) -> str | None:
    filters = (dg.RunsFilter(job_name=name, statuses=UNDER_WAY) for name in WORKER_JOBS)
    return next((records[0].dagster_run.job_name for one in filters if (records := instance.get_run_records(one, limit=1))), None)


def _about_worker(
    service: WorkerService, busy: str | None, run: LastRun | None, state: State, now_ms: int, limits: Limits
) -> Decision:
    if busy is not None:
        return Decision(state, False, f"`{busy}` is under way")
    if run is not None and not run.is_over:
        # It may have a worker of its own, which holds the tables: ours would end with exit code 3, and stay down.
        return Decision(state, False, f"run {run.run_id[:8]} of `{NODE}` is under way; after it")
    return decide(state, now_ms, service.observe(OBSERVATION_SECONDS), limits)


def _about_run(run: LastRun | None, state: State, now_ms: int, limits: Limits) -> Decision:
    if run is None:
        return Decision(state, False, "there was none")
    return answer_failed_run(state, now_ms, run, limits)


def _worker_request(decision: Decision) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=decision.key,
        job_name=worker.bronze_worker_restart.name,
        run_config={"ops": {"restart_worker": {"config": {"only_if_wanted": True}}}},
        tags={"streamify/restart_reason": decision.reason},
    )


def _run_request(run: LastRun, decision: Decision) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=decision.key,
        job_name=jobs.bronze_rolling_job.name,
        run_config={"ops": {NODE: {"config": dict(run.config)}}} if run.config else {},
        tags={"streamify/restart_reason": decision.reason, "streamify/failed_run": run.run_id},
    )
