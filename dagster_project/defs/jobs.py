"""Jobs and schedules: bronze in rounds, silver with its sessions, gold, and table care.

Schedules are off until somebody turns them on. With the always-on worker: `silver_updates_sensor` and `maintenance_schedule`;
without it `bronze_rolling_schedule` as well.
"""

import os

import dagster as dg

from dagster_project.lib.bronze_news import run_in_progress
from dagster_project.lib.bronze_tables import JOB_KEY
from dagster_project.lib.care_jobs import GROUP as CARE_GROUP
from dagster_project.lib.patience import TICK_SECONDS
from dagster_project.lib.rolling_runs import NODE, ROLLING_TAG
from dagster_project.lib.silver_tables import GROUP as SILVER_GROUP
from dagster_project.lib.silver_tables import REBUILD_KEY
from dagster_project.lib.worker_http import WorkerUnreachableError
from dagster_project.lib.worker_status import ask_worker

GOLD_GROUP = "gold"
#: A round ends before the next one begins, and a run that does not is ended by Dagster.
ROUND_MINUTES = 15
ROUND = {"until": "NEVER", "max_duration": f"{ROUND_MINUTES - 1}m"}
MAX_ROUND_SECONDS = (ROUND_MINUTES + 5) * 60

bronze_rolling_job = dg.define_asset_job(
    "bronze_rolling_job",
    selection=dg.AssetSelection.assets(JOB_KEY).without_checks(),
    tags={ROLLING_TAG: "true"},
    description="One bounded run of the stream worker: `bronze_rolling_schedule` launches it in rounds, and the restart sensor "
    "in the place of one that failed. As its config says it catches up and ends, or takes in what comes for a while.",
)

silver_batch_job = dg.define_asset_job(
    "silver_batch_job",
    selection=dg.AssetSelection.groups(SILVER_GROUP) - dg.AssetSelection.assets(REBUILD_KEY),
    description="Takes everything new in bronze into silver and the sessions, and checks it.",
)

gold_batch_job = dg.define_asset_job(
    "gold_batch_job",
    selection=dg.AssetSelection.groups(GOLD_GROUP),
    description="Makes every gold table anew from silver and the sessions, and checks it.",
)

maintenance_job = dg.define_asset_job(
    "maintenance_job",
    selection=dg.AssetSelection.groups(CARE_GROUP),
    description="Compacts every table, expires its old snapshots and counts its orphans.",
)


@dg.schedule(
    name="bronze_rolling_schedule",
    job=bronze_rolling_job,
    cron_schedule=f"*/{ROUND_MINUTES} * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="For set-ups without a service: every quarter of an hour a round of the stream worker, which takes in events for "
    "14 minutes and ends by itself. Skipped while a bronze run goes on, or the always-on worker answers.",
)
def bronze_rolling_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """See the description."""
    if run_id := run_in_progress(context.instance, [bronze_rolling_job.name], JOB_KEY):
        return dg.SkipReason(f"run {run_id} still takes in events")
    try:
        worker = ask_worker(os.environ, TICK_SECONDS)
    except WorkerUnreachableError:
        return dg.RunRequest(run_config={"ops": {NODE: {"config": ROUND}}}, tags={"dagster/max_runtime": str(MAX_ROUND_SECONDS)})
    return dg.SkipReason(f"the always-on worker (process {worker.pid} on {worker.host}) takes in events")


silver_schedule = dg.ScheduleDefinition(
    name="silver_schedule",
    job=silver_batch_job,
    cron_schedule="*/15 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every quarter of an hour; a run costs what is new. `silver_updates_sensor` is the better choice, unless runs "
    "are to begin at fixed times.",
)

gold_schedule = dg.ScheduleDefinition(
    name="gold_schedule",
    job=gold_batch_job,
    cron_schedule="0 6 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="In the morning, when yesterday's late events have come.",
)

maintenance_schedule = dg.ScheduleDefinition(
    name="maintenance_schedule",
    job=maintenance_job,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="At night, when few events come.",
)
