"""Alerts of failed runs, failed checks and stale tables."""

import os
import time

import dagster as dg

from dagster_project.lib.alerts import decide, message_of
from dagster_project.lib.checks.limits import limit
from dagster_project.lib.data_alerts import failed_checks, stale_assets
from dagster_project.lib.outbox import Memory, Undelivered, addressed, deliver
from dagster_project.lib.patience import TICK_SECONDS, Deadline
from dagster_project.lib.run_alerts import (
    NOTIFIERS_TAG,
    TAKEN_OVER,
    UNDELIVERED_TAG,
    WAITS,
    failed_run_alert,
    reason_of,
    undelivered_tags,
)

#: Undelivered alerts of failed runs that one tick takes over.
MAX_RUNS = 20
FAILED = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
#: As many as Dagster looks at in one tick.
RUNS_PER_TICK = 5


@dg.run_failure_sensor(
    name="alert_on_failed_runs",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells of every failed run, of jobs and of assets alike: in the log, and by webhook and e-mail where "
    "STREAMIFY_ALERT_WEBHOOK and STREAMIFY_ALERT_EMAIL_TO say so. What could not be delivered is tried again by "
    "`alert_on_bad_data`.",
)
def alert_on_failed_runs(context: dg.RunFailureSensorContext) -> None:
    """See the description."""
    run = context.dagster_run
    record = context.instance.get_run_record_by_id(run.run_id)
    reason = reason_of(context.get_step_failure_events(), context.failure_event.message)
    alert = failed_run_alert(run, reason, record.end_time if record else None, os.environ)
    # Dagster calls this for each run of a tick. What takes longer goes on, and the other sensor looks whether it got there.
    deadline = Deadline(TICK_SECONDS / RUNS_PER_TICK)
    if waiting := deliver([alert], [], os.environ, context.log, deadline, name=run.run_id):
        context.instance.add_run_tags(run.run_id, undelivered_tags(waiting))


@dg.sensor(
    name="alert_on_bad_data",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells of checks that fail with severity ERROR and of assets that break their freshness policy: when it begins, "
    "again after an hour while it lasts, and when it is over. Tries again what `alert_on_failed_runs` could not deliver, three "
    "times at most.",
)
def alert_on_bad_data(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """See the description."""
    deadline = Deadline()
    memory = Memory.from_json(context.cursor)
    if context.repository_def is None:
        raise dg.DagsterInvariantViolationError("a sensor that looks at all assets needs the code location it belongs to")
    graph = context.repository_def.asset_graph
    checks = failed_checks(context.instance, graph.asset_check_keys, os.environ)
    policed = [key for key in graph.get_all_asset_keys() if graph.get(key).freshness_policy is not None]
    stale = stale_assets(context.instance, policed, os.environ)
    problems = [*checks.problems, *stale.problems]
    alerts, known = decide(memory.known, problems, time.time(), limit("repeat_seconds").value, checks.unjudged)
    runs = context.instance.get_run_records(dg.RunsFilter(tags={UNDELIVERED_TAG: WAITS}), limit=MAX_RUNS)
    waiting = [*memory.waiting, *(message for run in runs for message in _of_run(context.instance, run))]
    left = deliver(alerts, waiting, os.environ, context.log, deadline)
    for run in runs:
        context.instance.add_run_tags(run.dagster_run.run_id, {UNDELIVERED_TAG: TAKEN_OVER})
    cursor = Memory(known, left).to_json()
    told = f"{len(alerts)} told" if alerts else "no news"
    skip = dg.SkipReason(f"{len(problems)} problems last, {told}, {len(left)} messages wait")
    return dg.SensorResult(skip_reason=skip, cursor=cursor)


def _of_run(instance: dg.DagsterInstance, record: dg.RunRecord) -> list[Undelivered]:
    """Returns what was not delivered when a run failed; that attempt counts."""
    run = record.dagster_run
    found = [one.event_log_entry.dagster_event for one in instance.get_records_for_run(run.run_id, of_type=FAILED).records]
    events = [event for event in found if event]
    of_run = next((event.message for event in events if event.is_run_failure), None)
    reason = reason_of([event for event in events if event.is_step_failure], of_run)
    message = message_of([failed_run_alert(run, reason, record.end_time, os.environ)])
    notifiers = [name for name in run.tags.get(NOTIFIERS_TAG, "").split(",") if name]
    return addressed(message, notifiers, run.run_id, attempts=1)
