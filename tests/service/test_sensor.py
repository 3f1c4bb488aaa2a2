"""`bronze_restart_sensor` as the daemon evaluates it."""

import json
import os
import signal
from collections.abc import Callable

import dagster as dg
import pytest

from dagster_project.defs.assets.bronze import bronze_streaming_job
from dagster_project.defs.jobs import bronze_rolling_job
from dagster_project.defs.sensors.bronze_restart import bronze_restart_sensor
from dagster_project.defs.worker import bronze_worker_restart, bronze_worker_start, bronze_worker_stop
from dagster_project.lib import worker_http
from dagster_project.lib.restart_policy import load_state
from dagster_project.resources.stream_worker import StreamWorker
from dagster_project.resources.worker_service import WorkerService
from tests.service.conftest import FakeService
from tests.service.endpoint import Endpoint

RESOURCES = {"worker_service": WorkerService(start_seconds=60, stop_seconds=30), "stream_worker": StreamWorker()}


@pytest.fixture
def evaluate(instance: dg.DagsterInstance) -> Callable[..., dg.SensorResult]:
    """`evaluate(cursor=None)`: one evaluation of the sensor."""

    def run(cursor: str | None = None) -> dg.SensorResult:
        context = dg.build_sensor_context(instance=instance, cursor=cursor, resources=RESOURCES)
        result = bronze_restart_sensor(context)
        assert isinstance(result, dg.SensorResult)
        return result

    return run


def execute(instance: dg.DagsterInstance, job: dg.JobDefinition, run_config: object = None) -> dg.ExecuteInProcessResult:
    return job.execute_in_process(
        resources={"worker_service": RESOURCES["worker_service"]},
        run_config=run_config,  # type: ignore[arg-type]
        instance=instance,
    )


def reason(result: dg.SensorResult) -> str:
    assert result.run_requests == []
    assert result.skip_reason is not None
    return str(result.skip_reason.skip_message)


def test_a_killed_worker_is_restarted_by_the_job_that_the_sensor_asks_for(
    service: FakeService, instance, evaluate, wait_until
) -> None:
    execute(instance, bronze_worker_start)
    well = evaluate()
    assert reason(well).startswith("worker: the worker is well, 0 records behind")

    os.kill(service.pid, signal.SIGKILL)
    wait_until(lambda: evaluate(well.cursor).run_requests, "the death to be seen")
    asked = evaluate(well.cursor)

    [request] = asked.run_requests
    assert request.job_name == bronze_worker_restart.name
    assert request.tags["streamify/restart_reason"].startswith("the worker exited with code -9 (killed by SIGKILL)")
    execute(instance, bronze_worker_restart, request.run_config)
    assert len(service.starts) == 2
    assert "the worker is well" in reason(evaluate(asked.cursor))


def test_while_a_job_for_the_worker_is_under_way_nothing_else_is_asked_for(service: FakeService, instance, evaluate) -> None:
    execute(instance, bronze_worker_start)
    os.kill(service.pid, signal.SIGKILL)
    instance.create_run_for_job(bronze_worker_restart, status=dg.DagsterRunStatus.STARTED)

    assert "worker: `bronze_worker_restart` is under way" in reason(evaluate())


def test_a_dead_worker_waits_for_a_run_that_may_hold_the_tables(service: FakeService, instance, evaluate, wait_until) -> None:
    execute(instance, bronze_worker_start)
    os.kill(service.pid, signal.SIGKILL)
    run = started_run(instance)

    assert f"worker: run {run.run_id[:8]} of `bronze_streaming_job` is under way" in reason(evaluate())

    instance.report_run_failed(run)
    wait_until(lambda: evaluate().run_requests, "the death to be seen")
    asked = evaluate()
    assert [request.job_name for request in asked.run_requests or []] == [bronze_worker_restart.name], "the run comes after it"
    execute(instance, bronze_worker_restart)
    assert [request.job_name for request in evaluate(asked.cursor).run_requests or []] == [bronze_rolling_job.name]


def test_a_worker_stopped_on_purpose_or_with_code_3_is_left_alone(service: FakeService, instance, evaluate, wait_until) -> None:
    assert "no worker was started from here" in reason(evaluate())

    service.behaves(exits_with=3, says="error: offset gap")
    with pytest.raises(dg.Failure, match="with code 3"):
        execute(instance, bronze_worker_start)
    assert "the worker exited with code 3" in reason(evaluate())

    execute(instance, bronze_worker_stop)
    assert "stopped on purpose" in reason(evaluate())


def test_a_wedged_worker_is_restarted_after_a_while(service: FakeService, instance, evaluate) -> None:
    execute(instance, bronze_worker_start)
    service.behaves(healthy=False)

    first = evaluate()
    assert "the worker says that it cannot work (503 the brokers are away), for 0 s; restarted after 60 s of it" in reason(first)

    earlier = json.loads(first.cursor or "")
    earlier["unwell_since_ms"] -= 60_000
    [request] = evaluate(json.dumps(earlier)).run_requests
    assert request.job_name == bronze_worker_restart.name


def test_a_setting_that_cannot_be_meant_is_told_and_the_cursor_stays(service: FakeService, evaluate, monkeypatch) -> None:
    monkeypatch.setenv("STREAMIFY_WORKER_STALL_LIMIT", "5")

    result = evaluate('{"answered_run": "x"}')

    assert "invalid `STREAMIFY_WORKER_STALL_LIMIT`" in reason(result)
    assert load_state(result.cursor).answered_run == "x"


