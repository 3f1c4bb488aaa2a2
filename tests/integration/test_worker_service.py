"""The always-on worker from Dagster, with the real program on the embedded broker: its life, its death, and runs beside it."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_project.defs.assets.bronze import bronze_streaming_job
from dagster_project.defs.sensors.bronze_restart import bronze_restart_sensor
from dagster_project.defs.worker import bronze_worker_restart, bronze_worker_start, bronze_worker_status, bronze_worker_stop
from dagster_project.lib.paths import find_binary
from dagster_project.lib.worker_status import WorkerStatus, ask_tables, ask_worker
from dagster_project.resources.stream_worker import StreamWorker
from dagster_project.resources.worker_service import WorkerService

pytestmark = pytest.mark.integration

SECONDS = 60
RESOURCES = {"worker_service": WorkerService(), "stream_worker": StreamWorker()}
NODE = "bronze_streaming_job"


def generate(*arguments: str) -> dict[str, Any]:
    """Runs the generator program; returns what it prints."""
    command = [str(find_binary("streamify-generate", os.environ)), *arguments]
    printed: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS).stdout
    )
    return printed


@pytest.fixture
def events(clean_environment: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[int]:
    """The embedded broker with some events, everything under a folder of this test; how many they are."""
    folder = find_binary("streamify-stream", os.environ).parent
    clean_environment.setenv("STREAMIFY_BIN_DIR", str(folder))
    clean_environment.setenv("STREAMIFY_HOME", str(tmp_path))
    clean_environment.setenv("STREAMIFY_METRICS_LISTEN", "127.0.0.1:0")
    clean_environment.setenv("STREAMIFY_FRESHNESS", "500ms")
    generate("broker", "start", "--json")
    try:
        yield generate("run", "--users", "20", "--json")["events"]
    finally:
        WorkerService().stop()
        subprocess.run([str(folder / "streamify-generate"), "broker", "stop"], check=False, capture_output=True, timeout=SECONDS)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance of this test alone."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def run(instance: dg.DagsterInstance) -> Callable[..., dict[str, Any]]:
    """`run(job, run_config=None)`: executes a job; returns the metadata of its output."""

    def execute(job: dg.JobDefinition, run_config: object = None) -> dict[str, Any]:
        resources = {"worker_service": RESOURCES["worker_service"]}
        result = job.execute_in_process(resources=resources, run_config=run_config, instance=instance)  # type: ignore[arg-type]
        [output] = [event for event in result.all_events if event.is_successful_output]
        return {name: value.value for name, value in output.step_output_data.metadata.items()}

    return execute


def materialize(instance: dg.DagsterInstance, **config: object) -> tuple[dict[str, Any], str]:
    """Materializes the asset; returns the metadata of its materialization, or the words of its failure."""
    result = dg.materialize(
        [bronze_streaming_job],
        resources=RESOURCES,
        run_config={"ops": {NODE: {"config": config}}},
        instance=instance,
        raise_on_error=False,
    )
    if not result.success:
        [failed] = [event for event in result.all_events if event.is_step_failure]
        return {}, failed.step_failure_data.user_failure_data.description
    [made] = [one for one in result.asset_materializations_for_node(NODE) if one.asset_key == bronze_streaming_job.key]
    return {name: getattr(value, "value", value) for name, value in made.metadata.items()}, ""


def committed(status: WorkerStatus) -> int:
    return sum(table.rows for table in status.tables)


def reported_rows(instance: dg.DagsterInstance, table: str) -> int:
    records = instance.fetch_materializations(dg.AssetKey(table), limit=100).records
    return sum(int(record.asset_materialization.metadata["rows"].value) for record in records)


def test_start_kill_restart_by_the_sensor_and_stop(events: int, instance, run, wait_until, process_is_gone) -> None:
    started = run(bronze_worker_start)

    def all_stored() -> bool:
        status = ask_worker(os.environ, 10)
        return committed(status) == events and status.lag_records == 0

    wait_until(all_stored, "all events to be in the tables", SECONDS)
    shown = run(bronze_worker_status)
    assert (shown["process"], shown["lag_records"], shown["pid"]) == ("running", 0, started["pid"])

    def evaluate(cursor: str | None = None) -> dg.SensorResult:
        context = dg.build_sensor_context(instance=instance, cursor=cursor, resources=RESOURCES)
        result = bronze_restart_sensor(context)
        assert isinstance(result, dg.SensorResult)
        return result

    well = evaluate()
    assert "the worker is well" in str(well.skip_reason)
    os.kill(started["pid"], signal.SIGKILL)
    wait_until(lambda: evaluate(well.cursor).run_requests, "the sensor to see that the worker has died", SECONDS)
    [request] = evaluate(well.cursor).run_requests or []
    assert request.job_name == bronze_worker_restart.name

    restarted = run(bronze_worker_restart, request.run_config)
    assert restarted["pid"] != started["pid"]
    assert ask_worker(os.environ, 10).lag_records in (0, None), "it goes on where the dead one's last commit ended"

    assert run(bronze_worker_stop)["did"] == "stopped the worker; what it had read is committed"
    assert process_is_gone(restarted["pid"])
    assert not [lease for topic in ask_tables(os.environ, SECONDS).topics for lease in topic.leases if lease.is_valid]
    assert "stopped on purpose" in str(evaluate().skip_reason)


def test_a_run_beside_the_worker_waits_for_it_and_a_second_worker_is_refused_by_name(events: int, instance, run) -> None:
    started = run(bronze_worker_start)
    more = generate("run", "--users", "20", "--seed", "2", "--json")["events"]

    attached, failure = materialize(instance)

    assert failure == ""
    assert attached["attached_to"].startswith(f"the always-on worker, process {started['pid']} on ")
    assert attached["caught_up"] is True
    tables = ask_tables(os.environ, SECONDS)
    assert sum(partition.next_offset or 0 for topic in tables.topics for partition in topic.partitions) == events + more
    assert ask_worker(os.environ, 10).pid == started["pid"], "the run left it alone"
    assert sum(reported_rows(instance, topic.table) for topic in tables.topics) == events + more, "the run reports its commits"

    _, refused = materialize(instance, worker="OWN")

    assert "streamify-stream exited with code 3" in refused
    assert f"process {started['pid']} on host " in refused
    assert "run with `worker: STOP`" in refused


def test_stop_makes_room_for_a_run_of_its_own(events: int, instance, run, process_is_gone) -> None:
    started = run(bronze_worker_start)

    own, failure = materialize(instance, worker="STOP")

    assert failure == ""
    assert "attached_to" not in own
    assert process_is_gone(started["pid"])
    tables = ask_tables(os.environ, SECONDS)
    assert sum(partition.next_offset or 0 for topic in tables.topics for partition in topic.partitions) == events


def test_without_a_worker_the_same_command_lands_everything_itself(events: int, instance) -> None:
    own, failure = materialize(instance)

    assert failure == ""
    assert (own["rows"] + own["dead_letters"], own["unaccounted"]) == (events, 0)


def test_a_worker_without_brokers_ends_and_the_start_shows_why(events: int, run, monkeypatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("STREAMIFY_CONNECT_TIMEOUT", "1s")

    with pytest.raises(dg.Failure, match=r"ended while it was starting, with code 1 \(failure\)"):
        run(bronze_worker_start)

    with suppress(dg.Failure):
        run(bronze_worker_stop)
