"""Produces an event set at a steady rate, with the moment of each record as its Kafka timestamp.

`python -m bench.live DIR TOPIC EVENTS_PER_SECOND SECONDS`, brokers from $KAFKA.
"""

import os
import sys
import time
from itertools import cycle
from pathlib import Path

from confluent_kafka import Producer


def main() -> None:
    """Produces; the rate is kept by the clock, in steps of a hundredth of a second."""
    folder, topic, rate, seconds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    producer = Producer({"bootstrap.servers": os.environ["KAFKA"], "linger.ms": 5, "enable.idempotence": True})
    with (folder / f"{topic}.kv").open("rb") as lines:
        values = cycle([line.split(b"\t", 1)[1] for line, _ in zip(lines, range(50_000), strict=False)])
    started, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - started) < seconds:
        while sent < elapsed * rate:
            producer.produce(topic, next(values), timestamp=int(time.time() * 1000))
            sent += 1
        producer.poll(0.01)
    producer.flush()


main()
