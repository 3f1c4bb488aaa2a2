"""Silver as Dagster sees it: what each table depends on and says of itself, and the days that were touched."""

from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from dagster_project.lib.bronze_tables import JOB_KEY, static_metadata
from dagster_project.lib.contracts import DEAD_LETTER_TABLE, Contract
from dagster_project.lib.silver_columns import SESSION_COLUMNS, SESSIONS_TABLE, silver_columns

GROUP = "silver"
KINDS = {"rust", "iceberg"}
#: One run of silver at a time, as a courtesy; what decides in the end is the consumed state in each table.
POOL = "silver"
#: Topics that sessions are made of.
SESSION_TOPICS = frozenset({"listen_events", "page_view_events", "auth_events", "status_change_events"})
REBUILD_KEY = dg.AssetKey("silver_rebuild")


def silver_contracts(contracts: Sequence[Contract]) -> Sequence[Contract]:
    """Returns the contracts in an order in which a table comes after those it looks at."""
    return sorted(contracts, key=lambda contract: (contract.silver.mark is not None, contract.silver.table))


def silver_deps(contract: Contract, contracts: Iterable[Contract]) -> Sequence[dg.AssetKey]:
    """Returns what a silver table is made from, and the job that fills it.

    The bronze tables are external assets, through which Dagster does not order the steps of a run: without the job among them,
    silver would run beside it where both are launched together.
    """
    mark = contract.silver.mark
    looked_at = [other.silver.table for other in contracts if mark and other.topic == mark[1]]
    return [JOB_KEY, *(dg.AssetKey(table) for table in (contract.table, *looked_at))]


def session_deps(contracts: Iterable[Contract]) -> Sequence[str]:
    """Returns the silver tables that sessions are made from."""
    return [contract.silver.table for contract in contracts if contract.topic in SESSION_TOPICS]


def silver_description(contract: Contract) -> str:
    """Returns the description of a contract's silver table."""
    rules = contract.silver
    repaired = ", ".join(f"`{name}`" for name in rules.text_repair)
    return (
        f"{contract.doc}\n\nOne row per event, key `event_id`: `{contract.table}` cleaned, typed, without repeated deliveries; "
        "the first delivery stays, and deliveries that disagree are counted (`conflicts`). A run takes what came into bronze "
        "since the last one, in one commit, at a cost that follows the new rows; late events land in the day of their event time."
        + (f" Repaired text: {repaired}, with what came beside it where it was changed." if repaired else "")
        + (f" `{rules.mark[0]}`: {rules.mark[2]}" if rules.mark else "")
        + "\n\nMetadata: `rows_in` bronze rows read, `rows_out` rows added, `duplicates` further deliveries in this run, "
        "`already_known` deliveries of events that were there before, `conflicts` events whose deliveries disagree, `repaired` "
        "texts, `incomplete` bronze rows that lack a required field, `remarked` rows marked anew because the event before them "
        "came later; `bytes`, `bytes_read` bytes, `metadata_bytes` those of manifests and the like; `seconds` seconds; "
        "`days` the days touched. Days can be made anew by `silver_rebuild`."
    )


SESSIONS_DESCRIPTION = (
    "One session of a person: events over all topics without a pause of more than half an hour.\n\nKey `session_key`; a person "
    "is a user of a producer run. Events without a user belong to the one user of their producer session, else to a visitor of "
    "its own. Midnight does not split a session, a level change neither, and a song counts once. Whatever the order of arrival, "
    "the table equals a full recompute; a run replaces the days that new events touch, in one commit. Sessions that can still "
    "grow have `is_closed` false.\n\nMetadata: `rows_in` new silver rows, `rows_out` sessions in the replaced days, `days` those "
    "days, `watermark` the largest event time consumed; `bytes`, `bytes_read` bytes, `metadata_bytes` those of manifests "
    "and the like; `seconds` seconds."
)


def silver_metadata(contract: Contract, full_name: str) -> Mapping[str, object]:
    """Returns the metadata of a silver table's definition."""
    return {**static_metadata(full_name, silver_columns(contract)), "contract_version": contract.version}


def sessions_metadata(full_name: str) -> Mapping[str, object]:
    """Returns the metadata of the definition of the sessions."""
    return static_metadata(full_name, SESSION_COLUMNS)


def day_partitions(contracts: Sequence[Contract]) -> dg.DailyPartitionsDefinition:
    """Returns the UTC days that silver can hold: from the first one a contract accepts until tomorrow.

    Tomorrow, because an event time may lie ahead of the clock, by a day unless that is set otherwise.
    """
    return dg.DailyPartitionsDefinition(start_date=min(contract.earliest for contract in contracts), end_offset=2)


def days_of_run(context: dg.AssetExecutionContext) -> str:
    """Returns the days of a run as the programs take them: `YYYY-MM-DD`, or `YYYY-MM-DD..YYYY-MM-DD`, both included."""
    if context.has_partition_key_range:
        days = context.partition_key_range
        return str(days.start) if days.start == days.end else f"{days.start}..{days.end}"
    return str(context.partition_key)


def note_days(instance: dg.DagsterInstance, partitions: dg.DailyPartitionsDefinition, table: str, days: Iterable[str]) -> None:
    """Marks days that an incremental run filled for the first time as present in `silver_rebuild`'s partitions."""
    known = instance.get_materialized_partitions(REBUILD_KEY)
    for day in sorted(set(days) - known):
        if partitions.has_partition_key(day):
            instance.report_runless_asset_event(
                dg.AssetMaterialization(asset_key=REBUILD_KEY, partition=day, metadata={"filled_by": table})
            )


def all_tables(contracts: Sequence[Contract]) -> Sequence[str]:
    """Returns every table of ours: bronze, dead letters, silver, sessions."""
    bronze = [contract.table for contract in contracts]
    silver = [contract.silver.table for contract in contracts]
    sessions = [SESSIONS_TABLE] if session_deps(contracts) else []
    return [*bronze, DEAD_LETTER_TABLE, *silver, *sessions]
