"""The chaos run: the worker is killed again and again while events arrive; in the end every offset is in a table once."""

import os
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dagster_project.lib.paths import find_binary
from tools.prove.claims import Claim, at_least, at_most, equal
from tools.prove.feed import TOPICS, Feeder, make_events
from tools.prove.tables import end_offsets, landed, open_catalog
from tools.stack import Stack, StackOptions

#: Exit code of a process that `kill -9` ended, as the subprocess module tells it.
KILLED = -signal.SIGKILL


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    events: int
    kills: int


SIZES = {"small": Size(events=120_000, kills=8), "full": Size(events=1_000_000, kills=25)}


def worker(environment: dict[str, str], *arguments: str, log: Path) -> subprocess.Popen[bytes]:
    """Starts the worker, small commits so that many are hit; its log goes to a file."""
    options = ["--freshness", "150ms", "--max-event-time-ahead", "60d", "--log-format", "json", *arguments]
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(find_binary("streamify-stream", os.environ)), *options],
            env=os.environ | dict(environment),
            stdout=output,
            stderr=output,
        )


def run(embedded: bool, size: Size, seed: int) -> Iterator[Claim]:
    """Runs once against REST catalog and S3 store, or on the local catalog and warehouse; the broker is real in both."""
    name = "SQLite catalog" if embedded else "REST catalog, S3"
    folder = Path(tempfile.mkdtemp(prefix="streamify-chaos-"))
    only = ("kafka",) if embedded else ("kafka", "minio", "rest", "gateway")
    try:
        with Stack(folder / "stack", StackOptions(only=only)) as stack:
            environment = stack.environment() | {"STREAMIFY_HOME": str(folder / "home")}
            yield from _run(name, environment, folder, size, seed)
    except BaseException:
        print(f"the logs of the failed run are in {folder}", flush=True)
        raise
    shutil.rmtree(folder)


def _run(name: str, environment: dict[str, str], folder: Path, size: Size, seed: int) -> Iterator[Claim]:
    randomness = random.Random(seed)
    feeder = Feeder(
        environment["KAFKA_BOOTSTRAP_SERVERS"], folder / "events", size.kills, make_events(folder / "events", size.events, seed)
    )
    log = folder / "worker.log"
    kills = 0
    for _slice in feeder.slices():
        kills += _kill_at_a_random_moment(environment, randomness, log)
    while kills < size.kills:
        kills += _kill_at_a_random_moment(environment, randomness, log)
    last = worker(environment, "--until", "caught-up", log=log).wait(timeout=600)
    yield at_least(f"{name}: the worker was killed with SIGKILL", kills, size.kills, " times")
    yield equal(f"{name}: exit code of the last run", last, 0)
    yield at_least(f"{name}: records delivered", feeder.expected.total, size.events)
    yield from _verify(name, environment, feeder, kills)


def _kill_at_a_random_moment(environment: dict[str, str], randomness: random.Random, log: Path) -> int:
    """Returns 1 if the kill met a living worker."""
    process = worker(environment, log=log)
    try:
        # The moment is the experiment here, not something to wait for.
        process.wait(timeout=randomness.uniform(0.05, 2.0))
    except subprocess.TimeoutExpired:
        process.kill()
    if process.wait() != KILLED:
        raise RuntimeError(f"the worker ended by itself with exit code {process.returncode}, see {log}")
    return 1


def _verify(name: str, environment: dict[str, str], feeder: Feeder, kills: int) -> Iterator[Claim]:
    catalog = open_catalog(environment)
    orphans: set[str] = set()
    for topic in TOPICS:
        ends = end_offsets(environment["KAFKA_BOOTSTRAP_SERVERS"], topic)
        found = landed(catalog, environment, topic, ends)
        delivered, letters = feeder.expected.delivered[topic], feeder.expected.dead_letters[topic]
        rows = delivered - letters
        yield equal(f"{name}: {topic}: offsets in no table", found.missing, 0)
        yield equal(f"{name}: {topic}: offsets in a table twice", found.doubled, 0)
        yield equal(f"{name}: {topic}: rows (PyIceberg)", found.rows, rows)
        yield equal(
            f"{name}: {topic}: rows, distinct coordinates (DuckDB)", (found.duckdb_rows, found.duckdb_distinct), (rows, rows)
        )
        yield equal(f"{name}: {topic}: dead letters", found.dead_letters, letters)
        yield equal(f"{name}: {topic}: distinct events by event_id", found.distinct_events, feeder.expected.distinct[topic])
        yield equal(f"{name}: {topic}: state of the table is the end of the topic", found.state, ends)
        ledger = found.ledger
        yield equal(f"{name}: {topic}: ledger received", ledger["received"], delivered)
        yield equal(f"{name}: {topic}: ledger unaccounted", ledger["received"] - ledger["rows"] - ledger["dead_letters"], 0)
        orphans |= found.orphan_commits
    yield at_most(f"{name}: commits that left orphan files (killed attempts)", len(orphans), kills * len(TOPICS))
