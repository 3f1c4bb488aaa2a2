"""The bronze tables as Dagster sees them: specs from contracts. Their events are made in `commit_events.py`."""

from collections.abc import Iterable, Sequence

import dagster as dg

from dagster_project.lib.checks.limits import freshness_policy
from dagster_project.lib.contracts import DEAD_LETTER_COLUMNS, DEAD_LETTER_TABLE, Column, Contract, load_contracts
from dagster_project.lib.lake import Environ
from dagster_project.lib.paths import contracts_folder

JOB_KEY = dg.AssetKey("bronze_streaming_job")
GROUP = "bronze"
OWNERS = ["team:data"]


def table_specs(contracts: Sequence[Contract], catalog: str, namespace: str) -> list[dg.AssetSpec]:
    """Returns an external asset for each contract's table, and one for the dead letters."""
    specs = [_table_spec(contract, f"{catalog}.{namespace}.{contract.table}") for contract in contracts]
    return [*specs, _dead_letter_spec(f"{catalog}.{namespace}.{DEAD_LETTER_TABLE}")]


def column_schema(columns: Iterable[Column]) -> dg.TableSchema:
    """Returns the schema Dagster shows for `columns`."""
    return dg.TableSchema(
        [
            dg.TableColumn(
                name=column.name,
                type=column.type,
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
                tags={"personal_data": ""} if column.personal else None,
            )
            for column in columns
        ]
    )


def table_names(environ: Environ) -> Sequence[str]:
    """Returns the names of the bronze tables, which are the keys of their assets; the dead letters' last."""
    return [*(contract.table for contract in load_contracts(contracts_folder(environ))), DEAD_LETTER_TABLE]


def _table_spec(contract: Contract, full_name: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        key=contract.table,
        description=(
            f"{contract.doc}\n\nOne row per record of the Kafka topic `{contract.topic}`, append-only; duplicates the producer "
            f"sent are kept, with equal `event_id`. Written by `{JOB_KEY.to_user_string()}` or by the always-on worker, each "
            f"offset exactly once. Partitioned by `{contract.partition}`; rows of a file are sorted by "
            f"{' and '.join(f'`{name}`' for name in contract.sort_key)}. Late events land in the partition of their event time."
        ),
        deps=[JOB_KEY],
        group_name=GROUP,
        kinds={"iceberg", "kafka"},
        owners=OWNERS,
        tags={"layer": "bronze", "topic": contract.topic},
        freshness_policy=freshness_policy(contract.table),
        metadata={**static_metadata(full_name, contract.columns), "contract_version": contract.version},
    )


def _dead_letter_spec(full_name: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        key=DEAD_LETTER_TABLE,
        description=(
            "Records that could not be decoded, with their raw bytes and the reason.\n\nOne row per refused record, key "
            "(topic, source_epoch, partition, offset), append-only. Can be replayed after a fix, with the original offset. "
            "No freshness policy: no news is good news."
        ),
        deps=[JOB_KEY],
        group_name=GROUP,
        kinds={"iceberg", "kafka"},
        owners=OWNERS,
        tags={"layer": "bronze"},
        metadata=static_metadata(full_name, DEAD_LETTER_COLUMNS),
    )


def static_metadata(full_name: str, columns: Iterable[Column]) -> dict[str, object]:
    """Returns the metadata of a table's definition, under Dagster's standard keys."""
    return {
        "dagster/column_schema": column_schema(columns),
        "dagster/table_name": full_name,
        "dagster/storage_kind": "iceberg",
    }
