"""Puts an event set with known truth, and dirty records, into Kafka, slice by slice."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from tools.prove.dirty import records

TOPICS = ("listen_events", "page_view_events", "auth_events", "status_change_events")
PARTITIONS = 4


@dataclass
class Expected:
    """What must be in the tables in the end, per topic."""

    delivered: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)
    distinct: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Records delivered over all topics."""
        return sum(self.delivered.values())


def make_events(folder: Path, events: int, seed: int) -> dict[str, int]:
    """Makes `events` deliveries over four topics with 2 % duplicates; returns the distinct events per topic."""
    if not (folder / "truth.json").exists():
        listens = round(events * 0.75 / 1.02)
        command = [sys.executable, "-m", "bench.gen", "make", str(folder), "--listens", str(listens)]
        command += ["--users", str(max(1_000, events // 50)), "--seed", str(seed), "--dup", "0.02"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    return {topic: truth["topics"][topic]["distinct"] for topic in TOPICS}


class Feeder:
    """Delivers the event set in `slices` parts, each with one dirty record of every kind per topic."""

    def __init__(self, bootstrap_servers: str, folder: Path, slices: int, distinct: dict[str, int]) -> None:
        """Creates the topics and opens the files."""
        self.expected = Expected(distinct=dict(distinct))
        self._slices = slices
        self._slice = 0
        self._files = {topic: (folder / f"{topic}.kv").open("rb") for topic in TOPICS}
        truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
        self._per_slice = {topic: -(-truth["topics"][topic]["delivered"] // slices) for topic in TOPICS}
        admin = AdminClient({"bootstrap.servers": bootstrap_servers})
        for future in admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in TOPICS]).values():
            future.result()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "enable.idempotence": True,
                "linger.ms": 20,
                "compression.type": "lz4",
                "message.max.bytes": 4_000_000,
                "queue.buffering.max.kbytes": 200_000,
            }
        )
        self._failed: list[KafkaError] = []

    def deliver_slice(self) -> bool:
        """Delivers the next slice; returns whether there was one."""
        if self._slice == self._slices:
            return False
        for topic in TOPICS:
            for line in islice(self._files[topic], self._per_slice[topic]):
                key, value = line.split(b"\t", 1)
                self._send(topic, value, key)
            for record in records(topic, int(time.time() * 1000), self._slice * 1000):
                self._send(topic, record.value, None)
                if record.is_row:
                    self.expected.distinct[topic] += 1
                else:
                    self.expected.dead_letters[topic] += 1
        self._producer.flush()
        if self._failed:
            raise RuntimeError(f"{len(self._failed)} deliveries failed, the first: {self._failed[0]}")
        self._slice += 1
        return True

    def _send(self, topic: str, value: bytes | None, key: bytes | None) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=self._delivered)
                break
            except BufferError:
                self._producer.poll(0.1)
        self.expected.delivered[topic] += 1
        self._producer.poll(0)

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed.append(error)

    def slices(self) -> Iterator[int]:
        """Delivers all slices, yielding after each."""
        while self.deliver_slice():
            yield self._slice
