"""Known ways to lose or double records that need a real broker to show; numbers as in docs/adr/0002-exactly-once.md."""

import signal
import time
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from pyiceberg.exceptions import NoSuchTableError
from sqlalchemy.exc import OperationalError

from tests.integration.conftest import SECONDS, TABLE, TOPIC, Pipeline, event, send
from tools.prove.tables import open_catalog
from tools.stack.processes import wait_until

pytestmark = pytest.mark.integration


def state_of(pipeline: Pipeline) -> str:
    return pipeline.table().properties["streamify.state"]


def test_hole_05_a_topic_made_anew_stops_until_it_is_adopted(pipeline: Pipeline) -> None:
    pipeline.create_topic()
    send(pipeline.producer(), [event(number) for number in range(5)])
    assert pipeline.run()[0] == 0
    pipeline.delete_topic()
    pipeline.create_topic()
    send(pipeline.producer(), [event(number) for number in range(100, 103)])

    code, log = pipeline.run()

    assert code == 3, log
    assert "--adopt-new-topic" in log
    assert pipeline.sessions() == list(range(5))

    code, log = pipeline.run("--adopt-new-topic")

    assert code == 0, log
    assert pipeline.sessions() == [*range(5), *range(100, 103)]
    epochs = pipeline.table().scan(selected_fields=("_source_epoch",)).to_arrow()["_source_epoch"].to_pylist()
    assert sorted(epochs) == [0] * 5 + [1] * 3
    assert pipeline.run()[0] == 0
    assert len(pipeline.sessions()) == 8


def test_hole_07_an_expired_consumer_group_changes_nothing(pipeline: Pipeline) -> None:
    pipeline.create_topic()
    send(pipeline.producer(), [event(number) for number in range(5)])
    assert pipeline.run()[0] == 0
    group = pipeline.environment["STREAMIFY_GROUP_ID"]
    pipeline.admin.delete_consumer_groups([group])[group].result(SECONDS)
    send(pipeline.producer(), [event(number) for number in range(5, 8)])

    assert pipeline.run()[0] == 0
    assert pipeline.run("--kafka-option", "client.id=another")[0] == 0

    assert pipeline.sessions() == list(range(8))


def test_hole_21_a_run_begins_exactly_at_the_offset_in_the_table(pipeline: Pipeline) -> None:
    pipeline.create_topic(partitions=3)
    for turn in range(4):
        for partition in range(3):
            first = turn * 30 + partition * 10
            send(pipeline.producer(), [event(number) for number in range(first, first + 10)], partition)
        code, log = pipeline.run()
        assert code == 0, log

    assert pipeline.sessions() == list(range(120))
    assert pipeline.ends() == {0: 40, 1: 40, 2: 40}


def test_hole_22_aborted_transactions_and_control_records_are_passed_over(pipeline: Pipeline) -> None:
    pipeline.create_topic()
    producer = pipeline.producer(**{"transactional.id": "t"})
    producer.init_transactions(SECONDS)
    for first, commit in ((0, True), (10, False), (20, True), (30, False)):
        producer.begin_transaction()
        send(producer, [event(number) for number in range(first, first + 5)])
        if commit:
            producer.commit_transaction(SECONDS)
        else:
            producer.abort_transaction(SECONDS)

    code, log = pipeline.run()
    assert code != 0, "offsets without records on a topic that is not compacted must not pass unnoticed by default"
    assert "--on-skip" in log

    code, log = pipeline.run("--on-skip", "accept")

    assert code == 0, log
    assert pipeline.sessions() == [*range(5), *range(20, 25)]
    assert f'"0":{pipeline.ends()[0]}' in state_of(pipeline)


def test_hole_23_retention_that_overtook_the_reader_stops_until_the_gap_is_accepted(pipeline: Pipeline) -> None:
    pipeline.create_topic()
    send(pipeline.producer(), [event(number) for number in range(5)])
    assert pipeline.run()[0] == 0
    send(pipeline.producer(), [event(number) for number in range(5, 20)])
    pipeline.admin.delete_records([TopicPartition(TOPIC, 0, 12)])[TopicPartition(TOPIC, 0)].result(SECONDS)

    code, log = pipeline.run()

    assert code == 3, log
    assert "--on-gap accept" in log
    assert pipeline.sessions() == list(range(5))

    code, log = pipeline.run("--on-gap", "accept")

    assert code == 0, log
    assert pipeline.sessions() == [*range(5), *range(12, 20)]
    gaps = [s.summary.additional_properties.get("streamify.gap") for s in pipeline.table().metadata.snapshots if s.summary]
    assert '{"0":[5,12]}' in gaps


