"""Silver follows bronze."""

import json
import os
from collections.abc import Mapping

import dagster as dg

from dagster_project.defs import jobs  # not its jobs: those would be found in this module once more
from dagster_project.lib.bronze_news import data_states, news, run_in_progress, run_key
from dagster_project.lib.contracts import load_contracts
from dagster_project.lib.paths import contracts_folder
from dagster_project.lib.patience import BACKGROUND, Deadline, NotYetError

#: States that came after the tick that asked for them are good for the next one: what they lack, the one after that sees.
MAX_AGE_SECONDS = 90.0


@dg.sensor(
    name="silver_updates_sensor",
    job=jobs.silver_batch_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Every minute: one run of `silver_batch_job` if rows came into bronze since the last one, at most one at a time. "
    "The recommended way to keep silver up to date: it costs nothing while nothing happens, where `silver_schedule` starts a run "
    "every quarter of an hour. It reads the tables' metadata instead of using automation conditions, because those go by "
    "Dagster's events: they would miss rows while nobody reports them, and take every batch of a catching-up stream for news of "
    "its own. Commits without rows and compactions start nothing.",
)
def silver_updates_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """See the description."""
    deadline = Deadline()
    if run_id := run_in_progress(context.instance, [jobs.silver_batch_job.name]):
        return dg.SkipReason(f"run {run_id} of `{jobs.silver_batch_job.name}` is not over")
    environ = dict(os.environ)
    tables = [contract.table for contract in load_contracts(contracts_folder(environ))]
    try:
        states = BACKGROUND.call(
            "states of bronze", lambda: data_states(environ, tables), deadline.left(), max_age=MAX_AGE_SECONDS
        )
    except NotYetError as error:
        return dg.SkipReason(f"the catalog takes its time: {error}")
    seen = _seen(context.cursor)
    changed = news(states, seen)
    if not changed:
        return dg.SkipReason("no new rows in bronze")
    cursor = {**seen, **states}
    request = dg.RunRequest(run_key=run_key(cursor), tags={"streamify/new_rows_in": ",".join(changed)})
    return dg.SensorResult(run_requests=[request], cursor=json.dumps(cursor, sort_keys=True))


def _seen(cursor: str | None) -> Mapping[str, str]:
    try:
        seen = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return {str(table): str(state) for table, state in seen.items()} if isinstance(seen, dict) else {}
