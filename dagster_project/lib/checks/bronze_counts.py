"""Kafka against the table: each offset that Kafka still holds is in the table exactly once, as a row or a dead letter."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from dagster_project.lib.checks.bronze_history import History, history_of
from dagster_project.lib.checks.bronze_present import Servers, unknown
from dagster_project.lib.checks.verdict import NUM_SHOWN, Look, Verdict, all_rows
from dagster_project.lib.contracts import DEAD_LETTER_TABLE, Contract
from dagster_project.lib.lake import TableMissingError, load_table
from dagster_project.lib.rows import open_rows
from dagster_project.lib.worker_status import TablesUnknownError, TopicState

_NO_LETTERS = pa.schema([("partition", pa.int32()), ("offset", pa.int64())])
_QUERY = """
    WITH places AS (
        SELECT partition, place, count(*) FILTER (is_row) AS num_rows
        FROM (SELECT _kafka_partition AS partition, _kafka_offset AS place, true AS is_row FROM bronze
              UNION ALL SELECT partition, "offset", false FROM letters)
        JOIN ranges USING (partition) WHERE place >= begin_at AND place < next_at
        GROUP BY partition, place
    )
    SELECT partition, first(begin_at) AS begin_at, first(next_at) AS next_at,
           count(place) AS places,
           coalesce(sum(num_rows), 0)::BIGINT AS num_rows,
           count(place) FILTER (num_rows = 0) AS letters,
           count(place) FILTER (num_rows > 1) AS repeated,
           min(place) FILTER (num_rows > 1) AS first_repeated
    FROM ranges LEFT JOIN places USING (partition)
    GROUP BY partition ORDER BY partition
"""


def kafka_equals_table(look: Look, contract: Contract, servers: Servers) -> Verdict:
    """For the offsets that Kafka still holds and the table has passed: offsets = rows + dead letters + skipped + gaps."""
    try:
        topic = servers.topic(contract.topic)
        history = history_of(load_table(look.environ, contract.table))
    except (TablesUnknownError, TableMissingError) as error:
        return unknown(error)
    ranges = _ranges(topic)
    if not ranges:
        return Verdict(passed=True, text="Kafka holds nothing that the table has passed", metadata={"value": 0, "limit": 0})
    counted = _counted(look, contract, topic.epoch, ranges)
    explained = {row["partition"]: _explained(history, topic, row) for row in counted}
    skipped = history.total("skipped_by_broker")
    missing = {row["partition"]: max(0, _missing(row) - explained[row["partition"]]) for row in counted}
    lost = max(0, sum(missing.values()) - skipped)
    repeated = sum(row["repeated"] for row in counted)
    held = sum(row["next_at"] - row["begin_at"] for row in counted)
    rows, letters = (sum(row[name] for row in counted) for name in ("num_rows", "letters"))
    shown = [_shown(row, missing[row["partition"]]) for row in counted if missing[row["partition"]] or row["repeated"]]
    odd = shown if lost + repeated else []
    return Verdict(
        passed=lost == 0 and repeated == 0,
        text=f"of {held:,} offsets that Kafka holds, {rows:,} are rows and {letters:,} dead letters; {lost:,} are missing, "
        f"{repeated:,} stand in several rows",
        metadata={
            "value": lost + repeated,
            "limit": 0,
            "offsets": held,
            "rows": rows,
            "dead_letters": letters,
            "missing": lost,
            "repeated": repeated,
            "skipped_by_broker": skipped,
            "in_gaps": sum(explained.values()),
        },
        offending=odd[:NUM_SHOWN],
        # What the broker passed over stood in snapshots that have expired.
        is_warning=repeated == 0 and not history.is_complete,
    )


def _ranges(topic: TopicState) -> Sequence[Mapping[str, int]]:
    return [
        {"partition": of.partition, "begin_at": of.begin_offset, "next_at": min(of.next_offset, of.end_offset)}
        for of in topic.partitions
        if of.next_offset is not None and of.next_offset > of.begin_offset
    ]


def _counted(look: Look, contract: Contract, epoch: int, ranges: Sequence[Mapping[str, int]]) -> Sequence[Mapping[str, Any]]:
    bronze = open_rows(look.environ, contract.table, ["_kafka_partition", "_kafka_offset"], [("_source_epoch", "=", epoch)])
    is_letter = [("topic", "=", contract.topic), ("source_epoch", "=", epoch)]
    try:
        letters = open_rows(look.environ, DEAD_LETTER_TABLE, ["partition", "offset"], is_letter)
    except TableMissingError:
        letters = pa.RecordBatchReader.from_batches(_NO_LETTERS, [])
    with look.database(bronze=bronze, letters=letters, ranges=pa.Table.from_pylist([dict(one) for one in ranges])) as database:
        return all_rows(database, _QUERY)


def _explained(history: History, topic: TopicState, row: Mapping[str, Any]) -> int:
    """Returns how many offsets of a range were gone before they could be read, or lie before the table's first one."""
    num = 0
    for entry in history.entries:
        for span in entry.spans:
            if (span.epoch, span.partition) != (topic.epoch, row["partition"]):
                continue
            since = entry.gaps.get(span.partition, (span.start, span.start))[0] if span.expected is not None else 0
            num += max(0, min(span.start, row["next_at"]) - max(since, row["begin_at"]))
    return num


def _missing(row: Mapping[str, Any]) -> int:
    return int(row["next_at"] - row["begin_at"] - row["places"])


def _shown(row: Mapping[str, Any], missing: int) -> Mapping[str, str | int | float | bool | None]:
    place = {"partition": row["partition"], "from": row["begin_at"], "to": row["next_at"]}
    return {**place, "rows": row["num_rows"], "missing": missing, "repeated": row["repeated"], "first": row["first_repeated"]}
