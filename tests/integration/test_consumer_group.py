"""Workers that share a topic through a consumer group on a real broker: frozen, killed or stopped, they lose nothing."""

import contextlib
import signal
import subprocess
from collections.abc import Iterator

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from pyiceberg.exceptions import NoSuchTableError
from sqlalchemy.exc import OperationalError

from tests.integration.conftest import SECONDS, TOPIC, Pipeline, event, send
from tools.stack.processes import wait_until

pytestmark = pytest.mark.integration

PARTITIONS = 4
# The shortest session that a broker takes by default: this is how long a frozen member keeps its partitions.
SESSION = ("--kafka-option", "session.timeout.ms=6000", "--kafka-option", "heartbeat.interval.ms=500")
OPTIONS = ("--assignment", "group", "--freshness", "500ms", *SESSION)


@contextlib.contextmanager
def members(pipeline: Pipeline, count: int) -> Iterator[list["subprocess.Popen[str]"]]:
    workers = [pipeline.worker(*OPTIONS) for _ in range(count)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate(timeout=SECONDS)


def produce(pipeline: Pipeline, numbers: range) -> None:
    producer = pipeline.producer()
    for partition in range(PARTITIONS):
        send(producer, [event(number) for number in numbers if number % PARTITIONS == partition], partition)


def wait_for(pipeline: Pipeline, count: int) -> None:
    def arrived() -> bool:
        try:
            return len(pipeline.sessions()) >= count
        except (NoSuchTableError, OperationalError):
            return False

    wait_until(arrived, SECONDS, f"{count} rows are not in the table")


def stop(worker: "subprocess.Popen[str]") -> str:
    worker.send_signal(signal.SIGTERM)
    _, log = worker.communicate(timeout=SECONDS)
    assert worker.returncode == 0, log
    return log


def test_a_frozen_member_loses_its_partitions_and_begins_anew_when_it_wakes(pipeline: Pipeline) -> None:
    pipeline.create_topic(PARTITIONS)
    produce(pipeline, range(400))
    with members(pipeline, 2) as (frozen, awake):
        wait_for(pipeline, 400)
        frozen.send_signal(signal.SIGSTOP)
        produce(pipeline, range(400, 800))
        # All of it, so the one that is awake has been given every partition.
        wait_for(pipeline, 800)
        frozen.send_signal(signal.SIGCONT)
        produce(pipeline, range(800, 1200))
        wait_for(pipeline, 1200)
        logs = [stop(awake)]
        produce(pipeline, range(1200, 1300))
        wait_for(pipeline, 1300)
        logs.append(stop(frozen))

    assert pipeline.sessions() == list(range(1300)), logs


def test_a_killed_member_s_partitions_go_on_where_it_had_committed(pipeline: Pipeline) -> None:
    pipeline.create_topic(PARTITIONS)
    produce(pipeline, range(400))
    with members(pipeline, 2) as (killed, other):
        wait_for(pipeline, 400)
        produce(pipeline, range(400, 2000))
        killed.kill()
        wait_for(pipeline, 2000)
        log = stop(other)

    assert pipeline.sessions() == list(range(2000)), log


def test_lag_tools_see_the_offsets_of_a_group_with_members(pipeline: Pipeline) -> None:
    pipeline.create_topic(PARTITIONS)
    produce(pipeline, range(400))
    group = pipeline.environment["STREAMIFY_GROUP_ID"]
    wanted = [TopicPartition(TOPIC, partition) for partition in range(PARTITIONS)]

    def offsets() -> list[int]:
        asked = pipeline.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, wanted)])
        return [partition.offset for partition in asked[group].result(SECONDS).topic_partitions]

    with members(pipeline, 1) as (worker,):
        wait_until(lambda: offsets() == [100] * PARTITIONS, SECONDS, "the group was not told the offsets")
        stop(worker)
