"""*Terminate* in the middle of commits, again and again, under load: with our Pipes client and with Dagster's own.

A real web server launches and terminates real runs. What must hold: the worker is gone within ten seconds; no record is lost or
doubled; and every commit is in Dagster once, at the end of each run with our client, with the next run after the stock one.
"""

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from tools.prove.claims import Claim, at_least, at_most, equal
from tools.prove.dagster_location import WORKER_ARGS
from tools.prove.dagster_server import DagsterServer, dagster_server, kept_on_failure, processes_of
from tools.prove.tables import end_offsets, landed, open_catalog
from tools.stack import Stack, StackOptions
from tools.stack.processes import wait_until

TOPIC, TABLE, OURS, STOCK = "listen_events", "bronze_listen_events", "bronze_streaming_job", "stock_client"
WORKER = "streamify-stream"
EVENTS_PER_SECOND = 2_000
GONE_SECONDS = 10.0
#: Longest time for a run to begin or to end, on a busy machine.
PATIENCE = 300.0
#: The events of the set lie weeks back and ahead of the moment at which they are sent.
AHEAD = {"STREAMIFY_MAX_EVENT_TIME_AHEAD": "60d"}


@dataclass
class Outcome:
    """What came of the terminated runs of one client."""

    seconds: list[float] = field(default_factory=list)
    statuses: set[str] = field(default_factory=set)
    #: rows committed and not reported when the run had ended
    unreported: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Scene:
    """Where it happens."""

    environment: dict[str, str]
    home: Path
    server: DagsterServer
    instance: dg.DagsterInstance

    def committed_rows(self) -> int:
        """Rows of the bronze table, by its head's summary."""
        if not (self.home / "catalog.db").exists():
            return 0
        catalog = open_catalog(self.environment)
        if not catalog.table_exists(f"streamify.{TABLE}"):
            return 0
        head = catalog.load_table(f"streamify.{TABLE}").current_snapshot()
        return int(head.summary.additional_properties.get("total-records", "0")) if head and head.summary else 0

    def reported_rows(self) -> int:
        """Rows that Dagster was told of, over all materializations of the bronze table."""
        records = self.instance.fetch_materializations(dg.AssetKey(TABLE), limit=10_000).records
        events = (record.asset_materialization for record in records)
        return sum(int(str(event.metadata["rows"].value)) for event in events if event is not None)


def run(data: Path, times: int, seed: int) -> Iterator[Claim]:
    """Terminates so many runs of each client while events arrive, on a real broker and the embedded lake."""
    with kept_on_failure("streamify-terminate-") as work, Stack(work / "stack", StackOptions(only=("kafka",))) as stack:
        home = work / "home"
        environment = stack.environment() | {"STREAMIFY_HOME": str(home), "STREAMIFY_TOPICS": TOPIC} | AHEAD
        admin = AdminClient({"bootstrap.servers": stack.kafka.bootstrap_servers})
        admin.create_topics([NewTopic(TOPIC, 4, 1)])[TOPIC].result()
        with (
            _load(data, stack.kafka.bootstrap_servers),
            dagster_server(environment, work / "dagster", work / "web.log") as server,
            dg.DagsterInstance.from_config(str(work / "dagster")) as instance,
        ):
            scene = Scene(environment, home, server, instance)
            yield from _claims(scene, times, random.Random(seed))
        yield from _nothing_lost(scene, stack.kafka.bootstrap_servers)


def _claims(scene: Scene, times: int, randomness: random.Random) -> Iterator[Claim]:
    config: dict[str, object] = {"until": "NEVER", "extra_args": list(WORKER_ARGS), "worker": "OWN"}
    for name, asset, options in (("our client", OURS, config), ("stock client", STOCK, None)):
        outcome = Outcome()
        for _ in range(times):
            _terminate_once(scene, asset, options, randomness, outcome)
        yield equal(f"terminate, {name}: runs ended as", ", ".join(sorted(outcome.statuses)), "CANCELED")
        yield at_most(f"terminate, {name}: from the button to the worker's end", max(outcome.seconds), GONE_SECONDS, " s")
        if asset == OURS:
            yield equal(f"terminate, {name}: committed rows not in Dagster when the run has ended", max(outcome.unreported), 0)
        else:
            yield at_least(f"terminate, {name}: rows that only the tables know", outcome.unreported[-1], 1)


def _terminate_once(
    scene: Scene, asset: str, config: dict[str, object] | None, randomness: random.Random, outcome: Outcome
) -> None:
    before = scene.committed_rows()
    run_id = scene.server.launch(asset, config)
    wait_until(lambda: scene.committed_rows() > before, PATIENCE, f"run {run_id} committed nothing")
    # The moment is the experiment here, not something to wait for.
    threading.Event().wait(randomness.uniform(0.0, 1.0))
    started = time.monotonic()
    scene.server.terminate(run_id)
    wait_until(lambda: not processes_of(WORKER, scene.home), PATIENCE, "the worker did not end")
    outcome.seconds.append(time.monotonic() - started)
    outcome.statuses.add(scene.server.wait_for_end(run_id, PATIENCE))
    outcome.unreported.append(scene.committed_rows() - scene.reported_rows())


def _nothing_lost(scene: Scene, servers: str) -> Iterator[Claim]:
    """The load has ended: one last bounded run, then everything is counted."""
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "tools.prove.dagster_location", "--select", OURS]
    variables = os.environ | scene.environment | {"DAGSTER_HOME": str(scene.home.parent / "dagster")}
    subprocess.run(command, env=variables, check=True, capture_output=True)
    ends = end_offsets(servers, TOPIC)
    found = landed(open_catalog(scene.environment), scene.environment, TOPIC, ends)
    yield equal("terminate: offsets in no table, in a table twice", (found.missing, found.doubled), (0, 0))
    with dg.DagsterInstance.from_config(str(scene.home.parent / "dagster")) as instance:
        reported = Scene(scene.environment, scene.home, scene.server, instance).reported_rows()
    yield equal("terminate: rows told to Dagster, all runs together, and rows in the table", reported, found.rows)


@contextmanager
def _load(data: Path, servers: str) -> Iterator[None]:
    """Events at a steady rate until the block ends."""
    command = [sys.executable, "-m", "bench.live", str(data), TOPIC, str(EVENTS_PER_SECOND), "100000"]
    producer = subprocess.Popen(command, env=os.environ | {"KAFKA": servers})
    try:
        yield
    finally:
        producer.terminate()
        producer.wait()
