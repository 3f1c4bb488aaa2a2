"""Care of a table that a live stream worker is writing: nothing lost, nothing doubled, nobody fails.

Compaction, expiry, manifest rewrites and orphan removal take turns without a pause while a real worker commits twice a second.
Nobody reads the table incrementally meanwhile: a registered reader would keep every snapshot for ten minutes. On the disk,
where a file's age can be set, old and young files that nobody knows lie beside the table's: the old ones must go, the young
ones stay.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from dagster_project.lib.paths import find_binary
from tools.prove.claims import Claim, at_least, equal
from tools.prove.tables import end_offsets, landed, open_catalog
from tools.stack import Stack, StackOptions

TOPIC = "listen_events"
BRONZE, SILVER = f"bronze_{TOPIC}", f"silver_{TOPIC}"
EVENTS_PER_SECOND = 2_000
CAUGHT_UP_SECONDS = 60.0
HOUR = 3600.0
#: One round of care. Snapshots of the last second stay: a reader may have begun with them.
ROUND: tuple[tuple[str, ...], ...] = (
    ("compact", "--tables", BRONZE, "--min-files", "2"),
    ("expire", "--tables", BRONZE, "--older-than", "1s", "--keep", "2"),
    ("rewrite-manifests", "--tables", BRONZE, "--min-manifests", "2"),
    ("remove-orphans", "--tables", BRONZE, "--older-than", "1h", "--delete"),
)
#: How many rounds must have changed something, in so many seconds.
SECONDS_PER_ROUND = 5


@dataclass
class Beside:
    """A table with its worker, and what the care of it did."""

    environment: dict[str, str]
    work: Path
    #: runs that changed something, by job
    landed: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    #: files nobody knows: two hours old, and new
    old: list[Path] = field(default_factory=list)
    young: list[Path] = field(default_factory=list)

    @property
    def is_embedded(self) -> bool:
        """Whether the tables are on the disk."""
        return "POLARIS_URI" not in self.environment

    def round(self) -> None:
        """Runs each job once."""
        report = self.work / "report.json"
        for job, *arguments in ROUND:
            report.unlink(missing_ok=True)
            command = [str(find_binary("streamify-batch", os.environ)), job, *arguments, "--summary-json", str(report)]
            done = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                self.failed.append(f"{job}: {' '.join(done.stderr.split())[-300:]}")
                continue
            [table] = json.loads(report.read_text(encoding="utf-8"))["tables"]
            self.landed[job] += bool(table.get("snapshot_id") or table.get("partitions") or table.get("removed"))

    def plant(self) -> None:
        """Puts files that nobody knows into the table's folder."""
        folder = self.environment["STREAMIFY_HOME"] + f"/warehouse/streamify/{BRONZE}/data"
        for files, age in ((self.old, 2 * HOUR), (self.young, 0.0)):
            path = Path(folder) / f"{uuid.uuid4()}-0-0.parquet"
            path.write_bytes(b"left behind")
            os.utime(path, (time.time() - age,) * 2)
            files.append(path)


def run(data: Path, seconds: int, embedded: bool) -> Iterator[Claim]:
    """Lets worker and care run side by side for so many seconds, on the REST catalog with S3 or on the embedded lake."""
    name = f"care beside a worker, {seconds} s, {'SQLite' if embedded else 'REST + S3'}"
    with tempfile.TemporaryDirectory(prefix="streamify-care-") as folder:
        work = Path(folder)
        with Stack(work / "stack", StackOptions(only=("kafka",) if embedded else ("kafka", "gateway"))) as stack:
            beside = Beside(stack.environment() | {"STREAMIFY_HOME": str(work / "home")}, work)
            servers = stack.kafka.bootstrap_servers
            admin = AdminClient({"bootstrap.servers": servers})
            admin.create_topics([NewTopic(TOPIC, 4, 1)])[TOPIC].result()
            log = work / "worker.log"
            worker = _worker(beside.environment, log)
            try:
                yield from _care(name, beside, servers, data, seconds)
                worker.send_signal(signal.SIGTERM)
                yield equal(f"{name}: exit code of the worker", worker.wait(60), 0)
            finally:
                worker.kill()
                worker.wait()
            errors = [line for line in log.read_text(encoding="utf-8").splitlines() if '"level":"ERROR"' in line]
            yield equal(f"{name}: errors in the worker's log", errors[0] if errors else "none", "none")
            yield from _verdicts(name, beside, servers)