def test_hole_19_two_workers_at_once_lose_and_double_nothing(pipeline: Pipeline) -> None:
    pipeline.create_topic(partitions=2)
    numbers = range(20_000)
    for partition in range(2):
        send(pipeline.producer(), [event(number) for number in numbers if number % 2 == partition], partition)
    options = ("--until", "caught-up", "--freshness", "100ms")

    workers = [pipeline.worker(*options), pipeline.worker(*options)]
    logs = [worker.communicate(timeout=SECONDS)[1] for worker in workers]

    codes = sorted(worker.returncode for worker in workers)
    assert codes[0] == 0, logs
    assert codes[1] in (0, 3), logs
    assert pipeline.run()[0] == 0
    assert pipeline.sessions() == list(numbers)


def test_hole_25_a_message_written_twice_is_two_rows_with_one_event_id(pipeline: Pipeline) -> None:
    pipeline.create_topic()
    send(pipeline.producer(), [event(1), event(1), event(2)])
    assert pipeline.run()[0] == 0

    rows = pipeline.table().scan(selected_fields=("event_id", "_kafka_offset")).to_arrow()

    assert sorted(rows["_kafka_offset"].to_pylist()) == [0, 1, 2]
    assert len(set(rows["event_id"].to_pylist())) == 2


def test_the_topics_own_type_errors_stay_with_their_bytes(pipeline: Pipeline) -> None:
    pipeline.create_topic()
    send(pipeline.producer(), [event(1), event(2, sessionId="no number"), event(3)])
    assert pipeline.run()[0] == 0

    letters = open_catalog(pipeline.environment).load_table("streamify.bronze_dead_letters").scan().to_arrow().to_pylist()

    assert pipeline.sessions() == [1, 3]
    assert [(letter["offset"], letter["reason"]) for letter in letters] == [(1, "wrong_type")]
    assert b'"no number"' in letters[0]["value"]


def _places(pipeline: Pipeline) -> tuple[list[int], list[int]]:
    """Offsets of the rows and of the dead letters."""
    rows = pipeline.table().scan(selected_fields=("_kafka_offset",)).to_arrow()["_kafka_offset"].to_pylist()
    letters = open_catalog(pipeline.environment).load_table("streamify.bronze_dead_letters").scan(selected_fields=("offset",))
    return sorted(rows), sorted(letters.to_arrow()["offset"].to_pylist())


def test_dead_letters_whose_rows_did_not_land_stay_so_whatever_the_settings_say_by_then(pipeline: Pipeline) -> None:
    pipeline.create_topic()
    soon = int(time.time() * 1000) + 10 * 24 * 3600 * 1000
    producer = pipeline.producer()
    send(producer, [event(0), event(1, ts=soon), event(2, sessionId="no number"), event(3, ts=soon)])
    bronze = f"streamify.{TABLE}"
    # A bronze table that is gone is what a worker leaves that dies between its two commits: only the letters are there.
    assert pipeline.run()[0] == 0
    assert _places(pipeline) == ([0], [1, 2, 3])
    open_catalog(pipeline.environment).drop_table(bronze)

    code, log = pipeline.run("--max-event-time-ahead", "60d")

    assert code == 0, log
    assert _places(pipeline) == ([0], [1, 2, 3]), "a dead letter became a row as well"

    send(producer, [event(4, ts=soon), event(5, sessionId="no number")])
    assert pipeline.run("--max-event-time-ahead", "60d")[0] == 0
    assert _places(pipeline) == ([0, 4], [1, 2, 3, 5])
    open_catalog(pipeline.environment).drop_table(bronze)

    code, log = pipeline.run()

    assert code == 0, log
    assert _places(pipeline) == ([0], [1, 2, 3, 4, 5]), "a row that is a dead letter now was lost"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_stopped_service_commits_what_it_read(pipeline: Pipeline, number: signal.Signals, tmp_path: Path) -> None:
    pipeline.create_topic()
    send(pipeline.producer(), [event(one) for one in range(10)])
    worker = pipeline.worker("--freshness", "300ms")
    try:
        wait_until(lambda: (tmp_path / "catalog.db").exists() and _has(pipeline, 10), SECONDS, "the first rows did not come")
        send(pipeline.producer(), [event(one) for one in range(10, 20)])
        wait_until(lambda: _has(pipeline, 20), SECONDS, "the next rows did not come")
    finally:
        worker.send_signal(number)
        _, log = worker.communicate(timeout=9)

    assert worker.returncode == 0, log
    assert pipeline.sessions() == list(range(20))


def _has(pipeline: Pipeline, rows: int) -> bool:
    try:
        return len(pipeline.sessions()) >= rows
    except (NoSuchTableError, OperationalError):
        return False  # the worker is still making the catalog


def test_the_table_names_are_those_of_the_contracts(pipeline: Pipeline) -> None:
    pipeline.create_topic()
    assert pipeline.run()[0] == 0

    assert pipeline.table().name()[-1] == TABLE
