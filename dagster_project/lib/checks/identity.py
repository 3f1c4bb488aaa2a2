"""The books of a silver table: each event once, and none lost or invented on the way from bronze."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dagster_project.lib.checks.verdict import NUM_SHOWN, Look, Verdict, one_row
from dagster_project.lib.lake import load_table, state_of
from dagster_project.lib.rows import open_rows

#: What an id is without: anything but 32 hex digits is no id of ours.
_ID = "CASE WHEN regexp_full_match(event_id, '[0-9a-f]{32}') THEN CAST(event_id AS UUID) END"


def events_are_unique(look: Look, table: str, key: str = "event_id", day: str = "event_date") -> Verdict:
    """Each row's key is 32 hex digits, and no two rows have the same."""
    rows = open_rows(look.environ, table, [key], look.only(day))
    with look.database(keys=rows) as database:
        found = one_row(
            database,
            f"""
            SELECT coalesce(sum(n), 0)::BIGINT AS row_count,
                   count(*) FILTER (n > 1 AND id IS NOT NULL) AS repeated,
                   coalesce(sum(n) FILTER (id IS NULL), 0)::BIGINT AS malformed,
                   max_by(replace(id::VARCHAR, '-', ''), n, {NUM_SHOWN}) FILTER (n > 1 AND id IS NOT NULL) AS examples
            FROM (SELECT {_ID.replace("event_id", key)} AS id, count(*) AS n FROM keys GROUP BY 1)
            """,
        )
    value = found["repeated"] + found["malformed"]
    return Verdict(
        passed=value == 0,
        text=f"{found['repeated']:,} keys stand in several rows, {found['malformed']:,} are no keys, of {found['row_count']:,}",
        metadata={"value": value, "limit": 0, **{name: found[name] for name in ("row_count", "repeated", "malformed")}},
        offending=[{key: example} for example in found["examples"] or []],
    )


def bronze_is_silver_and_duplicates(look: Look, bronze: str, silver: str) -> Verdict:
    """Every event that was consumed of bronze stands in silver, and silver has no event that bronze does not have.

    What was consumed is told by the silver table's state: the next offset of each partition. Bronze rows beyond it are left
    out, as another run will take them; a rebuild may have taken some of them already, which is right, too. Rows of older
    pipelines whose ids are not ours cannot be compared and are only counted.
    """
    consumed = state_of(load_table(look.environ, silver)).get("sources", {}).get(bronze, {})
    has_offsets = bool(consumed.get("topics"))
    columns = ["event_id", *(["_source_epoch", "_kafka_partition", "_kafka_offset"] if has_offsets else [])]
    snapshot = None if has_offsets or not consumed else _snapshot(look, bronze, consumed["snapshot_id"])
    streams = {
        "silver": open_rows(look.environ, silver, ["event_id"], look.only("event_date")),
        "bronze": open_rows(look.environ, bronze, columns, look.only("event_date"), snapshot),
    }
    is_consumed = "b._kafka_offset IS NULL OR coalesce(b._kafka_offset < n.next, false)" if has_offsets else str(bool(consumed))
    join = "LEFT JOIN next n ON n.epoch = coalesce(b._source_epoch, 0) AND n.part = b._kafka_partition" if has_offsets else ""
    with look.database(**streams) as database:
        database.execute("CREATE TABLE next (epoch INTEGER, part INTEGER, next BIGINT)")
        offsets = list(_offsets(consumed))
        if offsets:
            database.executemany("INSERT INTO next VALUES (?, ?, ?)", offsets)
        found = one_row(database, _BOOKS.format(id=_ID, is_consumed=is_consumed, join=join, shown=NUM_SHOWN))
    return _books(found)


_BOOKS = """
    SELECT coalesce(sum(deliveries), 0)::BIGINT AS bronze_rows,
           coalesce(sum(deliveries) FILTER (id IS NULL), 0)::BIGINT AS of_other_identity,
           count(*) FILTER (deliveries > 0 AND id IS NOT NULL) AS events,
           coalesce(sum(copies), 0)::BIGINT AS silver_rows,
           count(*) FILTER (deliveries > 0 AND copies = 0 AND id IS NOT NULL) AS missing,
           count(*) FILTER (copies > 0 AND NOT in_bronze) AS invented,
           max_by(replace(id::VARCHAR, '-', ''), id, {shown}) FILTER (
               id IS NOT NULL AND ((deliveries > 0 AND copies = 0) OR (copies > 0 AND NOT in_bronze))) AS examples
    FROM (
        SELECT id, count(*) FILTER (consumed) AS deliveries, count(*) FILTER (in_silver) AS copies,
               bool_or(NOT in_silver) AS in_bronze
        FROM (SELECT {id} AS id, {is_consumed} AS consumed, false AS in_silver FROM bronze b {join}
              UNION ALL SELECT {id}, false, true FROM silver)
        GROUP BY id)
"""


def _books(found: Mapping[str, Any]) -> Verdict:
    # Events whose id silver had to compute cannot be looked up in bronze.
    invented = found["invented"] if found["of_other_identity"] == 0 else 0
    value = found["missing"] + invented
    duplicates = found["bronze_rows"] - found["of_other_identity"] - found["events"]
    numbers = {name: found[name] for name in ("bronze_rows", "events", "silver_rows", "missing", "of_other_identity")}
    return Verdict(
        passed=value == 0,
        text=f"{found['bronze_rows']:,} consumed rows of bronze are {found['events']:,} events and {duplicates:,} repeated "
        f"deliveries; {found['missing']:,} events are missing in silver, {invented:,} in silver are of no bronze row",
        metadata={"value": value, "limit": 0, **numbers, "duplicates": duplicates, "invented": invented},
        offending=[{"event_id": example} for example in found["examples"] or []],
    )


def _offsets(consumed: Mapping[str, Any]) -> Iterable[Sequence[int]]:
    for topic in consumed.get("topics", {}).values():
        for epoch in (*topic.get("past", ()), topic["current"]):
            for partition, offset in epoch["next"].items():
                yield epoch["epoch"], int(partition), offset


def _snapshot(look: Look, table: str, snapshot_id: int) -> int | None:
    """Returns the snapshot if it is still there."""
    return snapshot_id if load_table(look.environ, table).snapshot_by_id(snapshot_id) else None
