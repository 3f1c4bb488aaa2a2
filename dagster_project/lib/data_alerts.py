"""Failed checks and missed freshness, as problems that last until the next good look."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

# Not exported by `dagster`; the pinned version has them.
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from dagster_project.lib.alerts import Problem
from dagster_project.lib.links import asset_link, run_link
from dagster_project.lib.run_alerts import shortened


@dataclass(frozen=True)
class Findings:
    """What is wrong, and the keys of what cannot be told now."""

    problems: Sequence[Problem]
    unjudged: Collection[str]


def failed_checks(instance: dg.DagsterInstance, checks: Iterable[dg.AssetCheckKey], environ: Mapping[str, str]) -> Findings:
    """Returns the checks whose last result failed with severity ERROR; one that runs just now is not judged."""
    problems, unjudged = [], []
    for key, record in instance.event_log_storage.get_latest_asset_check_execution_by_key(list(checks)).items():
        name = f"check/{key.asset_key.to_user_string()}/{key.name}"
        event = record.event.dagster_event if record.event else None
        if record.status is AssetCheckExecutionRecordStatus.PLANNED:
            unjudged.append(name)
        elif record.status is AssetCheckExecutionRecordStatus.FAILED and event:
            evaluation = event.asset_check_evaluation_data
            if evaluation.severity is dg.AssetCheckSeverity.ERROR:
                problems.append(_failed_check(name, evaluation, record.create_timestamp, run_link(environ, record.run_id)))
    return Findings(problems, unjudged)


def stale_assets(instance: dg.DagsterInstance, assets: Sequence[dg.AssetKey], environ: Mapping[str, str]) -> Findings:
    """Returns the assets that break their freshness policy, as Dagster's freshness daemon sees them."""
    problems = []
    for key, record in instance.get_freshness_state_records(assets).items():
        if record.freshness_state is FreshnessState.FAIL:
            name = key.to_user_string()
            problems.append(
                Problem(
                    key=f"freshness/{name}",
                    what=f"`{name}` is stale: no new data within its freshness policy",
                    where=f"asset `{name}`",
                    next_step="see whether the worker runs (bronze) or the silver job succeeds; limits: lib/checks/limits.toml",
                    since=record.updated_at.timestamp(),
                    link=asset_link(environ, name),
                )
            )
    return Findings(problems, ())


def _failed_check(name: str, evaluation: dg.AssetCheckEvaluation, since: float, link: str) -> Problem:
    asset = evaluation.asset_key.to_user_string()
    numbers = [f"{key} {evaluation.metadata[key].value}" for key in ("value", "limit") if key in evaluation.metadata]
    found = shortened(evaluation.description or "no description")
    shown = f" ({', '.join(numbers)})" if numbers else ""
    return Problem(
        key=name,
        what=f"check `{evaluation.check_name}` of `{asset}` failed: {found}{shown}",
        where=f"asset `{asset}`",
        next_step="the check's metadata has up to five offending rows; what comes after it is not made if it is a blocking one",
        since=since,
        link=link,
    )
