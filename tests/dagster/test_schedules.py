"""Jobs and schedules: what they hold, and when the rolling rounds of bronze begin."""

import json
import threading
import uuid
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dagster as dg
import pytest

from dagster_project.definitions import defs
from dagster_project.defs.jobs import GOLD_GROUP, bronze_rolling_schedule, gold_batch_job
from tests.dagster.test_kafka_lag import worker

QUARTER = datetime(2026, 2, 23, 12, 15, tzinfo=UTC)


@pytest.fixture
def instance(tmp_path):
    """An instance that has a folder: contexts of schedules take no other."""
    folder = tmp_path / "instance"
    folder.mkdir()
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        yield instance


@pytest.fixture
def nobody_listens(clean_environment, tmp_path):
    clean_environment.setenv("STREAMIFY_HOME", str(tmp_path))
    clean_environment.setenv("STREAMIFY_WORKER_URL", "http://127.0.0.1:1")


def tick(instance):
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=QUARTER)
    return bronze_rolling_schedule.evaluate_tick(context)


def test_a_round_begins_where_nothing_takes_in_events(nobody_listens, instance):
    [request] = tick(instance).run_requests

    config = {"until": "NEVER", "max_duration": "14m"}
    assert request.run_config == {"ops": {"bronze_streaming_job": {"config": config}}}
    job = defs().resolve_job_def("bronze_rolling_job")
    assert dg.validate_run_config(job, request.run_config)
    assert request.tags["dagster/max_runtime"] == "1200"


@pytest.mark.parametrize(
    ("job", "selection"),
    [
        ("bronze_rolling_job", None),
        ("__ASSET_JOB", {dg.AssetKey("bronze_streaming_job"), dg.AssetKey("silver_listen_events")}),
    ],
)
def test_a_round_is_skipped_while_a_bronze_run_goes_on(nobody_listens, instance, job, selection):
    run_id = str(uuid.uuid4())
    started = dg.DagsterRunStatus.STARTED
    instance.add_run(
        dg.DagsterRun(job_name=job, run_id=run_id, status=started, asset_selection=selection and frozenset(selection))
    )

    assert tick(instance).skip_message == f"run {run_id} still takes in events"


def test_other_runs_hold_no_round_up(nobody_listens, instance):
    for job, status in (("silver_batch_job", "STARTED"), ("bronze_rolling_job", "SUCCESS")):
        instance.add_run(dg.DagsterRun(job_name=job, run_id=str(uuid.uuid4()), status=dg.DagsterRunStatus[status]))

    assert len(tick(instance).run_requests) == 1


def test_a_round_is_skipped_while_the_always_on_worker_answers(clean_environment, instance):
    class Endpoint(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(worker(pid=77, host="lake-1")).encode())

        def log_message(self, *_):
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        clean_environment.setenv("STREAMIFY_WORKER_URL", f"http://127.0.0.1:{server.server_address[1]}")
        skipped = tick(instance).skip_message
        server.shutdown()

    assert skipped == "the always-on worker (process 77 on lake-1) takes in events"


def test_the_gold_job_loads_and_runs_while_there_is_no_gold(clean_environment, instance):
    job = defs().resolve_job_def("gold_batch_job")

    assert set(job.asset_layer.executable_asset_keys) == set()
    assert job.execute_in_process(instance=instance).success


def test_the_gold_job_takes_whatever_is_in_the_group(instance):
    @dg.asset(group_name=GOLD_GROUP)
    def gold_top_tracks():
        """A gold table."""

    @dg.asset(group_name="silver")
    def silver_listens():
        """No gold table."""

    job = dg.Definitions(assets=[gold_top_tracks, silver_listens], jobs=[gold_batch_job]).resolve_job_def("gold_batch_job")

    assert set(job.asset_layer.executable_asset_keys) == {gold_top_tracks.key}
    assert job.execute_in_process(instance=instance).success


def test_every_schedule_and_sensor_says_what_it_does_and_in_which_zone(clean_environment):
    loaded = defs()

    for schedule in loaded.schedules:
        assert schedule.execution_timezone == "UTC", schedule.name
        assert schedule.description, schedule.name
        assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED, schedule.name
    sensors = {sensor.name: sensor for sensor in loaded.sensors}
    alerts, others = ("alert_on_bad_data", "alert_on_failed_runs"), ("kafka_lag_sensor", "silver_updates_sensor")
    assert all(sensors[name].description for name in (*alerts, *others))
    assert all(sensors[name].default_status is dg.DefaultSensorStatus.RUNNING for name in alerts)
    assert all(sensors[name].default_status is dg.DefaultSensorStatus.STOPPED for name in others), (
        "they ask servers or start runs"
    )


def test_what_comes_regularly_has_a_freshness_policy(clean_environment):
    graph = defs().resolve_asset_graph()
    policed = {key.to_user_string() for key in graph.get_all_asset_keys() if graph.get(key).freshness_policy}

    topics = ("auth_events", "listen_events", "page_view_events", "status_change_events")
    tables = {f"{layer}_{topic}" for layer in ("bronze", "silver") for topic in topics}
    assert policed == tables | {"silver_user_sessions"}


def test_the_checks_of_bronze_are_a_job_of_their_own(clean_environment):
    job = defs().resolve_job_def("bronze_checks_job")

    checks = {key.to_user_string() for key in job.asset_layer.asset_graph.asset_check_keys}
    assert len(checks) == 4 * 7
    assert "bronze_listen_events:ledger_closes" in checks
    assert not job.asset_layer.executable_asset_keys
