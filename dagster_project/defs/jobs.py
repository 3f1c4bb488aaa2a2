"""Jobs and their schedules: silver with its sessions, and table care. Schedules are off until somebody turns them on."""

import dagster as dg

from dagster_project.lib.care_jobs import GROUP as CARE_GROUP
from dagster_project.lib.silver_tables import GROUP as SILVER_GROUP
from dagster_project.lib.silver_tables import REBUILD_KEY

silver_batch_job = dg.define_asset_job(
    "silver_batch_job",
    selection=dg.AssetSelection.groups(SILVER_GROUP) - dg.AssetSelection.assets(REBUILD_KEY),
    description="Takes everything new in bronze into silver and the sessions, and checks it.",
)

maintenance_job = dg.define_asset_job(
    "maintenance_job",
    selection=dg.AssetSelection.groups(CARE_GROUP),
    description="Compacts every table, expires its old snapshots and counts its orphans.",
)

silver_schedule = dg.ScheduleDefinition(
    name="silver_schedule",
    job=silver_batch_job,
    cron_schedule="*/15 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every quarter of an hour; a run costs what is new.",
)

maintenance_schedule = dg.ScheduleDefinition(
    name="maintenance_schedule",
    job=maintenance_job,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="At night, when few events come.",
)
