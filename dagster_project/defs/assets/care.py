"""Table care: one asset per table, with figures of before and after."""

import os
from importlib.metadata import version

import dagster as dg

from dagster_project.lib.bronze_tables import OWNERS
from dagster_project.lib.care_jobs import GROUP, POOL, CareConfig, care_asset_name, care_jobs, care_metadata, description
from dagster_project.lib.contracts import load_contracts
from dagster_project.lib.lake import TableMissingError, figures_of, load_table
from dagster_project.lib.paths import contracts_folder
from dagster_project.lib.silver_tables import all_tables
from dagster_project.resources.batch_runner import BatchRunner


@dg.definitions
def care() -> dg.Definitions:
    """One asset for each table of ours."""
    contracts = load_contracts(contracts_folder(os.environ))
    return dg.Definitions(assets=[_care_asset(table) for table in all_tables(contracts)])


def _care_asset(table: str) -> dg.AssetsDefinition:
    @dg.asset(
        name=care_asset_name(table),
        description=description(table),
        deps=[table],
        group_name=GROUP,
        kinds={"rust", "iceberg"},
        owners=OWNERS,
        tags={"layer": "maintenance"},
        pool=POOL,
        code_version=version("streamify"),
    )
    def table_care(
        context: dg.AssetExecutionContext, config: CareConfig, batch_runner: BatchRunner
    ) -> dg.MaterializeResult[None]:
        try:
            before = figures_of(load_table(os.environ, table))
        except TableMissingError as error:
            context.log.info("nothing to do: %s", error)
            return dg.MaterializeResult(metadata={"table_exists": False})
        jobs = care_jobs(table, config)
        reports = batch_runner.run(context, jobs, config.execution)
        after = figures_of(load_table(os.environ, table))
        by_function = {job.function: report for job, report in zip(jobs, reports, strict=True)}
        return dg.MaterializeResult(metadata={"table_exists": True, **care_metadata(before, after, by_function)})

    return table_care
