"""Reads `contracts/*.toml` as far as Dagster shows them: tables, columns, descriptions.

The worker reads the same files; a topic is described nowhere else. The columns the worker adds to every table are listed here
a second time, for display only, and compared with real tables by a test.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ICEBERG_TYPES = {"string": "string", "int": "int", "long": "long", "double": "double", "boolean": "boolean"}


class ContractError(ValueError):
    """A contract file does not say what it must."""


@dataclass(frozen=True)
class Column:
    """A column of a bronze table.

    Attributes:
        name: name in the table.
        type: Iceberg type.
        doc: one sentence, with the unit.
        nullable: whether it may be null.
        personal: whether it holds personal data.
    """

    name: str
    type: str
    doc: str
    nullable: bool = True
    personal: bool = False


@dataclass(frozen=True)
class Contract:
    """What Dagster shows of one topic."""

    name: str
    version: int
    topic: str
    table: str
    doc: str
    partition: str
    sort_key: tuple[str, ...]
    columns: tuple[Column, ...]


DERIVED_COLUMNS = (
    Column("event_id", "string", "Identity of the event, 32 hex digits; equal for every delivery of it.", nullable=False),
    Column("event_ts", "timestamptz", "Event time, UTC.", nullable=False),
    Column("event_date", "date", "Date of `event_ts`, UTC.", nullable=False),
    Column("_kafka_partition", "int", "Topic-partition the record came from.", nullable=False),
    Column("_kafka_offset", "long", "Offset of the record in its topic-partition.", nullable=False),
    Column("_kafka_timestamp", "timestamptz", "Timestamp Kafka holds for the record."),
    Column(
        "_source_epoch",
        "int",
        "0, and 1 more at each adoption of a re-created topic or another cluster.",
        nullable=False,
    ),
    Column("_run_id", "string", "Producer run, from the header `run_id`; null if none."),
    Column("_processing_time", "timestamptz", "When the worker decoded the record.", nullable=False),
    Column("_extras", "string", "JSON object of the fields the contract does not know; null if none."),
)

DEAD_LETTER_TABLE = "bronze_dead_letters"
DEAD_LETTER_COLUMNS = (
    Column("topic", "string", "Topic of the record.", nullable=False),
    Column("partition", "int", "Topic-partition of the record.", nullable=False),
    Column("offset", "long", "Offset of the record.", nullable=False),
    Column("timestamp", "timestamptz", "Timestamp Kafka holds for the record."),
    Column("key", "binary", "Key of the record, as it came."),
    Column("headers", "string", "Headers of the record, as JSON.", nullable=False),
    Column("value", "binary", "Value of the record, as it came."),
    Column("reason", "string", "Why it could not be decoded: a code.", nullable=False),
    Column("message", "string", "Why it could not be decoded: a sentence.", nullable=False),
    Column("contract_version", "int", "Version of the contract that refused it.", nullable=False),
    Column("source_epoch", "int", "Source epoch, as in the bronze tables.", nullable=False),
    Column("processing_time", "timestamptz", "When the worker refused it.", nullable=False),
    Column("event_date", "date", "Date of the Kafka timestamp, UTC; partition column.", nullable=False),
    Column("replayed", "boolean", "Whether it was decoded later, from here.", nullable=False),
)


def load_contracts(folder: Path) -> Sequence[Contract]:
    """Reads every `*.toml` in `folder`, sorted by table name.

    Raises:
        ContractError: if the folder holds none, or one is wrong.
    """
    contracts = [parse_contract(path.read_text(encoding="utf-8"), str(path)) for path in folder.glob("*.toml")]
    if not contracts:
        raise ContractError(f"no contract in `{folder}`; set STREAMIFY_CONTRACTS to the folder that holds them")
    return sorted(contracts, key=lambda contract: contract.table)


def parse_contract(text: str, origin: str) -> Contract:
    """Reads one contract.

    Args:
        text: content of the file.
        origin: its name, for messages.

    Raises:
        ContractError: if it is no TOML, or lacks something.
    """
    try:
        data = tomllib.loads(text)
        partition = str(data.get("partition", "event_date"))
        return Contract(
            name=data["name"],
            version=data["version"],
            topic=data["topic"],
            table=data["table"],
            doc=data["doc"],
            partition=partition,
            sort_key=tuple(data.get("sort_key", ())),
            columns=(*_payload_columns(data["fields"]), *DERIVED_COLUMNS),
        )
    except KeyError as error:
        raise ContractError(f"contract `{origin}` lacks {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ContractError(f"contract `{origin}` is no TOML: {error}") from error


def _payload_columns(fields: Iterable[Mapping[str, Any]]) -> Iterable[Column]:
    for field in fields:
        unit = f" Unit: {field['unit']}." if field.get("unit") else ""
        yield Column(
            name=field.get("column", field["name"]),
            type=ICEBERG_TYPES.get(field["type"], field["type"]),
            doc=f"{field['doc']}{unit}",
            nullable=not field.get("required", False),
            personal=bool(field.get("personal", False)),
        )
