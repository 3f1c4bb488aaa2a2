"""One set of real components for all integration tests; each test has its own topics, tables and namespace."""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from pyiceberg.table import Table

from dagster_project.lib.paths import find_binary
from tools.prove.tables import end_offsets, open_catalog
from tools.stack import Stack, StackOptions
from tools.stack.spark import Spark

TOPIC = "status_change_events"
TABLE = f"bronze_{TOPIC}"
SECONDS = 60


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A real broker."""
    with Stack(tmp_path_factory.mktemp("kafka"), StackOptions(only=("kafka",))) as stack:
        yield stack


@pytest.fixture(scope="package")
def lakehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An S3 store, and the REST catalog behind the strict gateway."""
    with Stack(tmp_path_factory.mktemp("lakehouse"), StackOptions(only=("gateway",))) as stack:
        yield stack


@pytest.fixture(scope="package")
def spark(lakehouse: Stack) -> Iterator[Spark]:
    """A Spark session on that catalog."""
    with Spark(lakehouse.environment()) as session:
        yield session


def drop_tables(lakehouse: Stack) -> None:
    """Leaves an empty namespace to the next test."""
    catalog = open_catalog(lakehouse.environment("maintenance"))
    for table in catalog.list_tables("streamify"):
        catalog.drop_table(table)


def event(number: int, **changes: object) -> dict[str, object]:
    """Returns a valid status change; each number is another event."""
    made: dict[str, object] = {
        "ts": 1_790_000_000_000 + number * 1000,
        "sessionId": number,
        "auth": "Logged In",
        "level": "free",
        "itemInSession": 0,
        "city": "Bear",
        "zip": "19701",
        "state": "DE",
        "userAgent": '"Mozilla/5.0"',
        "lon": -75.7,
        "lat": 39.58,
        "userId": number + 2,
        "lastName": "Ash",
        "firstName": "Leo",
        "gender": "M",
        "registration": 1_780_000_000_000,
    }
    return made | changes


@dataclass
class Pipeline:
    """A topic on the real broker, and a worker with a local warehouse of its own."""

    servers: str
    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    @cached_property
    def admin(self) -> AdminClient:
        """An administrator, kept: its answers come only as long as it lives."""
        return AdminClient({"bootstrap.servers": self.servers})

    def create_topic(self, partitions: int = 1) -> None:
        """Creates the topic."""
        self.admin.create_topics([NewTopic(TOPIC, partitions, 1)])[TOPIC].result(SECONDS)

    def delete_topic(self) -> None:
        """Deletes the topic, with its records and its id."""
        self.admin.delete_topics([TOPIC], operation_timeout=SECONDS)[TOPIC].result(SECONDS)

    def producer(self, **options: object) -> Producer:
        """A producer."""
        return Producer({"bootstrap.servers": self.servers, **options})

    def worker(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts the worker; its log comes on stderr."""
        command = [str(find_binary("streamify-stream", os.environ)), "--topics", TOPIC, *arguments]
        return subprocess.Popen(command, env=os.environ | self.environment, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: str) -> tuple[int, str]:
        """Runs the worker to its end; returns exit code and log."""
        process = self.worker("--until", "caught-up", *arguments)
        _, log = process.communicate(timeout=SECONDS)
        return process.returncode, log

    def table(self) -> Table:
        """The bronze table, read by PyIceberg."""
        return open_catalog(self.environment).load_table(f"streamify.{TABLE}")

    def sessions(self) -> list[int]:
        """The session ids of all rows, sorted: which events are in the table, and how often."""
        rows = self.table().scan(selected_fields=("sessionId",)).to_arrow()
        return sorted(rows["sessionId"].to_pylist())

    def ends(self) -> dict[int, int]:
        """End offsets by partition."""
        return end_offsets(self.servers, TOPIC)


@pytest.fixture
def pipeline(kafka: Stack, tmp_path: Path, clean_environment: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """A fresh topic (deleted afterwards) and an empty warehouse."""
    made = Pipeline(kafka.kafka.bootstrap_servers, tmp_path)
    made.environment = {
        "KAFKA_BOOTSTRAP_SERVERS": made.servers,
        "STREAMIFY_HOME": str(tmp_path),
        "STREAMIFY_GROUP_ID": f"group-{uuid.uuid4()}",
    }
    yield made
    if TOPIC in made.admin.list_topics(timeout=SECONDS).topics:
        made.delete_topic()


def send(producer: Producer, events: Sequence[dict[str, object]], partition: int = 0) -> None:
    """Produces events as the music service does: JSON and a newline."""
    for one in events:
        producer.produce(TOPIC, json.dumps(one).encode() + b"\n", partition=partition)
    producer.flush()
