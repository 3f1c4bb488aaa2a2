"""Live latency: from the moment a record is produced to the commit that makes its row readable."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from confluent_kafka.admin import AdminClient, NewTopic

from dagster_project.lib.paths import find_binary
from tools.prove.claims import Claim, at_most
from tools.prove.tables import open_catalog
from tools.stack import Stack

RATE = 10_000
TOPIC = "listen_events"


def latencies(stack: Stack, environment: Mapping[str, str], data: Path, goal: str, seconds: int, log: Path) -> Iterator[Claim]:
    """Runs the worker live at 10,000 events/s with a freshness goal; yields p50 and p99.

    A row becomes readable at the timestamp of the snapshot that added its file.
    """
    _fresh_topic(stack.kafka.bootstrap_servers)
    environment = dict(environment) | {"POLARIS_NAMESPACE": environment["POLARIS_NAMESPACE"]}
    command = [str(find_binary("streamify-stream", os.environ)), "--topics", TOPIC, "--freshness", goal]
    command += ["--max-event-time-ahead", "60d", "--adopt-new-topic"]
    with log.open("ab") as output:
        worker = subprocess.Popen(command, env=os.environ | environment, stdout=output, stderr=output)
        producer = [sys.executable, "-m", "bench.live", str(data), TOPIC, str(RATE), str(seconds)]
        subprocess.run(producer, check=True, env=os.environ | {"KAFKA": stack.kafka.bootstrap_servers})
        worker.terminate()
        worker.wait(30)
    table = open_catalog(environment).load_table(f"streamify.bronze_{TOPIC}")
    readable = {snapshot.snapshot_id: snapshot.timestamp_ms for snapshot in table.metadata.snapshots}
    entries = table.inspect.entries()
    epoch = pc.max(table.scan(selected_fields=("_source_epoch",)).to_arrow()["_source_epoch"]).as_py()
    values: list[np.ndarray] = []
    for snapshot_id, file in zip(entries["snapshot_id"].to_pylist(), entries["data_file"].to_pylist(), strict=True):
        produced = _produced(table, file["file_path"], epoch)
        values.append(readable[snapshot_id] - produced)
    all_values = np.concatenate(values) / 1000
    limit = float(goal.removesuffix("s"))
    yield at_most(f"live, freshness {goal}: p50 event produced → row readable", float(np.quantile(all_values, 0.5)), limit, " s")
    yield at_most(f"live, freshness {goal}: p99", float(np.quantile(all_values, 0.99)), limit + 1.0, " s")


def _fresh_topic(bootstrap_servers: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    if TOPIC in admin.list_topics(timeout=30).topics:
        for future in admin.delete_topics([TOPIC], operation_timeout=30).values():
            future.result()
    for future in admin.create_topics([NewTopic(TOPIC, 4, 1)]).values():
        future.result()


def _produced(table: object, path: str, epoch: int) -> np.ndarray:
    """Returns the Kafka timestamps, ms, of a file's rows of the given epoch."""
    import pyarrow.parquet as pq

    with table.io.new_input(path).open() as source:  # type: ignore[attr-defined]
        rows = pq.read_table(source, columns=["_kafka_timestamp", "_source_epoch"])
    rows = rows.filter(pc.equal(rows["_source_epoch"], epoch))
    return rows["_kafka_timestamp"].cast("int64").to_numpy() // 1000
