"""Silver and sessions against the truth of an event set, whatever the split into runs, with kills and races in between.

Bronze is filled from files by the example `fill_bronze`, so that hundreds of batches cost seconds; that Kafka's records land in
bronze exactly once is the part `bronze`. The truth comes from `session_law`, row by row.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import duckdb

from dagster_project.lib.paths import find_binary
from tools.prove import session_law
from tools.prove.claims import Claim, equal
from tools.prove.deliveries import Batch, split
from tools.prove.tables import open_catalog
from tools.stack import Stack, StackOptions

TOPICS = ("listen_events", "page_view_events", "auth_events", "status_change_events")
LISTENS = {"small": 60_000, "full": 5_000_000}
SPLITS = {"small": ((1, "forward"), (7, "mixed"), (25, "forward")), "full": ((1, "forward"), (7, "backward"), (100, "forward"))}
#: Columns of silver that stand in the event as they are; texts before their repair.
COMMON = "epoch_ms(event_ts) AS ts, session_id, item_in_session AS item, user_id, city, state"
OWN = {
    "listen_events": "coalesce(artist_original, artist), coalesce(song_original, song), level",
    "page_view_events": "page, coalesce(artist_original, artist), coalesce(song_original, song), level",
    "auth_events": "level",
    "status_change_events": "old_level AS level",
}

#: The same of the events as they were told.
TOLD = {
    "listen_events": "artist, song, level",
    "page_view_events": "page, artist, song, level",
    "auth_events": "level",
    "status_change_events": "level",
}


@dataclass(frozen=True)
class Case:
    """One lake with its deliveries."""

    environment: Mapping[str, str]
    batches: list[list[Batch]]
    chance: random.Random
    work: Path


def proofs(size: str, seed: int) -> Iterator[Claim]:
    """Makes the event set and runs every split on it."""
    with tempfile.TemporaryDirectory(prefix="streamify-silver-") as folder:
        work = Path(folder)
        data = work / "data"
        make = ["make", str(data), "--listens", str(LISTENS[size]), "--seed", str(seed)]
        subprocess.run([sys.executable, "-m", "bench.gen", *make], check=True, stdout=subprocess.DEVNULL)
        for number, (count, order) in enumerate(SPLITS[size]):
            name = f"{count} batches {order}" if count > 1 else "one batch"
            # The second split runs on the REST catalog and S3, the others on the embedded lake.
            yield from _case(name, number == 1, data, count, order, seed + number, work / f"case-{number}")


def _case(name: str, rest: bool, data: Path, count: int, order: str, seed: int, work: Path) -> Iterator[Claim]:
    batches = split(data, TOPICS, count, order, seed, work / "batches")
    stack: AbstractContextManager[Stack | None] = (
        Stack(work / "stack", StackOptions(only=("gateway",))) if rest else nullcontext()
    )
    with stack as running:
        environment = {"STREAMIFY_HOME": str(work / "home")} | (running.environment() if running else {})
        case = Case(environment, batches, random.Random(seed), work)
        where = "REST + S3" if rest else "SQLite"
        for batch in batches:
            _deliver(case, batch)
            _bring_up(case)
        yield from _verdicts(f"{name}, {where}", case, data)
    shutil.rmtree(work)


def _deliver(case: Case, batch: list[Batch]) -> None:
    program = str(find_binary("examples/fill_bronze", os.environ))
    for part in batch:
        command = [program, str(part.path), part.topic, "250000", "0", str(part.first_offset)]
        subprocess.run(command, check=True, env=os.environ | dict(case.environment), stdout=subprocess.DEVNULL)


def _bring_up(case: Case) -> None:
    """Runs silver, then sessions; some runs are killed and started again, some have a rival."""
    for job in ("silver", "sessions"):
        if case.chance.random() < 0.3:
            _kill(case, job)
        if case.chance.random() < 0.2:
            rivals = [_start(case, job), _start(case, job)]
            if any([rival.wait() != 0 for rival in rivals]):
                raise RuntimeError(f"one of two racing runs of {job} failed, see {case.work / 'jobs.log'}")
        elif _start(case, job).wait() != 0:
            raise RuntimeError(f"{job} failed, see {case.work / 'jobs.log'}")


def _start(case: Case, job: str) -> subprocess.Popen[bytes]:
    command = [str(find_binary("streamify-batch", os.environ)), job]
    with (case.work / "jobs.log").open("ab") as log:
        return subprocess.Popen(command, env=os.environ | dict(case.environment), stdout=log, stderr=log)


def _kill(case: Case, job: str) -> None:
    """Starts a run and kills it at a moment by chance; a run that is faster just ends."""
    process = _start(case, job)
    deadline = time.monotonic() + case.chance.uniform(0.02, 1.5)
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait()


def _verdicts(name: str, case: Case, data: Path) -> Iterator[Claim]:
    connection = duckdb.connect(str(case.work / "truth.db"))
    connection.execute("SET memory_limit = '4GB'")
    files = {topic: [part.path for batch in case.batches for part in batch if part.topic == topic] for topic in TOPICS}
    session_law.load(connection, files)
    truth = json.loads((data / "truth.json").read_text(encoding="utf-8"))["topics"]
    for topic in TOPICS:
        silver = _rows(case, f"silver_{topic}")
        found = connection.execute(f"SELECT count(*), count(DISTINCT event_id) FROM {silver}").fetchone()
        distinct = truth[topic]["distinct"]
        yield equal(f"{name}: {topic}: rows, event ids", found, (distinct, distinct))
        columns = f"ts, session_id, item, user_id, city, state, {TOLD[topic]}"
        expected = f"SELECT {columns} FROM events WHERE topic = '{topic}'"
        differing = session_law.differences(connection, expected, f"SELECT {COMMON}, {OWN[topic]} FROM {silver}")
        yield equal(f"{name}: {topic}: rows unlike the truth", differing, 0)
    session_law.sessions(connection)
    expected = "SELECT * FROM true_sessions"
    found_sessions = f"SELECT {session_law.TABLE_COLUMNS} FROM {_rows(case, 'silver_user_sessions')}"
    count = connection.execute("SELECT count(*) FROM true_sessions").fetchone()
    yield equal(
        f"{name}: sessions unlike the truth, of {count[0]:,}" if count else name,
        session_law.differences(connection, expected, found_sessions),
        0,
    )
    connection.close()


def _rows(case: Case, table: str) -> str:
    """Returns the live files of a table as a DuckDB relation; those on S3 are copied to the disk first."""
    catalog = open_catalog(dict(case.environment))
    loaded = catalog.load_table(f"streamify.{table}")
    folder = case.work / "copies" / table
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, task in enumerate(loaded.scan().plan_files()):
        path = task.file.file_path
        if path.startswith("s3"):
            copy = folder / f"{number}.parquet"
            copy.write_bytes(loaded.io.new_input(path).open().read())
            path = str(copy)
        paths.append(f"'{path.removeprefix('file://')}'")
    return f"read_parquet([{', '.join(paths)}], hive_partitioning=false)"
