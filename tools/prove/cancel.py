"""A call in this process that is cancelled while it works ends within two seconds, leaves no lock and no partial commit.

Each job makes all its days anew, again and again, and is cancelled at moments spread over its run. Whether a lock is left is
asked by another process, because locks on files do not show within one. That a run of Dagster's ends so is said by its test.
"""

import itertools
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from dagster_project import _native
from dagster_project.lib.paths import find_binary
from tools.prove.claims import Claim, at_least, at_most, equal
from tools.prove.engines import Checksums, by_pyiceberg_in_bulk
from tools.prove.tables import open_catalog

SILVER, SESSIONS = "silver_listen_events", "silver_user_sessions"
TAKE_LOCK = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN EXCLUSIVE')"
DAGSTER_TESTS = ("tests/dagster/test_silver_runs.py", "-k", "stopped_inside_the_process")
#: What a repeated computation says otherwise.
PROCESSING_TIME = "_processed_at"

Job = Callable[[_native.CancelToken | None], dict[str, Any]]


@dataclass
class Outcome:
    """What came of the calls that were cancelled."""

    #: seconds from the cancellation to the end of each call
    seconds: list[float] = field(default_factory=list)
    commits: int = 0
    locks: int = 0


def run(data: Path, rows: int, moments: int, with_dagster: bool) -> Iterator[Claim]:
    """Cancels each job at so many moments, on an embedded lake with the first listens of an event set."""
    with tempfile.TemporaryDirectory(prefix="streamify-cancel-") as folder:
        home = Path(folder) / "home"
        environment = {"STREAMIFY_HOME": str(home)}
        _fill(data, rows, home)
        made = _native.silver(SILVER, env=environment)
        _native.sessions(env=environment)
        jobs: dict[str, Job] = {
            SILVER: lambda token: _native.silver(SILVER, rebuild=made["days"], env=environment, cancel=token),
            SESSIONS: lambda token: _native.sessions(full=True, env=environment, cancel=token),
        }
        for table, job in jobs.items():
            before = _checksums(environment, table)
            outcome = _cancelled_at_moments(job, moments, environment, table)
            name = f"cancel in process, {table}"
            yield at_least(f"{name}: calls cancelled while they worked", len(outcome.seconds), moments // 2)
            yield at_most(f"{name}: from the cancellation to the end", max(outcome.seconds, default=0.0), 2.0, " s")
            yield equal(f"{name}: commits of cancelled calls", outcome.commits, 0)
            yield equal(f"{name}: locks left", outcome.locks, 0)
            again = job(None)
            yield equal(f"{name}: the next call commits", again["snapshot_id"] is not None, True)
            yield equal(f"{name}: the table has the rows it had", _checksums(environment, table) == before, True)
    if with_dagster:
        yield _from_dagster()


def _fill(data: Path, rows: int, home: Path) -> None:
    head = home.with_name("head.kv")
    with (data / "listen_events.kv").open("rb") as source:
        head.write_bytes(b"".join(itertools.islice(source, rows)))
    command = [str(find_binary("examples/fill_bronze", os.environ)), str(head), "listen_events", "250000"]
    subprocess.run(command, check=True, env=os.environ | {"STREAMIFY_HOME": str(home)}, stdout=subprocess.DEVNULL)


def _cancelled_at_moments(job: Job, moments: int, environment: dict[str, str], table: str) -> Outcome:
    started = time.monotonic()
    job(None)
    whole = time.monotonic() - started
    outcome = Outcome()
    for number in range(moments):
        head = _head(environment, table)
        seconds = _seconds_to_the_end(job, whole * (number + 0.5) / moments)
        if seconds is None:
            continue
        outcome.seconds.append(seconds)
        outcome.locks += _is_locked(environment)
        outcome.commits += _head(environment, table) != head
    return outcome


def _seconds_to_the_end(job: Job, after: float) -> float | None:
    """Cancels a call after so many seconds; returns how long it took to end, `None` if it was done before."""
    token = _native.CancelToken()
    asked: list[float] = []

    def cancel() -> None:
        asked.append(time.monotonic())
        token.cancel()

    timer = threading.Timer(after, cancel)
    timer.start()
    try:
        job(token)
    except _native.CancelledError:
        return time.monotonic() - asked[0]
    finally:
        timer.cancel()
        timer.join()
    return None


def _head(environment: dict[str, str], table: str) -> str:
    return open_catalog(environment).load_table(f"streamify.{table}").metadata_location


def _is_locked(environment: dict[str, str]) -> bool:
    command = [sys.executable, "-c", TAKE_LOCK, environment["STREAMIFY_HOME"] + "/catalog.db"]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode != 0


def _checksums(environment: dict[str, str], table: str) -> Checksums:
    with duckdb.connect() as connection:
        sums = by_pyiceberg_in_bulk(connection, open_catalog(environment).load_table(f"streamify.{table}"))
    return {column: value for column, value in sums.items() if not column.startswith(PROCESSING_TIME)}


def _from_dagster() -> Claim:
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", *DAGSTER_TESTS]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    passed = re.search(r"(\d+) passed", output)
    text = "cancel from Dagster: a run stopped in process is cancelled, without a commit or a lock (test)"
    return equal(text, int(passed[1]) if passed else 0, 1)
