"""Measures worker and batch jobs against real Kafka, MinIO and REST catalog, and prints the figures beside their goals.

User and system CPU are those of the worker process. Broker, store and catalog share the machine's cores with it, so wall
times are those of the whole set. Single times on a shared machine vary by a quarter; compare within one run.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import batch, spark_peer
from bench.dataset import event_set
from bench.latency import latencies
from bench.process import Cost, run
from dagster_project.lib.paths import find_binary
from tools.prove.claims import Claim, at_least, at_most, equal, table
from tools.prove.tables import end_offsets, open_catalog
from tools.stack import Stack

TOPICS = ("listen_events", "page_view_events", "auth_events", "status_change_events")
LISTENS = {"small": 300_000, "full": 5_000_000}
COMMITS = {"small": 300, "full": 10_000}
LIVE_SECONDS = {"small": 15, "full": 60}
#: bench/gen.py makes event times up to four weeks ahead of the delivery.
AHEAD = ("--max-event-time-ahead", "60d")


@dataclass(frozen=True)
class Bench:
    """What all measurements share."""

    size: str
    data: Path
    work: Path

    def log(self, name: str) -> Path:
        """Returns the log file of a run."""
        return self.work / f"{name}.log"


def _worker(*arguments: str) -> list[str]:
    return [str(find_binary("streamify-stream", os.environ)), "--until", "caught-up", *AHEAD, *arguments]


def _load(bench: Bench, stack: Stack, topics: tuple[str, ...], compression: str) -> None:
    command = [sys.executable, "-m", "bench.load", str(bench.data), *topics, "--compression", compression]
    subprocess.run(command, check=True, env=os.environ | {"KAFKA": stack.kafka.bootstrap_servers}, stdout=subprocess.DEVNULL)


def decode(bench: Bench) -> Iterator[Claim]:
    """Decoding and identity alone, from memory, one core."""
    command = [str(find_binary("examples/decode_bench", os.environ)), str(bench.data / "listen_events.kv")]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures = [float(figure) for figure in re.findall(r"([\d.]+) CPU-s per million", output)]
    yield at_most("decode + identity: CPU-s per million listen events", statistics.median(figures), 0.5)


def backlog(bench: Bench, compression: str, goal: float) -> Iterator[Claim]:
    """A backlog of listen events, upload and commit included."""
    with Stack(bench.work / f"stack-{compression}") as stack:
        environment = stack.environment() | {"STREAMIFY_HOME": str(bench.work)}
        _load(bench, stack, ("listen_events",), compression)
        name = f"backlog, {compression} topic"
        cost = run(_worker("--topics", "listen_events"), environment, bench.log(f"backlog-{compression}"))
        events = sum(end_offsets(stack.kafka.bootstrap_servers, "listen_events").values())
        yield from _drained(name, cost, environment, events)
        yield at_most(f"{name}: CPU-s per million", cost.cpu / events * 1e6, goal)
        yield at_least(f"{name}: events/s, wall", round(events / cost.wall), 350_000)
        yield at_most(f"{name}: peak memory", round(cost.peak_mib), 256, " MiB")
        if compression == "none":
            yield from _files(environment, events)
    shutil.rmtree(bench.work / f"stack-{compression}")


def all_topics(bench: Bench) -> Iterator[Claim]:
    """All four topics at once, at full speed, and again with half the memory."""
    for limit, peak in (("192MB", 256), ("128MB", 256)):
        with Stack(bench.work / f"stack-{limit}") as stack:
            environment = stack.environment() | {"STREAMIFY_HOME": str(bench.work)}
            _load(bench, stack, TOPICS, "lz4")
            cost = run(_worker("--memory-limit", limit), environment, bench.log(f"all-{limit}"))
            events = {topic: sum(end_offsets(stack.kafka.bootstrap_servers, topic).values()) for topic in TOPICS}
            rows = {topic: _rows(environment, topic) for topic in TOPICS}
            yield equal(f"four topics, limit {limit}: rows", sum(rows.values()), sum(events.values()))
            yield at_most(f"four topics, limit {limit}: peak memory", round(cost.peak_mib), peak, " MiB")
            yield at_most(f"four topics, limit {limit}: CPU-s per million", cost.cpu / sum(events.values()) * 1e6, 3.3)
        shutil.rmtree(bench.work / f"stack-{limit}")


def first_commit_and_latency(bench: Bench) -> Iterator[Claim]:
    """Start to first commit with tables there and servers warm; then live latency at 10,000 events/s."""
    with Stack(bench.work / "stack-live") as stack:
        environment = stack.environment() | {"STREAMIFY_HOME": str(bench.work)}
        _load(bench, stack, ("status_change_events",), "none")
        run(_worker("--topics", "status_change_events"), environment, bench.log("warm-up"))
        subprocess.run(
            [sys.executable, "-m", "bench.live", str(bench.data), "status_change_events", "2000", "1"],
            check=True,
            env=os.environ | {"KAFKA": stack.kafka.bootstrap_servers},
        )
        cost = run(_worker("--topics", "status_change_events", "--freshness", "200ms"), environment, bench.log("first"))
        snapshots = open_catalog(environment).load_table("streamify.bronze_status_change_events").metadata.snapshots
        first = min(s.timestamp_ms for s in snapshots if s.timestamp_ms > cost.started * 1000)
        yield at_most("process start to first commit", first / 1000 - cost.started, 1.0, " s")
        for goal in ("1s", "10s"):
            yield from latencies(stack, environment, bench.data, goal, LIVE_SECONDS[bench.size], bench.log(f"live-{goal}"))
    shutil.rmtree(bench.work / "stack-live")


def commits(bench: Bench) -> Iterator[Claim]:
    """The catalog part of a commit, and whether it grows."""
    binary = str(find_binary("examples/commit_bench", os.environ))
    with Stack(bench.work / "stack-commits") as stack:
        environment = stack.environment() | {"STREAMIFY_HOME": str(bench.work)}
        for name, variables in (("REST", environment), ("SQLite", {"STREAMIFY_HOME": str(bench.work / "home")})):
            command = [binary, "commit_bench", str(COMMITS[bench.size])]
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | variables)
            figures = json.loads(done.stdout)
            number = figures["commits"]
            yield at_most(f"commit, {name}: p99 of the first tenth of {number:,}", figures["first_p99_ms"], 250.0, " ms")
            yield at_most(f"commit, {name}: p99 of the last tenth", figures["last_p99_ms"], 250.0, " ms")
            yield at_most(
                f"commit, {name}: median, last tenth to first",
                figures["last_p50_ms"] / max(figures["first_p50_ms"], 1.0),
                1.5,
                " x",
            )
    shutil.rmtree(bench.work / "stack-commits")


def _rows(environment: dict[str, str], topic: str) -> int:
    snapshot = open_catalog(environment).load_table(f"streamify.bronze_{topic}").current_snapshot()
    if snapshot is None or snapshot.summary is None:
        return 0
    return int(snapshot.summary.additional_properties["total-records"])


def _drained(name: str, cost: Cost, environment: dict[str, str], events: int) -> Iterator[Claim]:
    yield equal(f"{name}: exit code", cost.code, 0)
    yield equal(f"{name}: rows", _rows(environment, "listen_events"), events)


def _files(environment: dict[str, str], events: int) -> Iterator[Claim]:
    files = open_catalog(environment).load_table("streamify.bronze_listen_events").inspect.files()
    size = sum(files["file_size_in_bytes"].to_pylist())
    groups = sum(len(offsets or []) for offsets in files["split_offsets"].to_pylist())
    yield at_most("bytes of Parquet per million rows", round(size / events), 75, " MB")
    yield at_most("data files of the backlog", files.num_rows, 136)
    yield at_least("rows per row group, mean", round(events / max(groups, 1)), 20_000)


def main() -> int:
    """Runs the measurements and prints the table; returns 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--size", choices=sorted(LISTENS), default="full", help="small is a quick look (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", help="run only the measurements whose name contains this")
    arguments = parser.parse_args()
    data = event_set(arguments.size, LISTENS[arguments.size], arguments.seed)
    bench = Bench(arguments.size, data, Path(tempfile.mkdtemp(prefix="streamify-bench-")))
    measurements = {
        "decode": lambda: decode(bench),
        "backlog-none": lambda: backlog(bench, "none", 2.6),
        "backlog-lz4": lambda: backlog(bench, "lz4", 2.6),
        "backlog-zstd": lambda: backlog(bench, "zstd", 3.3),
        "topics": lambda: all_topics(bench),
        "live": lambda: first_commit_and_latency(bench),
        "commits": lambda: commits(bench),
        "jobs-1GiB": lambda: batch.jobs(bench.data, bench.work, "1GiB"),
        "jobs-128MB": lambda: batch.jobs(bench.data, bench.work, "128MB"),
        "spark": lambda: spark_peer.beside(bench.data, bench.work),
        "histories": lambda: batch.histories(bench.data, bench.work, bench.size),
    }
    claims: list[Claim] = []
    for name, measure in measurements.items():
        if arguments.only is None or arguments.only in name:
            print(f"measuring: {name} …", flush=True)
            claims += measure()
    print(f"\n{table(claims)}\n\n{_machine()}\nlogs: {bench.work}")
    return int(any(not claim.holds for claim in claims))


def _machine() -> str:
    cpu = next(
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    )
    version = subprocess.run(
        [str(find_binary("streamify-stream", os.environ)), "--version"], capture_output=True, text=True, check=True
    )
    return (
        f"{os.cpu_count()} cores, {cpu}; {version.stdout.strip()}; Kafka 4.1.2, MinIO, Iceberg REST fixture 1.11.0, one machine"
    )


if __name__ == "__main__":
    sys.exit(main())
