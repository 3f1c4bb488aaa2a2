"""Checks of the bronze tables, one step per table, and the job and schedule that run them."""

import os
from collections.abc import Iterator, Sequence

import dagster as dg
from pydantic import Field

from dagster_project.lib.checks.bronze_checks import bronze_checks
from dagster_project.lib.checks.table_checks import check_result
from dagster_project.lib.checks.verdict import Look, Verdict
from dagster_project.lib.contracts import Contract, load_contracts
from dagster_project.lib.lake import TableMissingError
from dagster_project.lib.paths import contracts_folder


class BronzeChecksConfig(dg.Config):
    """Config of the checks of one bronze table."""

    memory_limit: str = Field("512MB", description="What a query may hold; what is more goes to disk.")


@dg.definitions
def checks() -> dg.Definitions:
    """The checks of every bronze table, by the contracts."""
    contracts = load_contracts(contracts_folder(os.environ))
    job = dg.define_asset_job(
        "bronze_checks_job",
        selection=dg.AssetSelection.checks_for_assets(*(dg.AssetKey(contract.table) for contract in contracts)),
        description="Checks the bronze tables: books, offsets, row counts against Kafka, lag, freshness, dead letters, columns.",
    )
    schedule = dg.ScheduleDefinition(
        name="bronze_checks_schedule",
        job=job,
        cron_schedule="10 * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Once an hour: the books cost a metadata file per table, the counts read two columns of it.",
    )
    return dg.Definitions(asset_checks=_all_checks(contracts), jobs=[job], schedules=[schedule])


def _all_checks(contracts: Sequence[Contract]) -> Sequence[dg.AssetChecksDefinition]:
    return [_checks_of(contract) for contract in contracts]


def _checks_of(contract: Contract) -> dg.AssetChecksDefinition:
    specs = [
        dg.AssetCheckSpec(check.name, asset=contract.table, description=check.description, blocking=check.is_blocking)
        for check in bronze_checks(contract, os.environ)
    ]

    @dg.multi_asset_check(specs=specs, name=f"checks_of_{contract.table}", can_subset=True)
    def run_checks(context: dg.AssetCheckExecutionContext, config: BronzeChecksConfig) -> Iterator[dg.AssetCheckResult]:
        look = Look(os.environ, memory_limit=config.memory_limit)
        wanted = {key.name for key in context.selected_asset_check_keys}
        for check in bronze_checks(contract, os.environ):
            if check.name in wanted:
                try:
                    verdict = check.run(look)
                except TableMissingError as error:
                    verdict = Verdict(passed=False, text=str(error), is_warning=True)
                yield check_result(check, contract.table, verdict, look)

    return run_checks
