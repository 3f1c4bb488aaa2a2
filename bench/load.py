"""Produces an event set of `bench.gen` to Kafka.

python -m bench.load DIR [topic ...] [--compression zstd] [--fresh]

The broker is $KAFKA (127.0.0.1:19092). Topics are made with 4 partitions. Those that exist are left alone and end it, for a
second load would double every record and `truth.json` would no longer hold; with `--fresh` they and their records are deleted
first.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from bench.gen import TOPICS

PARTITIONS = 4
#: Records between two looks at what the broker says of those before.
POLL_RECORDS = 8192
#: A broker that is not there is told once, by the error at the end, and not at each attempt.
QUIET = {"log_level": 2}
#: Nothing is ever thrown away by age: event times lie weeks ahead and behind.
TOPIC = {"retention.ms": "-1", "message.timestamp.type": "LogAppendTime"}
PRODUCER = {
    "linger.ms": 50,
    "batch.size": 262144,
    "acks": "1",
    "enable.idempotence": False,
    "queue.buffering.max.messages": 400000,
    "queue.buffering.max.kbytes": 400000,
    "partitioner": "murmur2_random",
}


def main() -> None:
    """Makes the topics and produces their records; exits with 1 if one of them failed."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dir", type=Path, help="what `bench.gen make` wrote")
    parser.add_argument("topics", nargs="*", default=TOPICS, help="default: all of them")
    parser.add_argument("--compression", default="none", help="none, gzip, snappy, lz4 or zstd (default: %(default)s)")
    parser.add_argument("--fresh", action="store_true", help="delete topics that exist, with their records, and load again")
    parser.add_argument("--timeout", type=float, default=30, help="seconds for each answer of the broker (default: %(default)s)")
    arguments = parser.parse_args()
    servers = os.environ.get("KAFKA", "127.0.0.1:19092")
    missing = [name for name in arguments.topics if not (arguments.dir / f"{name}.kv").is_file()]
    if missing:
        sys.exit(
            f"not in {arguments.dir}: {', '.join(f'{name}.kv' for name in missing)}\n"
            f"  hint: `python -m bench.gen make {arguments.dir}` writes an event set"
        )
    try:
        prepare(servers, arguments.topics, arguments.timeout, fresh=arguments.fresh)
    except KafkaException as error:
        sys.exit(
            f"failed to prepare the topics at {servers}: {error.args[0].str()}\n"
            "  hint: name the broker with $KAFKA; `make stack-up` starts one"
        )
    failed = produce(servers, arguments.dir, arguments.topics, arguments.compression)
    if failed:
        sys.exit(f"{failed} records were not taken")


def prepare(servers: str, topics: Sequence[str], seconds: float, *, fresh: bool) -> None:
    """Makes the topics, which must not be there; with `fresh` those that are are deleted before.

    Raises:
        KafkaException: what the broker refuses.
        SystemExit: topics that are there, or do not go.
    """
    admin = AdminClient(QUIET | {"bootstrap.servers": servers})
    there = _there(admin, topics, seconds)
    if there and not fresh:
        sys.exit(
            f"topics that exist already at {servers}: {', '.join(there)}\n"
            "  hint: name another cluster with $KAFKA, or add `--fresh` to delete them with their records and load again"
        )
    if there:
        for deleted in admin.delete_topics(there, operation_timeout=seconds).values():
            deleted.result()
        _await_gone(admin, there, seconds)
    for made in admin.create_topics([NewTopic(name, PARTITIONS, 1, config=TOPIC) for name in topics]).values():
        made.result()


def _there(admin: AdminClient, topics: Sequence[str], seconds: float) -> list[str]:
    return sorted(set(topics) & set(admin.list_topics(timeout=seconds).topics))


def _await_gone(admin: AdminClient, topics: Sequence[str], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while there := _there(admin, topics, seconds):
        if time.monotonic() > deadline:
            sys.exit(f"topics that were not deleted within {seconds:.0f} s: {', '.join(there)}")
        time.sleep(0.1)


def produce(servers: str, folder: Path, topics: Sequence[str], compression: str) -> int:
    """Produces each line of `<topic>.kv` as a key and a value; returns how many the broker did not take."""
    producer = Producer(QUIET | PRODUCER | {"bootstrap.servers": servers, "compression.type": compression})
    failed = 0

    def count(error: KafkaError | None, _: Message) -> None:
        nonlocal failed
        failed += error is not None

    for topic in topics:
        began, records = time.monotonic(), 0
        with (folder / f"{topic}.kv").open("rb", buffering=1 << 20) as lines:
            for records, line in enumerate(lines, 1):
                key, value = line.split(b"\t", 1)
                while True:
                    try:
                        producer.produce(topic, value, key, on_delivery=count)
                        break
                    except BufferError:
                        producer.poll(0.1)
                if records % POLL_RECORDS == 0:
                    producer.poll(0)
        producer.flush()
        print(f"{topic}: {records:,} records in {time.monotonic() - began:.1f} s", flush=True)
    return failed


if __name__ == "__main__":
    main()
