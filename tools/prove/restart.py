"""The always-on worker is killed with SIGKILL; the sensor, run by a real daemon, starts it again, and nothing is lost."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from tools.prove.claims import Claim, at_most, equal
from tools.prove.dagster_server import DagsterServer, dagster_daemon, dagster_server, kept_on_failure, processes_of
from tools.prove.feed import TOPICS
from tools.prove.tables import end_offsets, landed, open_catalog
from tools.stack import Stack, StackOptions
from tools.stack.ports import free_ports
from tools.stack.processes import wait_until

TOPIC, WORKER = "listen_events", "streamify-stream"
#: The sensor looks every 30 s; the start of Dagster's run and of the worker come on top.
INTERVAL_SECONDS, START_SECONDS = 30.0, 30.0
PATIENCE = 300.0
EVENTS = 2_000


def run(data: Path, times: int) -> Iterator[Claim]:
    """Kills the worker so many times; then stops it on purpose, and looks whether it stays stopped."""
    with kept_on_failure("streamify-restart-") as work, Stack(work / "stack", StackOptions(only=("kafka",))) as stack:
        servers, [port] = stack.kafka.bootstrap_servers, free_ports(1)
        environment = stack.environment() | {
            "STREAMIFY_HOME": str(work / "home"),
            "STREAMIFY_METRICS_LISTEN": f"127.0.0.1:{port}",
            "STREAMIFY_WORKER_URL": f"http://127.0.0.1:{port}",
            "STREAMIFY_FRESHNESS": "500ms",
            "STREAMIFY_MAX_EVENT_TIME_AHEAD": "60d",
        }
        admin = AdminClient({"bootstrap.servers": servers})
        for future in admin.create_topics([NewTopic(topic, 2, 1) for topic in TOPICS]).values():
            future.result()
        with (
            dagster_server(environment, work / "dagster", work / "web.log") as server,
            dagster_daemon(environment, work / "dagster", work / "daemon.log"),
        ):
            try:
                yield from _claims(server, data, servers, work / "home", times)
            finally:
                for pid in processes_of(WORKER, work / "home"):
                    os.kill(pid, signal.SIGKILL)
        found = landed(open_catalog(environment), environment, TOPIC, end_offsets(servers, TOPIC))
        yield equal("kill -9 of the always-on worker: offsets in no table, twice", (found.missing, found.doubled), (0, 0))


def _claims(server: DagsterServer, data: Path, servers: str, home: Path, times: int) -> Iterator[Claim]:
    started = server.wait_for_end(server.launch_job("bronze_worker_start"), PATIENCE)
    yield equal("always-on worker: the start job", started, "SUCCESS")
    seconds = []
    for number in range(times):
        _send(data, servers, number)
        [pid] = processes_of(WORKER, home)
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        wait_until(lambda old=pid: _another(home, old), PATIENCE, "the sensor did not start the worker again")  # type: ignore[misc]
        seconds.append(time.monotonic() - killed)
    limit = INTERVAL_SECONDS + START_SECONDS
    yield at_most(f"kill -9 of the always-on worker, {times} times: until it runs again", max(seconds), limit, " s")
    stopped = server.wait_for_end(server.launch_job("bronze_worker_stop"), PATIENCE)
    yield equal("always-on worker: the stop job", stopped, "SUCCESS")
    # That nothing happens cannot be waited for, only for as long as it would have taken.
    threading.Event().wait(INTERVAL_SECONDS + 15)
    yield equal("stopped on purpose: workers an interval later", len(processes_of(WORKER, home)), 0)


def _another(home: Path, old: int) -> bool:
    found = processes_of(WORKER, home)
    return bool(found) and old not in found


def _send(data: Path, servers: str, number: int) -> None:
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True})
    with (data / f"{TOPIC}.kv").open("rb") as lines:
        for index, line in enumerate(lines):
            if index >= EVENTS * number and index < EVENTS * (number + 1):
                producer.produce(TOPIC, line.split(b"\t", 1)[1])
            elif index >= EVENTS * (number + 1):
                break
    producer.flush()
