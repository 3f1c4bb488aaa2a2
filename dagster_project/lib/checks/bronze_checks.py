"""Which checks a bronze table has. None blocks what comes after: silver has checks of its own for that."""

from collections.abc import Mapping, Sequence
from functools import partial

from dagster_project.lib.checks.bronze_books import ledger_closes, offsets_are_contiguous
from dagster_project.lib.checks.bronze_counts import kafka_equals_table
from dagster_project.lib.checks.bronze_present import (
    Servers,
    dead_letters_are_rare,
    lag_is_below_limit,
    schema_equals_contract,
    table_is_fresh,
)
from dagster_project.lib.checks.table_checks import TableCheck
from dagster_project.lib.contracts import Contract


def bronze_checks(contract: Contract, environ: Mapping[str, str]) -> Sequence[TableCheck]:
    """Returns the checks of a contract's bronze table; those that need Kafka ask it once, together, when the first one runs."""
    servers = Servers(environ)
    described = [
        (
            "ledger_closes",
            "In each kept commit offsets = received + skipped by the broker, received = rows + dead letters, and the files hold "
            "that many rows; no other program has added or removed rows.",
            partial(ledger_closes, contract=contract),
        ),
        (
            "offsets_are_contiguous",
            "Offset ranges of the kept commits follow each other per source epoch and partition, without hole or overlap, up to "
            "where the table stands. Accepted gaps are shown.",
            partial(offsets_are_contiguous, contract=contract),
        ),
        (
            "kafka_equals_table",
            "Each offset that Kafka still holds, and the table has passed, is in the table once: as a row or a dead letter, or "
            "it was skipped by the broker.",
            partial(kafka_equals_table, contract=contract, servers=servers),
        ),
        (
            "lag_is_below_limit",
            "The table is not far behind its topic, in records and seconds, nor near to losing data by Kafka's retention.",
            partial(lag_is_below_limit, contract=contract, servers=servers),
        ),
        (
            "table_is_fresh",
            "The table is complete up to a short time ago, or nothing has come since.",
            partial(table_is_fresh, contract=contract, servers=servers),
        ),
        (
            "dead_letters_are_rare",
            "Few of the records that came in the last day could not be decoded.",
            partial(dead_letters_are_rare, contract=contract),
        ),
        (
            "schema_equals_contract",
            "The table has the columns of the contract with their types.",
            partial(schema_equals_contract, contract=contract),
        ),
    ]
    return [TableCheck(name, description, run, is_blocking=False) for name, description, run in described]
