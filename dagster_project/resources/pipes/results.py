"""Keeping what a worker reported when its step cannot succeed.

Dagster turns reported results into events only if the step returns them. A worker that committed and then was cancelled, or
failed on the next batch, did change the table; so its reports are logged as events before the failure is raised.
"""

from collections.abc import Iterable, Sequence

import dagster as dg

DATA_VERSION_TAG = "dagster/data_version"
Report = dg.MaterializeResult[None] | dg.AssetCheckResult
Event = dg.AssetMaterialization | dg.AssetCheckEvaluation


def keep_results(context: dg.AssetExecutionContext, reports: Iterable[Report]) -> int:
    """Logs every report as an event of the run, at once. Returns the number of events."""
    num_events = 0
    for report in reports:
        for event in _events_of(context, report):
            context.log_event(event)
            num_events += 1
    return num_events


def _events_of(context: dg.AssetExecutionContext, report: Report) -> Sequence[Event]:
    if report.asset_key is None:
        return []
    if isinstance(report, dg.AssetCheckResult):
        return [
            dg.AssetCheckEvaluation(
                asset_key=report.asset_key,
                check_name=report.check_name or "",
                passed=report.passed,
                metadata=report.metadata,
                severity=report.severity,
                description=report.description,
            )
        ]
    tags = {DATA_VERSION_TAG: report.data_version.value} if report.data_version else {}
    return [
        dg.AssetMaterialization(asset_key=report.asset_key, metadata=report.metadata, tags=tags, partition=partition)
        for partition in _partitions(context)
    ]


def _partitions(context: dg.AssetExecutionContext) -> Sequence[str | None]:
    if not context.has_assets_def or context.assets_def.partitions_def is None:
        return [None]
    return list(context.partition_keys)
