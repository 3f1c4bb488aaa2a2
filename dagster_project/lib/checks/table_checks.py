"""Which checks a table has, and what Dagster is told of their verdicts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import dagster as dg

from dagster_project.lib.checks.identity import bronze_is_silver_and_duplicates, events_are_unique
from dagster_project.lib.checks.null_shares import null_shares_are_within_bounds
from dagster_project.lib.checks.session_rules import (
    open_sessions_fit_the_watermark,
    session_figures_agree,
    sessions_do_not_overlap,
)
from dagster_project.lib.checks.session_sample import sessions_follow_the_law
from dagster_project.lib.checks.text_repair import texts_are_repaired
from dagster_project.lib.checks.verdict import Look, Verdict
from dagster_project.lib.contracts import Contract
from dagster_project.lib.silver_columns import SESSIONS_TABLE, silver_columns, snake_case


@dataclass(frozen=True)
class TableCheck:
    """One check of one table.

    Attributes:
        name: the rule that holds.
        description: the rule, in a sentence.
        run: looks and judges.
        is_blocking: whether what comes after must not be made while the rule is broken, as it would be wrong.
    """

    name: str
    description: str
    run: Callable[[Look], Verdict]
    is_blocking: bool


def silver_checks(contract: Contract) -> Sequence[TableCheck]:
    """Returns the checks of a contract's silver table."""
    table = contract.silver.table
    checks = [
        TableCheck("event_ids_are_unique", "Each event is one row.", partial(events_are_unique, table=table), is_blocking=True),
        TableCheck(
            "bronze_is_silver_and_duplicates",
            f"Every event consumed of `{contract.table}` is here, and no other: bronze rows = silver rows + repeated deliveries.",
            partial(bronze_is_silver_and_duplicates, bronze=contract.table, silver=table),
            is_blocking=True,
        ),
        TableCheck(
            "null_shares_are_within_bounds",
            "Columns are null as often as they should be; bounds and reasons stand in `lib/checks/null_shares.toml`.",
            partial(null_shares_are_within_bounds, table=table, columns=silver_columns(contract)),
            is_blocking=False,
        ),
    ]
    repaired = [snake_case(contract.payload[name].name) for name in contract.silver.text_repair]
    if repaired:
        run = partial(texts_are_repaired, table=table, columns=repaired)
        text = "No text is left that was read with the wrong character set, and none was spoiled by the repair."
        checks.append(TableCheck("texts_are_repaired", text, run, is_blocking=False))
    return checks


def session_checks(contracts: Sequence[Contract]) -> Sequence[TableCheck]:
    """Returns the checks of the sessions."""
    unique = partial(events_are_unique, table=SESSIONS_TABLE, key="session_key", day="session_date")
    return [
        TableCheck("session_keys_are_unique", "Each session is one row.", unique, is_blocking=True),
        TableCheck(
            "sessions_follow_the_law",
            "Sessions of a sample of people equal those recomputed from their events.",
            partial(sessions_follow_the_law, contracts=contracts),
            is_blocking=True,
        ),
        TableCheck(
            "sessions_do_not_overlap",
            "Sessions of one person lie more than half an hour apart.",
            sessions_do_not_overlap,
            is_blocking=True,
        ),
        TableCheck(
            "session_figures_agree",
            "No duration is negative; days, sums and lists of a row agree with each other.",
            session_figures_agree,
            is_blocking=True,
        ),
        TableCheck(
            "open_sessions_fit_the_watermark",
            "A session is closed exactly if it ended more than half an hour before the largest event time consumed.",
            open_sessions_fit_the_watermark,
            is_blocking=False,
        ),
    ]


def check_result(check: TableCheck, table: str, verdict: Verdict, look: Look) -> dg.AssetCheckResult:
    """Returns what Dagster shows of a verdict: number and limit, up to five offending rows, and the days looked at."""
    metadata: dict[str, dg.MetadataValue | int | float | str] = dict(verdict.metadata)
    if verdict.offending:
        records = [dg.TableRecord(dict(row)) for row in verdict.offending]
        metadata["offending"] = dg.MetadataValue.table(records, _schema(verdict.offending[0]))
    metadata["days"] = "all" if look.days is None else ", ".join(look.days) or "none"
    return dg.AssetCheckResult(
        passed=verdict.passed,
        check_name=check.name,
        asset_key=table,
        description=verdict.text,
        metadata=metadata,
        severity=dg.AssetCheckSeverity.WARN if verdict.is_warning else dg.AssetCheckSeverity.ERROR,
    )


def _schema(row: Mapping[str, object]) -> dg.TableSchema:
    kinds = {bool: "bool", int: "int", float: "float"}
    return dg.TableSchema([dg.TableColumn(name, kinds.get(type(value), "string")) for name, value in row.items()])
