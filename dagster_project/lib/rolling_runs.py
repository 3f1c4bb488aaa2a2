"""Which failed run of `bronze_streaming_job` may be run again by itself.

A run that materializes an asset belongs to a job that is named by whoever launched it: `__ASSET_JOB` from the UI and the command
line, a schedule's job else. So runs are found by the asset, not by the job: Dagster notes at each asset which run was last to be
launched for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from dagster_project.lib.bronze_tables import JOB_KEY
from dagster_project.resources.pipes.exit_codes import meaning_of

#: Tag of a run that is one of many, each of which goes on where the last one ended.
ROLLING_TAG = "streamify/rolling"
SCHEDULE_TAG = "dagster/schedule_name"
WILL_RETRY_TAG = "dagster/will_retry"
NODE = JOB_KEY.to_python_identifier()


@dataclass(frozen=True)
class LastRun:
    """The run that was launched last for `bronze_streaming_job`.

    Attributes:
        run_id: its id.
        ended_well: whether it succeeded.
        refusal: why it is not run again if it failed; None: it may be.
        is_over: whether it has ended.
        config: its config for `bronze_streaming_job`.
    """

    run_id: str
    is_over: bool
    ended_well: bool
    refusal: str | None
    config: Mapping[str, Any]


def last_run(instance: dg.DagsterInstance) -> LastRun | None:
    """Returns the run that was launched last for the asset, or None."""
    records = instance.get_asset_records([JOB_KEY])
    run_id = records[0].asset_entry.last_run_id if records else None
    run = instance.get_run_by_id(run_id) if run_id else None
    if run is None:
        return None
    config = _config(run)
    refusal = _refusal(instance, run, config) if run.status is dg.DagsterRunStatus.FAILURE else "it did not fail"
    return LastRun(run.run_id, run.is_finished, run.status is dg.DagsterRunStatus.SUCCESS, refusal, config)


def _config(run: dg.DagsterRun) -> Mapping[str, Any]:
    run_config: Mapping[str, Any] = run.run_config
    config: Mapping[str, Any] = run_config.get("ops", {}).get(NODE, {}).get("config", {})
    return config


def _refusal(instance: dg.DagsterInstance, run: dg.DagsterRun, config: Mapping[str, Any]) -> str | None:
    is_rolling = run.tags.get(ROLLING_TAG) == "true" or SCHEDULE_TAG in run.tags or config.get("until") == "NEVER"
    if not is_rolling:
        return f"it was launched once, by hand; runs of schedules, endless ones and those with the tag `{ROLLING_TAG}: true` are"
    if run.tags.get(WILL_RETRY_TAG) == "true":
        return "Dagster retries it by itself"
    records = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records
    failures = [record.event_log_entry.dagster_event for record in records]
    said = [event.step_failure_data.user_failure_data for event in failures if event and event.step_key == NODE]
    for failure in said:
        if failure is not None and (refusal := _person_needed(failure.metadata)):
            return refusal
    return None


def _person_needed(metadata: Mapping[str, dg.MetadataValue]) -> str | None:
    """Says why a failure that the asset itself raised needs a person, or None; one without exit code came before the worker."""
    code = metadata.get("exit_code")
    if not isinstance(code, dg.IntMetadataValue) or code.value is None:
        return "it failed before its worker ran; see its message"
    meaning = meaning_of(code.value)
    if code.value == 0 or meaning.retry_helps:  # 0: the worker went well, something else did not
        return None
    return f"its worker exited with code {code.value} ({meaning.text})"
