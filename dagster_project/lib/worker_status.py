"""What a running worker says of itself, and what the tables say without one.

Guarantees: `ask_worker` and `ask_tables` return within their timeout, or raise an error that says what was asked and what to
do; what they return has every field, checked.
"""

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from dagster_project.lib.paths import find_binary, streamify_home
from dagster_project.lib.worker_http import WorkerUnreachableError, ask

DEFAULT_URL = "http://127.0.0.1:9464"
BINARY = "streamify-stream"
#: Variables that make a run end, or that write over the report of another one; an always-on worker and a question have none.
OF_ONE_RUN = ("STREAMIFY_UNTIL", "STREAMIFY_MAX_DURATION", "STREAMIFY_SUMMARY_JSON")
#: Folder below STREAMIFY_HOME with everything about the worker that Dagster started, and the file that says where it listens.
FOLDER = "worker"
ADDRESS_FILE = "address"
T = TypeVar("T")


class TablesUnknownError(RuntimeError):
    """`streamify-stream status` gave no answer that can be used."""


@dataclass(frozen=True)
class WorkerPartition:
    """A partition that the worker reads: offsets are next offsets, `end_offset` the topic's end as the worker last saw it."""

    partition: int
    epoch: int
    next_offset: int
    end_offset: int | None
    lag_records: int | None


@dataclass(frozen=True)
class WorkerTable:
    """A table that the worker writes; `rows`, `dead_letters` and `commits` count since the worker started."""

    topic: str
    table: str
    rows: int
    dead_letters: int
    commits: int
    snapshot_id: int | None
    committed_at_ms: int | None
    freshness_seconds: float | None
    partitions: tuple[WorkerPartition, ...]


@dataclass(frozen=True)
class WorkerStatus:
    """A running worker. `dagster_run_id`: of the run it belongs to; lag is null while unknown."""

    version: str
    writer_id: str
    host: str
    pid: int
    started_at_ms: int
    dagster_run_id: str | None
    ready: bool
    lag_records: int | None
    lag_seconds: float | None
    headroom_seconds: float | None
    tables: tuple[WorkerTable, ...]

    @property
    def is_always_on(self) -> bool:
        """Whether it belongs to no run of Dagster."""
        return self.dagster_run_id is None

    @property
    def position(self) -> int:
        """Sum of all next offsets: grows with every commit that moves on."""
        return sum(partition.next_offset for table in self.tables for partition in table.partitions)


@dataclass(frozen=True)
class TablePartition:
    """A partition of a topic; `next_offset` is null where the table has none of it."""

    partition: int
    next_offset: int | None
    begin_offset: int
    end_offset: int
    lag_records: int


@dataclass(frozen=True)
class Lease:
    """A writer's claim on a table; `partitions` null: all."""

    writer_id: str
    host: str
    pid: int
    partitions: tuple[int, ...] | None
    since_ms: int
    valid_until_ms: int
    is_valid: bool


@dataclass(frozen=True)
class TopicState:
    """A topic and its table. `headroom_seconds` is the time until the topic drops what is not yet stored; null: never."""

    topic: str
    table: str
    table_exists: bool
    epoch: int
    lag_records: int
    lag_seconds: float | None
    headroom_seconds: float | None
    retention_ms: int | None
    snapshot_id: int | None
    committed_at_ms: int | None
    partitions: tuple[TablePartition, ...]
    leases: tuple[Lease, ...]


@dataclass(frozen=True)
class TablesStatus:
    """All topics and tables, asked from Kafka and the catalog at `at_ms`. Lag in seconds is null where it is unknown."""

    at_ms: int
    lag_records: int
    lag_seconds: float | None
    headroom_seconds: float | None
    topics: tuple[TopicState, ...]


def worker_url(environ: Mapping[str, str]) -> str:
    """Returns the base address of the worker's endpoint.

    `STREAMIFY_WORKER_URL`; without it, where the worker that Dagster started said that it listens; else the usual port.
    """
    if configured := environ.get("STREAMIFY_WORKER_URL"):
        return configured.rstrip("/")
    with suppress(FileNotFoundError):
        return worker_folder(environ).joinpath(ADDRESS_FILE).read_text(encoding="utf-8").strip() or DEFAULT_URL
    return DEFAULT_URL


def worker_folder(environ: Mapping[str, str]) -> Path:
    """Returns the folder of the worker that Dagster starts."""
    return streamify_home(environ) / FOLDER


def ask_worker(environ: Mapping[str, str], timeout: float) -> WorkerStatus:
    """Asks the running worker.

    Args:
        environ: the environment; names the endpoint.
        timeout: seconds until it gives up.

    Raises:
        WorkerNotListeningError: no worker runs there.
        WorkerSilentError: it does not answer in time.
        WorkerUnreachableError: what answers is no worker of ours.
    """
    url = worker_url(environ)
    answer = ask(url, "/v1/status", timeout)
    if answer.code != 200:
        raise WorkerUnreachableError(f"{url}/v1/status answered {answer.brief}; is it a `{BINARY}` of this version?")
    try:
        return _parse(WorkerStatus, json.loads(answer.body))
    except (ValueError, ValidationError) as error:
        raise WorkerUnreachableError(f"{url}/v1/status answered what is no status: {_first(error)}") from error


def ask_tables(environ: Mapping[str, str], timeout: float) -> TablesStatus:
    """Asks Kafka and the catalog, through `streamify-stream status`; no worker needs to run.

    Args:
        environ: the environment, with the same settings as a run.
        timeout: seconds until it is killed.

    Raises:
        TablesUnknownError: it failed or took too long.
        BinaryNotFoundError: there is no binary.
    """
    command = [str(find_binary(BINARY, environ)), "status"]
    env = {name: value for name, value in environ.items() if name not in OF_ONE_RUN}
    env["STREAMIFY_HOME"] = str(streamify_home(environ))
    process = subprocess.Popen(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    with process:
        try:
            printed, log = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            text = f"`{BINARY} status` did not end within {timeout:g} s; are Kafka and catalog there?"
            raise TablesUnknownError(text) from None
        finally:  # also when Dagster interrupts; the group is gone where it ended by itself
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 0:
        raise TablesUnknownError(f"`{BINARY} status` exited with code {process.returncode}: {log.strip()[-2000:]}")
    try:
        return _parse(TablesStatus, json.loads(printed))
    except (ValueError, ValidationError) as error:
        raise TablesUnknownError(f"`{BINARY} status` printed what is no status: {_first(error)}") from error


def _parse(kind: type[T], document: object) -> T:
    return TypeAdapter(kind).validate_python(document)


def _first(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"`{'.'.join(str(part) for part in first['loc'])}`: {first['msg']}"
