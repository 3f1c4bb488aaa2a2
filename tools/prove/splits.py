"""Silver and sessions against the truth of an event set, whatever the split into runs, with kills and races in between.

Bronze is filled from files by the example `fill_bronze`, so that hundreds of batches cost seconds; that Kafka's records land in
bronze exactly once is the part `bronze`. The truth comes from `session_law`, row by row, out of the whole event set; without
stitching it must be what the generator knows.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import duckdb

from dagster_project.lib.paths import find_binary
from tools.prove import session_law
from tools.prove.claims import Claim, at_least, equal
from tools.prove.deliveries import Batch, split
from tools.prove.silver_tables import TOPICS, held_against_the_truth, live_files, read_alike
from tools.stack import Stack, StackOptions

JOBS = ("silver", "sessions")
#: How long a job takes before one was seen, for the moments of the kills: seconds, and rows in a second.
START_SECONDS, ROWS_PER_SECOND = 0.3, 300_000
#: Chances of a kill before a run, and of a rival beside it; the first batch has kills and a race for sure.
KILL, RACE = 0.3, 0.2
FIRST_KILLS = 3
DAY_MS = 86_400_000
#: The events lie within four weeks; of several batches one has a delivery so late.
LATE_DAYS = 20


@dataclass
class Case:
    """One lake, and what happened to it."""

    environment: Mapping[str, str]
    work: Path
    chance: Random
    #: seconds that each job took last
    seconds: dict[str, float]
    #: runs killed while they worked, and pairs of runs at once
    met: Counter[str] = field(default_factory=Counter)


def run(data: Path, splits: tuple[tuple[int, str], ...], seed: int, with_spark: bool) -> Iterator[Claim]:
    """Runs every split of the event set `data`, the second one on the REST catalog and S3, the others on the embedded lake."""
    truth = json.loads((data / "truth.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="streamify-silver-") as folder:
        work = Path(folder)
        with duckdb.connect(str(work / "truth.db"), config={"memory_limit": "6GB"}) as connection:
            yield from _truth(connection, data, truth)
            for number, (count, order) in enumerate(splits):
                started = time.monotonic()
                is_rest = number == 1
                batches = split(data, TOPICS, count, order, seed + number, work / "batches")
                with _lake(work / "lake", is_rest) as environment:
                    guess = dict.fromkeys(JOBS, START_SECONDS + truth["delivered_total"] / count / ROWS_PER_SECOND)
                    case = Case(environment, work / "lake", Random(seed + number), guess)
                    name = f"{count} batches {order}" if count > 1 else "one batch"
                    name += ", REST + S3" if is_rest else ", SQLite"
                    yield from _bring_in(name, case, batches)
                    yield from held_against_the_truth(name, environment, connection, truth["topics"], work / "lake" / "copies")
                    if is_rest:
                        yield from read_alike(name, environment, with_spark)
                shutil.rmtree(work / "lake")
                shutil.rmtree(work / "batches")
                print(f"         {name}: {time.monotonic() - started:.0f} s", flush=True)


@contextmanager
def _lake(work: Path, is_rest: bool) -> Iterator[dict[str, str]]:
    work.mkdir()
    home = {"STREAMIFY_HOME": str(work / "home")}
    if not is_rest:
        yield home
        return
    with Stack(work / "stack", StackOptions(only=("gateway",))) as stack:
        yield stack.environment() | home


def _truth(connection: duckdb.DuckDBPyConnection, data: Path, truth: Mapping[str, Any]) -> Iterator[Claim]:
    """Computes the truth, and holds it against what the generator knows without stitching."""
    session_law.load(connection, {topic: [data / f"{topic}.kv"] for topic in TOPICS})
    known = "(SELECT * FROM events WHERE user_id IS NOT NULL)"
    session_law.sessions(connection, "known_sessions", known)
    query = "SELECT count(*), sum(ended_ms - started_ms)::BIGINT, sum(event_count)::BIGINT, sum(event_count ** 2)::BIGINT"
    told = truth["all_topics_known_user"]
    expected = tuple(told[name] for name in ("sessions", "sum_duration_ms", "sum_events", "sum_events_squared"))
    found = connection.execute(f"{query} FROM known_sessions").fetchone()
    yield equal("the law without stitching: sessions, their ms, events, events squared, as generated", found, expected)
    session_law.sessions(connection)


def _bring_in(name: str, case: Case, batches: list[list[Batch]]) -> Iterator[Claim]:
    """Delivers batch after batch, and takes each into silver and sessions."""
    for number, batch in enumerate(batches):
        _deliver(case, batch)
        for job in JOBS:
            _bring_up(case, job, is_first=number == 0)
    yield at_least(f"{name}: runs killed while they worked", case.met["kills"], max(2, len(batches) // 10))
    yield at_least(f"{name}: pairs of runs at once", case.met["races"], max(2, len(batches) // 10))
    if len(batches) > 1:
        bronze = live_files(case.environment, "bronze_listen_events", case.work / "copies")
        latest = "max(ts) OVER (ORDER BY _source_epoch, _kafka_partition, _kafka_offset)"
        [late] = duckdb.sql(f"SELECT max(behind) FROM (SELECT {latest} - ts AS behind FROM {bronze})").fetchone() or [0]
        yield at_least(f"{name}: the latest delivery, behind events before it", late / DAY_MS, LATE_DAYS, " days")


def _deliver(case: Case, batch: list[Batch]) -> None:
    program = str(find_binary("examples/fill_bronze", os.environ))
    for part in batch:
        command = [program, str(part.path), part.topic, "250000", "0", str(part.first_offset)]
        subprocess.run(command, check=True, env=os.environ | dict(case.environment), stdout=subprocess.DEVNULL)


def _bring_up(case: Case, job: str, is_first: bool) -> None:
    """Runs a job until nothing is left; some runs are killed and started again, some have a rival."""
    for _ in range(FIRST_KILLS if is_first else int(case.chance.random() < KILL)):
        _kill(case, job)
    racing = 2 if is_first or case.chance.random() < RACE else 1
    case.met["races"] += racing - 1
    started = time.monotonic()
    runs = [_start(case, job) for _ in range(racing)]
    if any([one.wait() != 0 for one in runs]):
        raise RuntimeError(f"{job} failed, {racing} at once: {_log(case).read_text(encoding='utf-8')[-2000:]}")
    case.seconds[job] = time.monotonic() - started


def _kill(case: Case, job: str) -> None:
    """Starts a run and kills it at a moment by chance; a run that is faster just ends."""
    process = _start(case, job)
    try:
        # The moment is the experiment here, not something to wait for.
        process.wait(case.chance.uniform(0.02, case.seconds[job]))
    except subprocess.TimeoutExpired:
        process.kill()
    case.met["kills"] += process.wait() == -signal.SIGKILL


def _start(case: Case, job: str) -> subprocess.Popen[bytes]:
    command = [str(find_binary("streamify-batch", os.environ)), job]
    with _log(case).open("ab") as log:
        return subprocess.Popen(command, env=os.environ | dict(case.environment), stdout=log, stderr=log)


def _log(case: Case) -> Path:
    return case.work / "jobs.log"
