"""Silver: one asset per contract, the sessions, and the rebuild of days beside them, on the same tables."""

import os
from collections.abc import Sequence
from importlib.metadata import version

import dagster as dg

from dagster_project.lib.batch_jobs import (
    BatchJob,
    BatchRunConfig,
    RebuildRunConfig,
    SessionsRunConfig,
    SilverRunConfig,
    rebuild_job,
    sessions_job,
    silver_job,
)
from dagster_project.lib.batch_reports import days_of, metadata_of, metadata_of_all
from dagster_project.lib.bronze_tables import JOB_KEY, OWNERS
from dagster_project.lib.checks.limits import freshness_policy
from dagster_project.lib.contracts import Contract, load_contracts
from dagster_project.lib.lake import figures_of, full_name, load_table
from dagster_project.lib.paths import contracts_folder
from dagster_project.lib.silver_columns import SESSIONS_TABLE
from dagster_project.lib.silver_tables import (
    GROUP,
    KINDS,
    POOL,
    REBUILD_KEY,
    SESSIONS_DESCRIPTION,
    day_partitions,
    days_of_run,
    note_days,
    session_deps,
    sessions_metadata,
    silver_contracts,
    silver_deps,
    silver_description,
    silver_metadata,
)
from dagster_project.resources.batch_runner import BatchRunner

TAGS = {"layer": "silver"}


@dg.definitions
def silver() -> dg.Definitions:
    """Silver tables, sessions and the rebuild, by the contracts."""
    contracts = silver_contracts(load_contracts(contracts_folder(os.environ)))
    tables = [_silver_asset(contract, contracts) for contract in contracts]
    return dg.Definitions(assets=[*tables, *_sessions_assets(contracts), _rebuild_asset(contracts)])


def _silver_asset(contract: Contract, contracts: Sequence[Contract]) -> dg.AssetsDefinition:
    table = contract.silver.table
    partitions = day_partitions(contracts)

    @dg.asset(
        name=table,
        description=silver_description(contract),
        deps=silver_deps(contract, contracts),
        group_name=GROUP,
        kinds=KINDS,
        owners=OWNERS,
        tags={**TAGS, "topic": contract.topic},
        metadata=silver_metadata(contract, full_name(os.environ, table)),
        pool=POOL,
        freshness_policy=freshness_policy(table),
        code_version=version("streamify"),
    )
    def silver_table(
        context: dg.AssetExecutionContext, config: SilverRunConfig, batch_runner: BatchRunner
    ) -> dg.MaterializeResult[None]:
        return _materialize(context, batch_runner, silver_job(table, config), config, partitions)

    return silver_table


def _sessions_assets(contracts: Sequence[Contract]) -> Sequence[dg.AssetsDefinition]:
    deps = session_deps(contracts)

    @dg.asset(
        name=SESSIONS_TABLE,
        description=SESSIONS_DESCRIPTION,
        deps=deps,
        group_name=GROUP,
        kinds=KINDS,
        owners=OWNERS,
        tags=TAGS,
        metadata=sessions_metadata(full_name(os.environ, SESSIONS_TABLE)),
        pool=POOL,
        freshness_policy=freshness_policy(SESSIONS_TABLE),
        code_version=version("streamify"),
    )
    def sessions(
        context: dg.AssetExecutionContext, config: SessionsRunConfig, batch_runner: BatchRunner
    ) -> dg.MaterializeResult[None]:
        return _materialize(context, batch_runner, sessions_job(SESSIONS_TABLE, config), config)

    return [sessions] if deps else []


def _rebuild_asset(contracts: Sequence[Contract]) -> dg.AssetsDefinition:
    all_tables = [contract.silver.table for contract in contracts]

    @dg.asset(
        key=REBUILD_KEY,
        deps=[JOB_KEY, *(contract.table for contract in contracts)],
        partitions_def=day_partitions(contracts),
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name=GROUP,
        kinds=KINDS,
        owners=OWNERS,
        tags=TAGS,
        pool=POOL,
        code_version=version("streamify"),
    )
    def silver_rebuild(
        context: dg.AssetExecutionContext, config: RebuildRunConfig, batch_runner: BatchRunner
    ) -> dg.MaterializeResult[None]:
        """Days of the silver tables, made anew from all of bronze, in the place of what they hold.

        Works on the tables of the other silver assets: one partition is one UTC day of all of them (or of those named in
        the config), a range is one run. What was consumed of bronze stays as it is, so the incremental runs go on as before.
        The sessions of these days are not touched here: the next run of `silver_user_sessions` notices the replaced files
        and brings them up.

        Partitions count as materialized, too, when an incremental run fills a day for the first time.

        Metadata: as of the silver tables, summed; `tables` has a row for each.
        """
        days = days_of_run(context)
        names = config.tables or all_tables
        reports = batch_runner.run(context, [rebuild_job(table, days, config) for table in names], config.execution)
        context.log.info("sessions of %s are brought up by the next run of %s", days, SESSIONS_TABLE)
        return dg.MaterializeResult(
            metadata={**metadata_of_all(reports), "rebuilt_days": days, "brings_up_sessions": SESSIONS_TABLE}
        )

    return silver_rebuild


def _materialize(
    context: dg.AssetExecutionContext,
    batch_runner: BatchRunner,
    job: BatchJob,
    config: BatchRunConfig,
    noted: dg.DailyPartitionsDefinition | None = None,
) -> dg.MaterializeResult[None]:
    """Runs the job and returns its report with the table's totals; days it fills for the first time are noted."""
    [report] = batch_runner.run(context, [job], config.execution)
    figures = figures_of(load_table(os.environ, job.table))
    if noted is not None:
        note_days(context.instance, noted, job.table, days_of(report))
    totals = {"dagster/row_count": figures.rows, "table_files": figures.files, "table_bytes": figures.bytes}
    return dg.MaterializeResult(metadata={**metadata_of(report), **totals, "execution": config.execution.value})
