"""The books of a silver table: found right where they are, and wrong where somebody spoiled them."""

import pyarrow as pa
import pytest

from dagster_project.lib.checks.identity import bronze_is_silver_and_duplicates, events_are_unique

TOPIC = "listen_events"
TABLE = "silver_listen_events"
BRONZE = "bronze_listen_events"
DAY = 86_400_000


@pytest.fixture
def events(lake):
    """Ten events over two days, in silver; bronze has two of them twice, and all was consumed."""
    rows = [lake.event(TOPIC, ms=1_771_848_000_000 + (number % 2) * DAY, item=number) for number in range(10)]
    lake.silver(TOPIC, rows)
    lake.bronze(TOPIC, [*rows, *({**row, "_kafka_offset": 20 + number} for number, row in enumerate(rows[:2]))])
    lake.consumed(TOPIC, below=30)
    return rows


def delete(table, column, value):
    """Removes rows by PyIceberg."""
    table.delete(f"{column} = '{value}'")


def test_events_that_stand_once_pass(lake, events):
    verdict = events_are_unique(lake.look(), TABLE)

    assert verdict.passed, verdict
    assert verdict.metadata == {"value": 0, "limit": 0, "row_count": 10, "repeated": 0, "malformed": 0}


def test_an_event_that_stands_twice_is_named(lake, events):
    lake.silver(TOPIC, [events[3]])

    verdict = events_are_unique(lake.look(), TABLE)

    assert not verdict.passed
    assert verdict.metadata["repeated"] == 1
    assert verdict.offending == [{"event_id": events[3]["event_id"]}]


def test_an_id_of_another_form_does_not_pass(lake, events):
    lake.silver(TOPIC, [{**events[3], "event_id": "ab" * 32}])

    assert events_are_unique(lake.look(), TABLE).metadata["malformed"] == 1


def test_only_the_days_that_were_asked_for_are_looked_at(lake, events):
    lake.silver(TOPIC, [events[1]])
    first, second = (events[number]["event_date"].isoformat() for number in (0, 1))

    assert events_are_unique(lake.look(days=[first]), TABLE).passed
    assert not events_are_unique(lake.look(days=[first, second]), TABLE).passed
    assert events_are_unique(lake.look(days=[]), TABLE).metadata["row_count"] == 0


def test_bronze_is_silver_and_duplicates(lake, events):
    verdict = bronze_is_silver_and_duplicates(lake.look(), BRONZE, TABLE)

    assert verdict.passed, verdict
    numbers = {name: verdict.metadata[name] for name in ("bronze_rows", "events", "duplicates", "silver_rows")}
    assert numbers == {"bronze_rows": 12, "events": 10, "duplicates": 2, "silver_rows": 10}


def test_an_event_that_silver_lost_is_named(lake, events):
    delete(lake.table(TABLE), "event_id", events[4]["event_id"])

    verdict = bronze_is_silver_and_duplicates(lake.look(), BRONZE, TABLE)

    assert (verdict.passed, verdict.metadata["missing"], verdict.metadata["invented"]) == (False, 1, 0)
    assert verdict.offending == [{"event_id": events[4]["event_id"]}]


def test_an_event_that_bronze_does_not_have_is_named(lake, events):
    invented = lake.event(TOPIC)
    lake.silver(TOPIC, [invented])

    verdict = bronze_is_silver_and_duplicates(lake.look(), BRONZE, TABLE)

    assert (verdict.passed, verdict.metadata["missing"], verdict.metadata["invented"]) == (False, 0, 1)
    assert verdict.offending == [{"event_id": invented["event_id"]}]


def test_what_was_not_consumed_yet_is_not_missing_and_a_rebuild_may_have_taken_it(lake, events):
    later = [lake.event(TOPIC, _kafka_offset=30), lake.event(TOPIC, _kafka_offset=31)]
    lake.bronze(TOPIC, later)

    assert bronze_is_silver_and_duplicates(lake.look(), BRONZE, TABLE).metadata["bronze_rows"] == 12
    lake.silver(TOPIC, later[:1])
    assert bronze_is_silver_and_duplicates(lake.look(), BRONZE, TABLE).passed


def test_a_table_without_offsets_is_cut_at_the_snapshot_that_was_read(lake):
    rows = [lake.event(TOPIC) for _ in range(3)]
    lake.silver(TOPIC, rows[:2])
    lake.bronze(TOPIC, rows[:2])
    lake._remember(TABLE, BRONZE)
    lake.bronze(TOPIC, rows[2:])

    verdict = bronze_is_silver_and_duplicates(lake.look(), BRONZE, TABLE)

    assert (verdict.passed, verdict.metadata["events"]) == (True, 2)


def test_rows_of_another_identity_are_counted_and_not_compared(lake, events):
    adopted = lake.event(TOPIC)
    lake.bronze(TOPIC, [{**adopted, "event_id": "ab" * 32, "_kafka_offset": 25}])
    lake.silver(TOPIC, [adopted])

    verdict = bronze_is_silver_and_duplicates(lake.look(), BRONZE, TABLE)

    assert (verdict.passed, verdict.metadata["of_other_identity"]) == (True, 1)


def test_memory_is_bounded_by_going_to_disk(lake):
    ids = pa.array([f"{number:032x}" for number in range(400_000)])
    row = lake.event(TOPIC)
    table = lake.silver(TOPIC, [row])
    schema = table.schema().as_arrow()
    columns = [ids if f.name == "event_id" else pa.array([row[f.name]] * len(ids), f.type) for f in schema]
    table.append(pa.Table.from_arrays(columns, schema=schema))

    verdict = events_are_unique(lake.look(memory_limit="48MB"), TABLE)

    assert verdict.metadata["repeated"] == 1  # the row that was there has one of these ids
    assert verdict.metadata["row_count"] == 400_001
