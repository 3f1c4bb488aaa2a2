"""`kafka_lag_sensor`: what it observes, what it tells, and that it never waits long."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dagster as dg
import pytest

from dagster_project.defs.sensors import kafka_lag
from dagster_project.defs.sensors.kafka_lag import kafka_lag_sensor
from dagster_project.lib import lag
from dagster_project.lib.lag import Reading, TableLag, lag_problems
from dagster_project.lib.outbox import Memory
from dagster_project.lib.patience import Background
from tests.checks.bronze_stream import install_status
from tests.receivers import Webhook

TABLE = "bronze_listen_events"


def topic(**changes):
    """What `streamify-stream status` says of a topic."""
    plain = {"topic": "listen_events", "table": TABLE, "table_exists": True, "epoch": 0, "lag_records": 12, "lag_seconds": 0.9}
    times = {"headroom_seconds": 6e5, "retention_ms": 604_800_000, "snapshot_id": 1, "committed_at_ms": 1}
    return {**plain, **times, "partitions": [], "leases": [], **changes}


def tables(**changes):
    """What it prints."""
    return {
        "at_ms": 1_790_000_000_000,
        "lag_records": 12,
        "lag_seconds": 0.9,
        "headroom_seconds": 6e5,
        "topics": [topic(**changes)],
    }


def worker(**changes):
    """What a running worker answers."""
    partition = {"partition": 0, "epoch": 0, "next_offset": 10, "end_offset": 17, "lag_records": 7}
    table = {"topic": "listen_events", "table": TABLE, "rows": 1, "dead_letters": 0, "commits": 1, "snapshot_id": 1}
    table |= {"committed_at_ms": 1, "freshness_seconds": 0.5, "partitions": [partition, {**partition, "partition": 1}]}
    of_all = {"lag_records": 14, "lag_seconds": 1.5, "headroom_seconds": 5e5, "ready": True, "failure": None}
    who = {"version": "0.1.0", "writer_id": "w", "host": "h", "pid": 1, "started_at_ms": 0, "dagster_run_id": None}
    return {**who, **of_all, "tables": [table], **changes}


@pytest.fixture
def status(clean_environment, tmp_path, monkeypatch):
    """`status(document, script="")`: installs what `streamify-stream status` does; no worker answers."""
    monkeypatch.setattr(kafka_lag, "read_lag", lambda environ, deadline: lag.read_lag(environ, deadline, Background()))
    clean_environment.setenv("STREAMIFY_HOME", str(tmp_path / "home"))
    clean_environment.setenv("STREAMIFY_WORKER_URL", "http://127.0.0.1:1")

    def install(document=None, script=""):
        clean_environment.setenv("STREAMIFY_BIN_DIR", install_status(tmp_path / "bin", document, script)["STREAMIFY_BIN_DIR"])

    return install


@pytest.fixture
def endpoint(clean_environment):
    """A worker's endpoint; `answers` is what it says, `lets_go` cleared makes it hang."""

    class Endpoint(BaseHTTPRequestHandler):
        answers: object = worker()
        lets_go = threading.Event()

        def do_GET(self):
            Endpoint.lets_go.wait(60)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(Endpoint.answers).encode())

        def log_message(self, *_):
            """Says nothing."""

    Endpoint.lets_go.set()
    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        clean_environment.setenv("STREAMIFY_WORKER_URL", f"http://127.0.0.1:{server.server_address[1]}")
        yield Endpoint
        Endpoint.lets_go.set()
        server.shutdown()


@pytest.fixture
def webhook(clean_environment):
    with Webhook() as server:
        clean_environment.setenv("STREAMIFY_ALERT_WEBHOOK", server.url)
        yield server


def tick(cursor=None):
    with dg.DagsterInstance.ephemeral() as instance:
        return kafka_lag_sensor.evaluate_tick(dg.build_sensor_context(instance=instance, cursor=cursor))


def figures(event):
    return {name: value.value for name, value in event.metadata.items() if name != "lag_at"}


def test_without_a_worker_the_tables_and_kafka_are_asked(status):
    status(tables())

    [event] = tick().asset_events

    assert isinstance(event, dg.AssetObservation)
    assert event.asset_key == dg.AssetKey(TABLE)
    assert figures(event) == {"lag_records": 12, "lag_seconds": 0.9, "headroom_seconds": 6e5, "lag_source": "tables"}
    assert event.metadata["lag_at"].value == 1_790_000_000.0


def test_a_running_worker_is_asked_first(status, endpoint):
    status(script="exit 9")

    [event] = tick().asset_events

    assert figures(event) == {"lag_records": 14, "lag_seconds": 1.5, "headroom_seconds": 5e5, "lag_source": "worker"}


def test_a_worker_that_hangs_costs_part_of_the_time_only(status, endpoint):
    status(tables())
    endpoint.lets_go.clear()

    [event] = tick().asset_events

    assert event.metadata["lag_source"].value == "tables"


