"""The worker's Kafka side against a real broker: what the in-process mock cannot do.

Transactions and the last stable offset, compaction, topic ids, deleted records. Driven through the example program
`kafka_probe`, which prints what it saw as JSON; built by `cargo build --release -p streamify-stream --examples`.
"""

import json
import os
import re
import subprocess
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from dagster_project.lib.paths import find_binary
from tools.stack import Stack, StackOptions

pytestmark = pytest.mark.integration

SECONDS = 30


def probe_program() -> str:
    """Returns the example's path; building it is the caller's work, so its absence is an error."""
    return str(find_binary("examples/kafka_probe", os.environ))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A broker of its own, whose log cleaner is quick enough to watch."""
    properties = {"log.cleaner.backoff.ms": "100", "log.cleaner.min.cleanable.ratio": "0.01"}
    options = StackOptions(only=("kafka",), kafka_properties=properties)
    with Stack(tmp_path_factory.mktemp("kafka-probe"), options) as running:
        yield running


@pytest.fixture
def servers(broker: Stack) -> str:
    return broker.kafka.bootstrap_servers


@pytest.fixture
def admin(servers: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": servers})


def create(admin: AdminClient, topic: str, num_partitions: int = 1, **config: str) -> None:
    config = {name.replace("_", "."): value for name, value in config.items()}
    future = admin.create_topics([NewTopic(topic, num_partitions, 1, config=config)])[topic]
    future.result(SECONDS)


@pytest.fixture
def topic(admin: AdminClient, request: pytest.FixtureRequest) -> str:
    """A topic of the test's own with one partition."""
    name = re.sub(r"\W", "-", request.node.name)
    create(admin, name)
    return name


@pytest.fixture
def probe(servers: str) -> Callable[..., dict[str, Any]]:
    """Runs `kafka_probe`; further words are arguments, options of the connection go before the command."""

    def run(*words: str, before: tuple[str, ...] = ()) -> dict[str, Any]:
        command = [probe_program(), "--servers", servers, *before, *words]
        result = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert result.returncode == 0, result.stderr
        answer: dict[str, Any] = json.loads(result.stdout)
        return answer

    return run


class Writer:
    """A transactional producer of one partition."""

    def __init__(self, servers: str, topic: str) -> None:
        self.topic = topic
        self.producer = Producer({"bootstrap.servers": servers, "transactional.id": uuid.uuid4().hex})
        self.producer.init_transactions(SECONDS)

    def begin(self, values: range) -> None:
        """Begins a transaction and makes sure that its records are in the log."""
        self.producer.begin_transaction()
        for value in values:
            self.producer.produce(self.topic, str(value), partition=0)
        assert self.producer.flush(SECONDS) == 0

    def commit(self, values: range) -> None:
        self.begin(values)
        self.producer.commit_transaction(SECONDS)

    def abort(self, values: range) -> None:
        self.begin(values)
        self.producer.abort_transaction(SECONDS)


def produce(servers: str, topic: str, records: list[tuple[str | None, str]], **config: str) -> None:
    config = {name.replace("_", "."): value for name, value in config.items()}
    producer = Producer({"bootstrap.servers": servers, **config})
    for key, value in records:
        producer.produce(topic, value, key, partition=0)
    assert producer.flush(SECONDS) == 0


def numbers(partition: dict[str, Any]) -> list[int]:
    return [int(value) for _, value, _ in partition["values"]]


def test_log_that_ends_with_an_aborted_transaction_is_read_to_its_end(probe, servers: str, topic: str) -> None:
    writer = Writer(servers, topic)
    writer.commit(range(10))
    writer.abort(range(10, 30))

    partition = probe("drain", topic, "--show-values")["partitions"][f"{topic}/0"]

    # 10 records and their marker, 20 aborted ones and theirs.
    assert numbers(partition) == list(range(10))
    assert (partition["to"], partition["received"], partition["skipped_by_broker"]) == (32, 10, 22)


def test_log_of_nothing_but_aborted_transactions_is_read_to_its_end(probe, servers: str, topic: str) -> None:
    Writer(servers, topic).abort(range(5))

    partition = probe("drain", topic)["partitions"][f"{topic}/0"]

    assert (partition["to"], partition["received"], partition["skipped_by_broker"]) == (6, 0, 6)


def test_reading_begins_amid_an_aborted_transaction(probe, servers: str, topic: str) -> None:
    writer = Writer(servers, topic)
    writer.abort(range(10))
    writer.commit(range(10, 13))

    partition = probe("drain", topic, "--from", "0=4", "--show-values")["partitions"][f"{topic}/0"]

    assert numbers(partition) == [10, 11, 12]
    assert (partition["from"], partition["to"], partition["skipped_by_broker"]) == (4, 15, 8)


def test_open_transaction_ends_the_stable_part(probe, servers: str, topic: str) -> None:
    Writer(servers, topic).commit(range(3))
    opened = Writer(servers, topic)
    opened.begin(range(3, 8))
    Writer(servers, topic).commit(range(8, 10))
    key = f"{topic}/0"

    committed = probe("watermarks", topic)["partitions"][key]
    everything = probe("watermarks", topic, before=("--read-uncommitted",))["partitions"][key]
    read = probe("drain", topic, "--show-values")["partitions"][key]
    opened.producer.commit_transaction(SECONDS)
    after = probe("drain", topic, "--from", f"0={read['to']}", "--show-values")["partitions"][key]

    assert (committed["stable_end"], committed["high_watermark"]) == (4, 12)
    assert everything["stable_end"] == everything["high_watermark"] == 12
    assert (numbers(read), read["to"]) == ([0, 1, 2], 4)
    assert (numbers(after), after["to"]) == ([3, 4, 5, 6, 7, 8, 9], 13)


