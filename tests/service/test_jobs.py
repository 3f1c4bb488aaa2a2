"""The jobs for the always-on worker, with a stand-in for its program: real processes, real endpoint."""

import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_project.definitions import defs
from dagster_project.defs.worker import bronze_worker_restart, bronze_worker_start, bronze_worker_status, bronze_worker_stop
from dagster_project.lib.worker_status import ask_worker
from dagster_project.resources.worker_service import WorkerService
from tests.service.conftest import FakeService
from tests.service.endpoint import STATUS, TABLES, Endpoint


@pytest.fixture
def run(instance: dg.DagsterInstance) -> Callable[..., dg.ExecuteInProcessResult]:
    """`run(job, op config)`: executes a job."""

    def execute(
        job: dg.JobDefinition, start_seconds: float = 60, stop_seconds: float = 30, **config: object
    ) -> dg.ExecuteInProcessResult:
        [node] = job.graph.node_dict
        return job.execute_in_process(
            resources={"worker_service": WorkerService(start_seconds=start_seconds, stop_seconds=stop_seconds)},
            run_config={"ops": {node: {"config": config}}} if config else {},
            instance=instance,
            raise_on_error=False,
        )

    return execute


def shown(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """The metadata of the job's one output."""
    assert result.success, failure(result)
    [event] = [event for event in result.all_events if event.is_successful_output]
    return {name: value.value for name, value in event.step_output_data.metadata.items() if name not in ("topics", "offsets")}


def failure(result: dg.ExecuteInProcessResult) -> str:
    [event] = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data.user_failure_data
    return data.description if data else event.step_failure_data.error.to_string()


def test_the_code_location_offers_the_jobs_and_the_sensor(clean_environment: pytest.MonkeyPatch) -> None:
    loaded = defs()

    jobs = {"bronze_worker_start", "bronze_worker_stop", "bronze_worker_restart", "bronze_worker_status", "bronze_rolling_job"}
    offered = [job.name for job in loaded.jobs or []]
    assert jobs <= set(offered)
    assert len(offered) == len(set(offered))
    assert all(loaded.resolve_job_def(name).description for name in jobs)
    assert "bronze_restart_sensor" in [sensor.name for sensor in loaded.sensors or []]


def test_start_status_stop(service: FakeService, run, instance, process_is_gone) -> None:
    started = run(bronze_worker_start)

    assert shown(started)["pid"] == service.pid
    assert shown(started)["did"].startswith("started the worker as process ")
    assert ask_worker(os.environ, 10).pid == service.pid

    status = shown(run(bronze_worker_status))
    assert (status["wanted"], status["process"], status["health"]) == ("running", "running", "good: 200 ok")
    assert status["pid"] == service.pid

    stopped = run(bronze_worker_stop)
    assert shown(stopped)["did"] == "stopped the worker; what it had read is committed"
    assert process_is_gone(service.pid)
    assert "did: stopped the worker" in "\n".join(entry.user_message for entry in instance.all_logs(stopped.run_id))


def test_a_second_start_says_so_and_starts_nothing(service: FakeService, run) -> None:
    run(bronze_worker_start)

    second = shown(run(bronze_worker_start))

    assert "runs already" in second["did"]
    assert second["pid"] == service.pid
    assert len(service.starts) == 1


def test_a_stop_where_nothing_runs_is_no_failure(service: FakeService, run) -> None:
    assert shown(run(bronze_worker_stop))["did"] == "no worker runs; nothing was done"


def test_a_worker_that_ends_at_once_fails_the_start_with_the_end_of_its_log(service: FakeService, run) -> None:
    service.behaves(exits_with=3, says="error: table `bronze_listen_events`: another writer holds the lease")

    result = run(bronze_worker_start)

    assert "ended while it was starting, with code 3 (it needs a decision by a person" in failure(result)
    assert failure(result).endswith("error: table `bronze_listen_events`: another writer holds the lease")
    status = shown(run(bronze_worker_status))
    assert (status["process"], status["exit_code"]) == ("ended", 3)


def test_one_that_does_not_get_ready_is_told_and_goes_on_trying(service: FakeService, run, process_is_gone) -> None:
    service.behaves(ready=False)

    result = run(bronze_worker_start, start_seconds=3)

    assert "was not ready after 3 s; it goes on trying" in failure(result)
    if service.starts:  # the machine may have been too slow to get that far
        assert not process_is_gone(service.pid)
    assert shown(run(bronze_worker_status))["process"] == "running"
    run(bronze_worker_stop)


def test_a_restart_is_another_process_and_takes_arguments_for_one_start(service: FakeService, run, process_is_gone) -> None:
    run(bronze_worker_start)

    restarted = shown(run(bronze_worker_restart, extra_args=["--take-over"]))

    (first, _), (second, arguments) = service.starts
    assert restarted["pid"] == second != first
    assert arguments == ["--take-over"]
    assert process_is_gone(first)
    assert restarted["did"].startswith("stopped the worker; what it had read is committed; started the worker as process ")


def test_a_restart_ends_a_worker_that_does_not_listen_to_signals(service: FakeService, run, process_is_gone) -> None:
    service.behaves(deaf=True)
    run(bronze_worker_start)
    service.behaves()

    restarted = shown(run(bronze_worker_restart, stop_seconds=0.2))

    assert restarted["did"].startswith("killed the worker: it did not end within 0.2 s of SIGTERM; started")
    assert process_is_gone(service.starts[0][0])


def test_a_restart_that_the_sensor_asked_for_comes_too_late_for_a_stop(service: FakeService, run) -> None:
    run(bronze_worker_start)
    run(bronze_worker_stop)

    late = run(bronze_worker_restart, only_if_wanted=True)

    assert "stopped on purpose meanwhile" in shown(late)["did"]
    assert len(service.starts) == 1


def test_settings_that_hold_for_one_run_do_not_reach_the_worker(service: FakeService, run, monkeypatch, tmp_path) -> None:
    program = service.folder / "streamify-stream"
    program.write_text(program.read_text(encoding="utf-8").replace("exec", f"env > {tmp_path}/seen\nexec"), encoding="utf-8")
    monkeypatch.setenv("STREAMIFY_UNTIL", "caught-up")
    monkeypatch.setenv("DAGSTER_PIPES_CONTEXT", "x")
    monkeypatch.setenv("STREAMIFY_FRESHNESS", "1s")

    assert run(bronze_worker_start).success

    seen = (tmp_path / "seen").read_text(encoding="utf-8")
    assert "STREAMIFY_FRESHNESS=1s" in seen
    assert f"STREAMIFY_HOME={tmp_path}/home" in seen
    assert "STREAMIFY_UNTIL" not in seen
    assert "DAGSTER_PIPES" not in seen


def test_a_worker_of_somebody_else_is_left_alone_by_start_and_asked_to_end_by_stop(
    service: FakeService, asked: Endpoint, run, monkeypatch
) -> None:
    monkeypatch.setenv("STREAMIFY_WORKER_URL", asked.url)
    monkeypatch.setenv("STREAMIFY_CONTROL_TOKEN", "secret")
    asked.says("/v1/status", (200, STATUS)).says("/v1/stop", (401, {"error": "name the token"}))

    assert "was not started from here (pid 4711 on stream-1)" in shown(run(bronze_worker_start))["did"]
    assert service.starts == []
    assert "refuses to stop" in failure(run(bronze_worker_stop))
    assert ("POST", "/v1/stop", None, "Bearer secret") in asked.asked


def test_a_worker_that_belongs_to_a_run_is_not_taken_for_the_always_on_one(
    service: FakeService, asked: Endpoint, run, monkeypatch
) -> None:
    monkeypatch.setenv("STREAMIFY_WORKER_URL", asked.url)
    asked.says("/v1/status", (200, {**STATUS, "dagster_run_id": "run-7"}))

    assert failure(run(bronze_worker_start)) == f"run run-7 is using {asked.url}; wait for its end, or cancel it"


def test_the_status_shows_who_holds_the_tables_where_no_worker_answers(service: FakeService, run) -> None:
    (service.folder / "tables.json").write_text(json.dumps(TABLES), encoding="utf-8")

    result = run(bronze_worker_status)

    assert shown(result)["process"] == "never started"
    [lease] = shown(result)["leases"].records
    assert (lease.data["host"], lease.data["is_valid"]) == ("stream-2", True)


def test_a_worker_that_was_killed_is_shown_as_ended(service: FakeService, run, wait_until) -> None:
    run(bronze_worker_start)
    os.kill(service.pid, signal.SIGKILL)
    (service.folder / "tables.json").write_text(json.dumps(TABLES), encoding="utf-8")

    wait_until(lambda: shown(run(bronze_worker_status))["process"] == "ended", "the worker to be seen as ended")

    assert shown(run(bronze_worker_status))["exit_code"] == -9


@pytest.fixture
def managed(service: FakeService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """`managed(what, script)`: a command of the service manager; `$PROGRAM` is the worker's."""
    monkeypatch.setenv("STREAMIFY_WORKER_MODE", "service")
    monkeypatch.setenv("PROGRAM", str(service.folder / "streamify-stream"))

    def command(what: str, script: str) -> None:
        path = tmp_path / what
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        monkeypatch.setenv(f"STREAMIFY_WORKER_{what.upper()}_COMMAND", f"{path} worker")

    return command


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_service_manager_is_told_what_to_do(service: FakeService, managed, run, monkeypatch, tmp_path, process_is_gone) -> None:
    address = free_address()
    monkeypatch.setenv("STREAMIFY_METRICS_LISTEN", address)
    monkeypatch.setenv("STREAMIFY_WORKER_URL", f"http://{address}")
    start = f'setsid "$PROGRAM" >{tmp_path}/log 2>&1 </dev/null & echo $! > {tmp_path}/pid'
    stop = f"kill $(cat {tmp_path}/pid)"
    managed("start", start)
    managed("stop", stop)
    managed("restart", f"{stop}; while kill -0 $(cat {tmp_path}/pid) 2>/dev/null; do sleep 0.02; done; {start}")

    assert shown(run(bronze_worker_start))["pid"] == service.pid
    assert "runs already" in shown(run(bronze_worker_start))["did"]
    restarted = shown(run(bronze_worker_restart))
    assert [pid for pid, _ in service.starts][-1] == restarted["pid"]
    assert len(service.starts) == 2
    assert shown(run(bronze_worker_stop))["did"] == f"stopped the worker by `{tmp_path}/stop worker`"
    assert all(process_is_gone(pid) for pid, _ in service.starts)


def test_without_a_command_the_worker_is_asked_to_stop_and_a_start_says_what_is_missing(
    service: FakeService, managed, run, monkeypatch, tmp_path
) -> None:
    address = free_address()
    monkeypatch.setenv("STREAMIFY_METRICS_LISTEN", address)
    monkeypatch.setenv("STREAMIFY_WORKER_URL", f"http://{address}")
    managed("start", f'setsid "$PROGRAM" >{tmp_path}/log 2>&1 </dev/null &')
    assert run(bronze_worker_start).success
    monkeypatch.delenv("STREAMIFY_WORKER_START_COMMAND")

    assert shown(run(bronze_worker_stop))["did"] == f"asked the worker at http://{address} to stop, and it has gone"
    assert failure(run(bronze_worker_start)) == "no command starts the worker: set STREAMIFY_WORKER_START_COMMAND"


def test_a_worker_that_nobody_can_start_is_not_stopped_for_a_restart(managed, asked: Endpoint, run, monkeypatch) -> None:
    monkeypatch.setenv("STREAMIFY_WORKER_URL", asked.url)
    asked.says("/v1/status", (200, STATUS)).says("/v1/stop", (202, {"pid": 4711}))

    assert "no command restarts the worker" in failure(run(bronze_worker_restart))

    assert "/v1/stop" not in [path for _, path, _, _ in asked.asked]


@pytest.mark.parametrize(
    ("script", "words"),
    [("echo unit not found; exit 5", "worker` exited with code 5: unit not found"), ("exit 0", "no new worker was ready at")],
)
def test_a_command_that_fails_or_starts_nothing_is_told(managed, run, monkeypatch, script: str, words: str) -> None:
    monkeypatch.setenv("STREAMIFY_WORKER_URL", "http://127.0.0.1:1")
    managed("start", script)

    assert words in failure(run(bronze_worker_start, start_seconds=1))


def test_an_unknown_mode_is_refused(service: FakeService, run, monkeypatch) -> None:
    monkeypatch.setenv("STREAMIFY_WORKER_MODE", "container")

    assert failure(run(bronze_worker_start)) == "invalid `STREAMIFY_WORKER_MODE`: `container` is not `detached` or `service`"
