"""Claims about the speed into a real broker, beside what Kafka's own producer reaches on the same machine in the same minute."""

import re
from collections.abc import Iterator
from pathlib import Path

from tools.prove.claims import Claim, at_least, at_most
from tools.prove.generator import made, window
from tools.stack import Stack, StackOptions

#: Settings of ours, in the names of the Java client: full batches, fast zstd, acknowledged by all.
PRODUCER = ("acks=all", "compression.type=zstd", "compression.zstd.level=1", "linger.ms=20", "batch.size=1000000")
#: A JVM that may compile and has room for full batches.
JAVA = ("-Xmx512m",)
NUM_RECORDS = 2_000_000
GOAL_PER_SECOND = 600_000
#: On a quiet machine; with the broker's 0.7 that makes 600,000 events a second on two full cores.
CPU_SECONDS_PER_MILLION = 2.6
#: Runs before those that count: the broker's JVM takes twice the processor time in the first, half as much again in the second.
NUM_WARM_UP = 2
#: Ours has the events to make, and two headers each.
PART_OF_KAFKAS_OWN = 0.9
#: Runs that count; the best one is told. A shared machine is now and then a third slower than it can be, and never faster.
NUM_MEASURED = 5


def run(folder: Path, users: int, seed: int) -> Iterator[Claim]:
    """Writes four weeks into Kafka with zstd, to warm the broker up and to measure; Kafka's own tool writes in between."""
    with Stack(folder / "stack", StackOptions(only=("kafka",))) as stack:
        servers = stack.environment()["KAFKA_BOOTSTRAP_SERVERS"]
        arguments = [*window(users, 28, seed), "--bootstrap-servers", servers, "--compression", "zstd"]
        for _ in range(NUM_WARM_UP):
            made(*arguments, folder=folder)
        made(*window(2_000, 7, seed), "--out", str(folder / "payload"), folder=folder)
        payload = ("--payload-file", str(folder / "payload" / "page_view_events.jsonl"))
        properties = ("--producer-props", f"bootstrap.servers={servers}", *PRODUCER)
        amount = ("--topic", "ceiling", "--num-records", str(NUM_RECORDS), "--throughput", "-1")
        done, kafkas_own = [], []
        for _ in range(NUM_MEASURED):
            done.append(made(*arguments, folder=folder))
            told = stack.kafka.tool("org.apache.kafka.tools.ProducerPerformance", *amount, *payload, *properties, java=JAVA)
            kafkas_own.append(_rate(told))
    best = max(done, key=lambda run: float(run.answer["events_per_second"]))
    yield from _claims(best.answer, best.cpu, max(kafkas_own))


def _claims(answer: dict[str, float], cpu_seconds: float, kafkas_own: float) -> Iterator[Claim]:
    rate = answer["events_per_second"]
    yield at_least(f"speed: events per second into real Kafka, zstd, best of {NUM_MEASURED}", round(rate), GOAL_PER_SECOND)
    per_million = 1e6 * cpu_seconds / answer["events"]
    yield at_most("speed: the generator's CPU seconds per million events into Kafka", per_million, CPU_SECONDS_PER_MILLION)
    beside = f"speed: as part of the {round(kafkas_own):,} events per second of Kafka's own producer at its best"
    yield at_least(beside, rate / kafkas_own, PART_OF_KAFKAS_OWN)


def _rate(told: str) -> float:
    rates = re.findall(r"^\d+ records sent, ([\d.]+) records/sec", told, re.MULTILINE)
    if not rates:
        raise RuntimeError(f"ProducerPerformance told no rate: {told[-500:]}")
    # The last line is about the whole.
    return float(rates[-1])