def test_uncommitted_reading_sees_aborted_records_but_no_markers(probe, servers: str, topic: str) -> None:
    Writer(servers, topic).abort(range(4))

    partition = probe("drain", topic, "--show-values", before=("--read-uncommitted",))["partitions"][f"{topic}/0"]

    assert numbers(partition) == [0, 1, 2, 3]
    assert (partition["to"], partition["skipped_by_broker"]) == (5, 1)


def test_compacted_offsets_are_skipped_and_counted(probe, servers: str, admin: AdminClient, wait_until) -> None:
    topic = "compacted"
    create(admin, topic, cleanup_policy="compact", segment_ms="100", min_cleanable_dirty_ratio="0.01")
    produce(servers, topic, [("same", str(value)) for value in range(50)])

    def compacted() -> dict[str, Any]:
        # Each record rolls the segment that the cleaner may not touch while it is the active one.
        produce(servers, topic, [("same", "last")])
        partition: dict[str, Any] = probe("drain", topic, "--show-values")["partitions"][f"{topic}/0"]
        assert partition["received"] + partition["skipped_by_broker"] == partition["to"] - partition["from"]
        return partition

    wait_until(lambda: compacted()["skipped_by_broker"] >= 49, "the cleaner to remove what was overwritten", 60)
    assert compacted()["values"][-1][1] == "last"


def test_deleted_records_are_a_gap_and_a_lost_log_is_a_regression(probe, servers: str, admin: AdminClient, topic: str) -> None:
    produce(servers, topic, [(None, str(value)) for value in range(20)])
    deleted = admin.delete_records([TopicPartition(topic, 0, 12)])
    next(iter(deleted.values())).result(SECONDS)

    def resume(offset: int) -> object:
        return probe("watermarks", topic, "--from", f"0={offset}")["partitions"][f"{topic}/0"]["resume"]

    assert resume(5) == {"gap": 7, "earliest": 12}
    assert resume(12) == resume(20) == "possible"
    assert resume(21) == {"regression_to": 20}


def test_reading_from_a_deleted_offset_fails_instead_of_jumping(servers: str, admin: AdminClient, topic: str) -> None:
    produce(servers, topic, [(None, str(value)) for value in range(20)])
    next(iter(admin.delete_records([TopicPartition(topic, 0, 12)]).values())).result(SECONDS)

    command = [probe_program(), "--servers", servers, "drain", topic, "--from", "0=5"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)

    assert result.returncode == 1
    assert f"failed to read {topic}/0" in result.stderr
    assert "out of range" in result.stderr


def test_topic_made_again_has_another_id(probe, servers: str, admin: AdminClient, wait_until) -> None:
    topic = "reborn"
    create(admin, topic, 3)
    first = probe("identity", topic, "absent")
    admin.delete_topics([topic])[topic].result(SECONDS)
    wait_until(lambda: topic not in admin.list_topics(timeout=SECONDS).topics, "the topic to be gone")
    create(admin, topic, 2)
    second = probe("identity", topic)

    described = admin.describe_cluster().result(SECONDS)
    assert first["cluster_id"] == second["cluster_id"] == described.cluster_id
    assert set(first["topics"]) == {topic}
    assert first["topics"][topic]["num_partitions"] == 3
    assert second["topics"][topic]["num_partitions"] == 2
    assert first["topics"][topic]["topic_id"]
    assert first["topics"][topic]["topic_id"] != second["topics"][topic]["topic_id"]


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_compression_is_read_by_two_threads(probe, servers: str, admin: AdminClient, codec: str) -> None:
    topic = f"codec-{codec}"
    create(admin, topic, 4)
    producer = Producer({"bootstrap.servers": servers, "compression.type": codec, "linger.ms": 20})
    for value in range(4_000):
        producer.produce(topic, str(value), partition=value % 4, headers={"run_id": f"run-{value % 4}"})
    assert producer.flush(SECONDS) == 0

    answer = probe("drain", topic, "--queues", "2", "--show-values")

    assert answer["records"] == 4_000
    for number in range(4):
        partition = answer["partitions"][f"{topic}/{number}"]
        assert numbers(partition) == list(range(number, 4_000, 4))
        assert {run_id for _, _, run_id in partition["values"]} == {f"run-{number}"}


def test_stable_end_is_what_the_official_client_says(probe, servers: str, admin: AdminClient, topic: str) -> None:
    produce(servers, topic, [(None, str(value)) for value in range(7)])

    ours = probe("watermarks", topic)["partitions"][f"{topic}/0"]
    theirs = admin.list_offsets({TopicPartition(topic, 0): OffsetSpec.latest()})

    assert ours["stable_end"] == next(iter(theirs.values())).result(SECONDS).offset == 7


def test_unreachable_broker_is_named() -> None:
    command = [probe_program(), "--servers", "127.0.0.1:1", "--wait-seconds", "1", "identity", "t"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode == 1
    assert "no broker answered at `127.0.0.1:1` within 1 s" in result.stderr
