"""Checks of silver and the sessions: one step per table, which reads what the same run has touched, or else everything."""

import os
from collections.abc import Iterator, Sequence

import dagster as dg
from pydantic import Field

from dagster_project.lib.checks.table_checks import TableCheck, check_result, session_checks, silver_checks
from dagster_project.lib.checks.verdict import Look
from dagster_project.lib.contracts import load_contracts
from dagster_project.lib.paths import contracts_folder
from dagster_project.lib.silver_columns import SESSIONS_TABLE
from dagster_project.lib.silver_tables import session_deps


class ChecksConfig(dg.Config):
    """Config of the checks of one table."""

    all_days: bool = Field(False, description="Look at all days, also in a run that has touched only some.")
    sample: int = Field(50, description="How many people are looked at where not all are; at least 2.", ge=2)
    memory_limit: str = Field("512MB", description="What a query may hold; what is more goes to disk.")


@dg.definitions
def checks() -> dg.Definitions:
    """The checks of every silver table, by the contracts, and those of the sessions."""
    contracts = load_contracts(contracts_folder(os.environ))
    made = [_checks_of(contract.silver.table, silver_checks(contract)) for contract in contracts]
    sessions = [_checks_of(SESSIONS_TABLE, session_checks(contracts))] if session_deps(contracts) else []
    return dg.Definitions(asset_checks=[*made, *sessions])


def _checks_of(table: str, table_checks: Sequence[TableCheck]) -> dg.AssetChecksDefinition:
    specs = [
        dg.AssetCheckSpec(check.name, asset=table, description=check.description, blocking=check.is_blocking)
        for check in table_checks
    ]

    @dg.multi_asset_check(specs=specs, name=f"checks_of_{table}", can_subset=True)
    def run_checks(context: dg.AssetCheckExecutionContext, config: ChecksConfig) -> Iterator[dg.AssetCheckResult]:
        days = None if config.all_days else _days_touched(context, table)
        look = Look(os.environ, days, config.memory_limit, config.sample)
        wanted = {key.name for key in context.selected_asset_check_keys}
        for check in table_checks:
            if check.name in wanted:
                yield check_result(check, table, check.run(look), look)

    return run_checks


def _days_touched(context: dg.AssetCheckExecutionContext, table: str) -> Sequence[str] | None:
    """Returns the days that this run's materialization of the table touched; `None` if this run made none."""
    records = context.instance.fetch_materializations(dg.AssetKey(table), limit=1).records
    if not records or records[0].run_id != context.run.run_id:
        return None
    materialization = records[0].asset_materialization
    days = materialization.metadata.get("days") if materialization else None
    return [str(day) for day in days.value] if isinstance(days, dg.JsonMetadataValue) and isinstance(days.value, list) else []
