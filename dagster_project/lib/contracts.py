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
    """A column of a table.

    Attributes:
        name: name in the table.
        type: Iceberg type.
        doc: one sentence.
        nullable: whether it may be null.
        personal: whether it holds personal data.
        unit: unit of a number, if it has one.
    """

    name: str
    type: str
    doc: str
    nullable: bool = True
    personal: bool = False
    unit: str | None = None

    @property
    def description(self) -> str:
        """The sentence, with the unit behind it."""
        return f"{self.doc} Unit: {self.unit}." if self.unit else self.doc


@dataclass(frozen=True)
class SilverRules:
    """How a row of silver differs from a row of bronze; fields are named by their wire names.

    Attributes:
        table: name of the silver table.
        text_repair: text fields that are repaired.
        timestamps: fields in milliseconds that become timestamps.
        user_agent: field that is taken apart into browser, system and device.
        alternates: field that holds the value before the event, and the two values it can have.
        mark: column that depends on an event of another topic, with that topic and its description.
    """

    table: str
    text_repair: tuple[str, ...] = ()
    timestamps: tuple[str, ...] = ()
    user_agent: str | None = None
    alternates: tuple[str, tuple[str, str]] | None = None
    mark: tuple[str, str, str] | None = None


@dataclass(frozen=True)
class Contract:
    """What Dagster shows of one topic.

    Attributes:
        payload: columns of bronze that hold the event's own fields, by their wire names.
        event_time: wire name of the field with the event time.
        earliest: first day of which events are accepted, `YYYY-MM-DD`.
    """

    name: str
    version: int
    topic: str
    table: str
    doc: str
    partition: str
    sort_key: tuple[str, ...]
    payload: Mapping[str, Column]
    event_time: str
    earliest: str
    silver: SilverRules

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns of the bronze table, in order."""
        return (*self.payload.values(), *DERIVED_COLUMNS)


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
        event_time = data.get("event_time", {})
        return Contract(
            name=data["name"],
            version=data["version"],
            topic=data["topic"],
            table=data["table"],
            doc=data["doc"],
            partition=partition,
            sort_key=tuple(data.get("sort_key", ())),
            payload=dict(_payload_columns(data["fields"])),
            event_time=event_time.get("field", "ts"),
            earliest=event_time.get("earliest", "2000-01-01"),
            silver=_silver_rules(data.get("silver", {}), data["name"]),
        )
    except KeyError as error:
        raise ContractError(f"contract `{origin}` lacks {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ContractError(f"contract `{origin}` is no TOML: {error}") from error


def _silver_rules(data: Mapping[str, Any], name: str) -> SilverRules:
    alternation, precedence = data.get("alternation"), data.get("precedence")
    return SilverRules(
        table=data.get("table", f"silver_{name}"),
        text_repair=tuple(data.get("text_repair", ())),
        timestamps=tuple(data.get("timestamps", ())),
        user_agent=data.get("user_agent"),
        alternates=(alternation["field"], tuple(alternation["between"])) if alternation else None,
        mark=(precedence["column"], precedence["topic"], precedence["doc"]) if precedence else None,
    )


def _payload_columns(fields: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, Column]]:
    for field in fields:
        yield (
            field["name"],
            Column(
                name=field.get("column", field["name"]),
                type=ICEBERG_TYPES.get(field["type"], field["type"]),
                doc=field["doc"],
                unit=field.get("unit"),
                nullable=not field.get("required", False),
                personal=bool(field.get("personal", False)),
            ),
        )