def _worker(environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    program = str(find_binary("streamify-stream", os.environ))
    command = [program, "--topics", TOPIC, "--freshness", "500ms", "--max-event-time-ahead", "60d", "--log-format", "json"]
    with log.open("wb") as output:
        return subprocess.Popen(command, env=os.environ | environment, stdout=output, stderr=output)


def _care(name: str, beside: Beside, servers: str, data: Path, seconds: int) -> Iterator[Claim]:
    """Cares while events come, and until the last of them is in the table."""
    live = [sys.executable, "-m", "bench.live", str(data), TOPIC, str(EVENTS_PER_SECOND), str(seconds)]
    with subprocess.Popen(live, env=os.environ | {"KAFKA": servers}) as producer:
        _await_rows(beside)
        while producer.poll() is None:
            if beside.is_embedded:
                beside.plant()
            beside.round()
    ends = end_offsets(servers, TOPIC)
    yield at_least(f"{name}: records", sum(ends.values()), EVENTS_PER_SECOND * seconds * 99 // 100)
    deadline = time.monotonic() + CAUGHT_UP_SECONDS
    while _state(beside) != ends and time.monotonic() < deadline:
        beside.round()
    beside.round()
    for job in ("compact", "expire", "rewrite-manifests"):
        yield at_least(f"{name}: runs of {job} that landed", beside.landed[job], seconds // SECONDS_PER_ROUND)
    yield equal(f"{name}: runs that failed", ", ".join(beside.failed) or "none", "none")
    if beside.is_embedded:
        yield equal(f"{name}: old files nobody knows, of {len(beside.old)}, left", sum(map(Path.exists, beside.old)), 0)
        yield equal(f"{name}: young ones left", sum(map(Path.exists, beside.young)), len(beside.young))


def _await_rows(beside: Beside) -> None:
    deadline = time.monotonic() + CAUGHT_UP_SECONDS
    while not sum(_state(beside).values()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"no row landed within {CAUGHT_UP_SECONDS:.0f} s, see {beside.work / 'worker.log'}")
        time.sleep(0.1)


def _state(beside: Beside) -> dict[int, int]:
    """The next offsets that the table knows of; none while the worker has not made the catalog yet."""
    if beside.is_embedded and not Path(beside.environment["STREAMIFY_HOME"], "catalog.db").exists():
        return {}
    catalog = open_catalog(beside.environment)
    if not catalog.table_exists(f"streamify.{BRONZE}"):
        return {}
    text = catalog.load_table(f"streamify.{BRONZE}").properties.get("streamify.state")
    topics = json.loads(text)["topics"] if text else {}
    return {int(partition): offset for partition, offset in topics.get(TOPIC, {}).get("current", {}).get("next", {}).items()}


def _verdicts(name: str, beside: Beside, servers: str) -> Iterator[Claim]:
    ends = end_offsets(servers, TOPIC)
    catalog = open_catalog(beside.environment)
    found = landed(catalog, beside.environment, TOPIC, ends)
    records = sum(ends.values())
    yield equal(f"{name}: offsets in no table, in a table twice", (found.missing, found.doubled), (0, 0))
    yield equal(f"{name}: rows (PyIceberg)", found.rows + found.dead_letters, records)
    distinct = (found.duckdb_rows + found.dead_letters, found.duckdb_distinct + found.dead_letters)
    yield equal(f"{name}: rows, distinct coordinates (DuckDB)", distinct, (records, records))
    yield equal(f"{name}: state of the table is the end of the topic", found.state, ends)
    silver = [str(find_binary("streamify-batch", os.environ)), "silver", "--tables", SILVER]
    subprocess.run(silver, env=os.environ | beside.environment, check=True, capture_output=True)
    ids = catalog.load_table(f"streamify.{SILVER}").scan(selected_fields=("event_id",)).to_arrow()["event_id"].to_pylist()
    yield equal(f"{name}: rows, distinct ids of silver made afterwards", (len(ids), len(set(ids))), (found.distinct_events,) * 2)