def test_an_evaluation_asks_within_its_two_seconds_and_gives_up_on_a_worker_that_does_not_answer(
    service: FakeService, instance, evaluate, monkeypatch
) -> None:
    """A process that is held by SIGSTOP: the kernel takes connections for it, and nobody answers them."""
    execute(instance, bronze_worker_start)
    os.kill(service.pid, signal.SIGSTOP)
    timeouts: list[float] = []
    real = worker_http.ask

    def ask(url: str, path: str, timeout: float, **more: object) -> worker_http.Answer:
        timeouts.append(timeout)
        return real(url, path, timeout, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("dagster_project.lib.worker_health.ask", ask)
    monkeypatch.setattr("dagster_project.lib.worker_status.ask", ask)

    assert "the worker's process is there but" in reason(evaluate())

    assert len(timeouts) == 2
    assert sum(timeouts) <= 1.5


def started_run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """A rolling run that is under way."""
    loaded = dg.Definitions(assets=[bronze_streaming_job], jobs=[bronze_rolling_job], resources=RESOURCES)
    job = loaded.resolve_job_def(bronze_rolling_job.name)
    return instance.create_run_for_job(job, tags={"streamify/rolling": "true"}, status=dg.DagsterRunStatus.STARTED)


@pytest.fixture
def failed_run(clean_environment, instance, asked: Endpoint, tmp_path) -> Callable[..., str]:
    """`failed_run(exit code, tags, **config)`: a run of `bronze_streaming_job` whose worker exits so; returns its id."""
    clean_environment.setenv("STREAMIFY_HOME", str(tmp_path / "home"))
    clean_environment.setenv("STREAMIFY_BIN_DIR", str(tmp_path))
    clean_environment.setenv("STREAMIFY_WORKER_URL", asked.url)

    def run(code: int, tags: dict[str, str] | None = None, **config: object) -> str:
        program = tmp_path / "streamify-stream"
        program.write_text(f"#!/bin/sh\nexit {code}\n", encoding="utf-8")
        program.chmod(0o755)
        result = dg.materialize(
            [bronze_streaming_job],
            resources=RESOURCES,
            run_config={"ops": {"bronze_streaming_job": {"config": config}}},
            tags=tags,
            instance=instance,
            raise_on_error=False,
        )
        assert not result.success
        return result.run_id

    return run


@pytest.mark.parametrize(
    ("tags", "config"),
    [
        ({"streamify/rolling": "true"}, {"topics": ["listen_events"]}),
        ({"dagster/schedule_name": "bronze_schedule"}, {}),
        ({}, {"until": "NEVER"}),
    ],
)
def test_a_failed_rolling_run_is_run_again_with_its_config(failed_run, evaluate, instance, tags, config) -> None:
    run_id = failed_run(1, tags, **config)

    asked = evaluate()

    [request] = asked.run_requests
    assert (request.job_name, request.run_key) == (bronze_rolling_job.name, f"run-{run_id}")
    assert request.tags["streamify/failed_run"] == run_id
    kept = request.run_config.get("ops", {}).get("bronze_streaming_job", {}).get("config", {})
    assert {name: kept.get(name) for name in config} == config
    assert "another one was launched in its place" in reason(evaluate(asked.cursor))


def test_a_run_from_the_command_line_is_found_by_its_asset_though_its_job_is_named_otherwise(
    failed_run, evaluate, instance
) -> None:
    run_id = failed_run(1, {"streamify/rolling": "true"})
    run = instance.get_run_by_id(run_id)

    assert run.job_name.startswith("__")
    assert [request.tags["streamify/failed_run"] for request in evaluate().run_requests] == [run_id]


@pytest.mark.parametrize(
    ("code", "tags", "why"),
    [
        (2, {"streamify/rolling": "true"}, "its worker exited with code 2 (bad settings"),
        (3, {"streamify/rolling": "true"}, "its worker exited with code 3 (it needs a decision by a person"),
        (1, {}, "it was launched once, by hand"),
        (1, {"streamify/rolling": "true", "dagster/will_retry": "true"}, "Dagster retries it by itself"),
    ],
)
def test_other_failed_runs_are_not_run_again(failed_run, evaluate, code: int, tags: dict[str, str], why: str) -> None:
    run_id = failed_run(code, tags)

    assert f"run {run_id[:8]} is not run again: {why}" in reason(evaluate())


def test_a_failure_before_the_worker_ran_needs_a_person(failed_run, evaluate, monkeypatch, tmp_path) -> None:
    tags = {"streamify/rolling": "true"}
    failed_run(1, tags)
    monkeypatch.setenv("STREAMIFY_BIN_DIR", str(tmp_path / "nowhere"))
    failed_run(1, tags)

    assert "it failed before its worker ran" in reason(evaluate())


def test_a_run_whose_process_vanished_is_run_again(evaluate, instance, clean_environment, tmp_path) -> None:
    clean_environment.setenv("STREAMIFY_HOME", str(tmp_path))
    clean_environment.setenv("STREAMIFY_WORKER_URL", "http://127.0.0.1:1")
    run = started_run(instance)
    instance.report_run_failed(run)

    [request] = evaluate().run_requests
    assert request.tags["streamify/failed_run"] == run.run_id


def test_the_sensor_is_on_and_knows_its_jobs() -> None:
    assert bronze_restart_sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert {job.name for job in bronze_restart_sensor.jobs} == {bronze_worker_restart.name, bronze_rolling_job.name}
    assert bronze_restart_sensor.minimum_interval_seconds == 30