def test_a_lag_that_does_not_change_is_observed_now_and_then(status):
    status(tables(lag_records=0, lag_seconds=0.0))
    first = tick()
    assert len(first.asset_events) == 1

    second = tick(first.cursor)
    assert second.asset_events == []
    assert second.skip_message == "no news of the lag, by the tables"

    memory = Memory.from_json(second.cursor)
    old = {name: value - kafka_lag.OBSERVE_SECONDS if "_at/" in name else value for name, value in memory.figures.items()}
    assert len(tick(Memory(memory.known, memory.waiting, old).to_json()).asset_events) == 1
    status(tables(lag_records=3))
    assert len(tick(second.cursor).asset_events) == 1


def test_what_hangs_holds_no_tick(status):
    status(script="exec sleep 60")
    before = time.monotonic()

    ended = tick()

    assert time.monotonic() - before < 15, "two seconds on a machine with time for it; never the sixty of the program"
    assert ended.asset_events == []
    assert "goes on in the background" in ended.skip_message


def test_lag_beyond_a_limit_is_told_once_until_it_is_well_below(status, webhook):
    status(tables(lag_records=100_001))
    cursor = tick().cursor
    assert len(webhook.texts) == 1
    assert webhook.texts[0].startswith(f"[Streamify] `{TABLE}` lacks 100,001 records of its topic (limit 100,000)\n")
    assert f"http://127.0.0.1:3000/assets/{TABLE}" in webhook.texts[0]

    for records in (120_000, 99_000, 80_001, 100_002):
        status(tables(lag_records=records))
        cursor = tick(cursor).cursor
    assert len(webhook.texts) == 1, "what wavers around the limit is told once"

    status(tables(lag_records=79_999))
    cursor = tick(cursor).cursor
    assert len(webhook.texts) == 2
    assert webhook.texts[1].startswith("[Streamify] over: ")


def test_time_to_data_loss_is_told(status, webhook):
    status(tables(headroom_seconds=14_400.0, lag_seconds=590_400.0))

    tick()

    assert "(and 1 more)" in webhook.texts[0]
    assert "Kafka drops records of `listen_events` before they are stored in 4.0 h (limit 24.0 h)" in webhook.texts[0]
    assert "raise `retention.ms` of `listen_events`" in webhook.texts[0]


def test_a_lag_that_nobody_knows_is_told_after_a_while_and_ends_no_other_problem(status, webhook):
    status(tables(lag_records=200_000))
    cursor = tick().cursor
    status(script="echo no broker >&2; exit 1")

    cursor = tick(cursor).cursor
    assert len(webhook.texts) == 1, "one tick without an answer is nothing to tell, and no end of the lag"
    memory = Memory.from_json(cursor)
    since = memory.figures["unknown_since"] - 301
    cursor = tick(Memory(memory.known, memory.waiting, {**memory.figures, "unknown_since": since}).to_json()).cursor

    assert len(webhook.texts) == 2
    assert "the lag behind Kafka is unknown for more than 300 s" in webhook.texts[1]
    assert "no broker" in webhook.texts[1]
    status(tables(lag_records=200_000))
    tick(cursor)
    assert webhook.texts[2].startswith("[Streamify] over: the lag behind Kafka is unknown")


def test_what_the_webhook_refuses_waits_in_the_cursor(status, webhook):
    webhook.codes = [500]
    status(tables(lag_records=200_000))

    cursor = tick().cursor
    assert webhook.texts == []
    cursor = tick(cursor).cursor

    assert len(webhook.texts) == 1
    assert Memory.from_json(cursor).waiting == ()


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ({"headroom_seconds": 86_399.0}, ["headroom_seconds"]),
        ({"headroom_seconds": 86_401.0}, []),
        ({"headroom_seconds": 80_000.0, "lag_records": 0}, []),
        ({"headroom_seconds": 7_000.0, "lag_seconds": 200.0}, []),
        ({"headroom_seconds": 50.0, "lag_seconds": 100.0}, ["headroom_seconds"]),
        ({"lag_seconds": 301.0}, ["lag_seconds"]),
    ],
    ids=["a second too little", "enough", "nothing to lose", "short retention, enough", "short retention, too little", "late"],
)
def test_which_measures_are_beyond_their_limits(of, expected):
    plain = {"lag_records": 5, "lag_seconds": None, "headroom_seconds": None}
    reading = Reading("tables", 0.0, [TableLag(TABLE, "listen_events", **{**plain, **of})])

    problems, _ = lag_problems(reading, (), {})

    assert [problem.key for problem in problems] == [f"{name}/{TABLE}" for name in expected]


def test_unknown_figures_are_no_end_of_a_problem():
    reading = Reading("worker", 0.0, [TableLag(TABLE, "listen_events", None, None, None)])

    problems, unknown = lag_problems(reading, {f"lag_records/{TABLE}"}, {})

    assert problems == []
    assert set(unknown) == {f"{name}/{TABLE}" for name in ("lag_records", "lag_seconds", "headroom_seconds")}
