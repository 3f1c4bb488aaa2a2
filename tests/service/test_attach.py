"""A run of `bronze_streaming_job` beside the always-on worker."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_project.defs.assets.bronze import bronze_streaming_job
from dagster_project.resources.stream_worker import StreamWorker
from dagster_project.resources.worker_service import WorkerService
from tests.service.endpoint import STATUS, TABLES, Endpoint

NODE = "bronze_streaming_job"
REACHED = (200, {"snapshot_id": 82, "offsets": {"0": 113}})


def grown(rows: int, **changes: object) -> dict[str, object]:
    """The status after `rows` rows."""
    [table] = STATUS["tables"]  # type: ignore[misc]
    return {**STATUS, "tables": [{**table, "rows": rows}], **changes}


@pytest.fixture
def materialize(
    clean_environment: pytest.MonkeyPatch, instance: dg.DagsterInstance, asked: Endpoint, tmp_path: Path
) -> Callable[..., dg.ExecuteInProcessResult]:
    """`materialize(own="shell script", after_status="…", **config)`: a run whose own worker would be that script."""
    program = tmp_path / "streamify-stream"
    (tmp_path / "tables.json").write_text(json.dumps(TABLES), encoding="utf-8")
    clean_environment.setenv("STREAMIFY_HOME", str(tmp_path))
    clean_environment.setenv("STREAMIFY_BIN_DIR", str(tmp_path))
    clean_environment.setenv("STREAMIFY_WORKER_URL", asked.url)

    def run(
        own: str = "echo started a second worker >&2; exit 99", after_status: str = ":", **config: object
    ) -> dg.ExecuteInProcessResult:
        script = f'#!/bin/sh\nif [ "$*" = status ]; then cat {tmp_path}/tables.json; {after_status}; exit; fi\n{own}\n'
        program.write_text(script, encoding="utf-8")
        program.chmod(0o755)
        return dg.materialize(
            [bronze_streaming_job],
            resources={"stream_worker": StreamWorker(), "worker_service": WorkerService(stop_seconds=0.2)},
            run_config={"ops": {NODE: {"config": config}}},
            instance=instance,
            raise_on_error=False,
        )

    return run


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    assert result.success, failure(result)
    [made] = result.asset_materializations_for_node(NODE)
    return {name: getattr(value, "value", value) for name, value in made.metadata.items()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    [event] = [event for event in result.all_events if event.is_step_failure]
    return event.step_failure_data.user_failure_data.description


def test_by_default_a_run_waits_for_the_worker_that_runs_and_shows_its_figures(materialize, asked: Endpoint) -> None:
    asked.says("/v1/status", (200, grown(100)), (200, grown(100)), (200, grown(111))).says("/v1/barrier", REACHED)

    shown = metadata(materialize())

    assert (shown["rows"], shown["dead_letters"], shown["caught_up"]) == (11, 0, True)
    assert shown["attached_to"] == "the always-on worker, process 4711 on stream-1"
    assert asked.bodies("/v1/barrier") == [{"topic": "listen_events", "offsets": {"0": 113}}]


def test_it_waits_as_long_as_the_worker_moves_on(materialize, asked: Endpoint) -> None:
    slow = [(408, {"error": "not all", "offsets": {"0": offset}}) for offset in (102, 105, 110)]
    asked.says("/v1/status", (200, STATUS)).says("/v1/barrier", *slow, REACHED)

    result = materialize()

    assert metadata(result)["caught_up"] is True
    assert len(asked.bodies("/v1/barrier")) == 4


def test_a_worker_that_stands_still_fails_the_run(materialize, asked: Endpoint, monkeypatch) -> None:
    monkeypatch.setattr("dagster_project.defs.assets.bronze.PATIENCE_SECONDS", 0.05)
    asked.says("/v1/status", (200, STATUS)).says("/v1/barrier", (408, {"error": "no", "offsets": {"0": 101}}))

    assert "has stood still for 0 s in `listen_events`" in failure(materialize())


def test_max_duration_ends_the_wait_without_a_failure(materialize, asked: Endpoint) -> None:
    asked.says("/v1/status", (200, STATUS)).says("/v1/barrier", (408, {"error": "no", "offsets": {"0": 101}}))

    assert metadata(materialize(max_duration="300ms"))["caught_up"] is False


def test_a_worker_that_is_stopping_or_gone_fails_the_run(materialize, asked: Endpoint) -> None:
    asked.says("/v1/status", (200, STATUS)).says("/v1/barrier", (503, {"error": "the worker is stopping"}))

    assert failure(materialize()) == "the always-on worker refuses to be waited for: the worker is stopping"


def test_partitions_that_another_worker_reads_are_waited_for_at_the_table(
    materialize, asked: Endpoint, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("dagster_project.lib.attach.SECONDS_BETWEEN_TABLES", 0.01)
    asked.says("/v1/status", (200, STATUS)).says("/v1/barrier", (404, {"error": "partition 0 is not read here"}))
    for number, offset in enumerate((104, 113)):
        later = json.loads(json.dumps(TABLES))
        later["topics"][0]["partitions"][0]["next_offset"] = offset
        (tmp_path / f"later-{number}.json").write_text(json.dumps(later), encoding="utf-8")
    # Each question brings the next state to light.
    first, last, now = tmp_path / "later-0.json", tmp_path / "later-1.json", tmp_path / "tables.json"
    next_state = f"if [ -e {first} ]; then mv {first} {now}; elif [ -e {last} ]; then mv {last} {now}; fi"

    assert metadata(materialize(after_status=next_state))["caught_up"] is True

    assert not (tmp_path / "later-1.json").exists()


def test_a_topic_without_table_is_named(materialize, asked: Endpoint) -> None:
    asked.says("/v1/status", (200, STATUS))

    assert failure(materialize(topics=["refunds"])) == "no table is known for topics refunds"


def test_topics_that_have_nothing_new_are_not_waited_for(materialize, asked: Endpoint, tmp_path: Path) -> None:
    even = json.loads(json.dumps(TABLES))
    even["topics"][0]["partitions"][0] |= {"next_offset": 113, "lag_records": 0}
    (tmp_path / "tables.json").write_text(json.dumps(even), encoding="utf-8")
    asked.says("/v1/status", (200, STATUS))

    assert metadata(materialize())["caught_up"] is True
    assert asked.bodies("/v1/barrier") == []


@pytest.mark.parametrize(
    "config", [{"adopt_new_topic": True}, {"until": "NEVER"}, {"extra_args": ["--take-over"]}, {"on_gap": "ACCEPT"}]
)
def test_what_a_running_worker_cannot_be_told_is_refused(materialize, asked: Endpoint, config) -> None:
    asked.says("/v1/status", (200, STATUS))

    assert f"cannot be told `{next(iter(config))}` of one run" in failure(materialize(**config))


@pytest.mark.parametrize("worker", ["AUTO", "OWN"])
def test_where_none_runs_or_on_demand_a_run_has_a_worker_of_its_own(materialize, asked: Endpoint, worker: str) -> None:
    asked.says("/v1/status", (200, STATUS) if worker == "OWN" else (404, "no worker"))

    assert "exited with code 99" in failure(materialize(worker=worker))


def test_a_worker_that_belongs_to_another_run_is_not_waited_for(materialize, asked: Endpoint) -> None:
    asked.says("/v1/status", (200, {**STATUS, "dagster_run_id": "another"}))

    assert "exited with code 99" in failure(materialize())


def test_attach_without_a_worker_says_how_to_start_one(materialize, asked: Endpoint) -> None:
    text = f"the always-on worker does not run (asked at {asked.url}); start it with `bronze_worker_start`"

    assert failure(materialize(worker="ATTACH")) == text


def test_stop_ends_the_always_on_worker_before_the_run_s_own_begins(materialize, asked: Endpoint) -> None:
    asked.says("/v1/status", (200, STATUS)).says("/v1/stop", (202, {"pid": 4711})).says("/healthz", (200, "ok"))

    assert "is still there 0.2 s after it was asked to stop" in failure(materialize(worker="STOP"))
    assert ("POST", "/v1/stop", None, None) in asked.asked


def test_a_held_lease_names_its_holder_and_what_to_do(materialize, asked: Endpoint) -> None:
    said = failure(materialize(own="echo another writer holds the lease >&2; exit 3"))

    assert said.startswith("streamify-stream exited with code 3 (it needs a decision by a person")
    assert "another writer holds the lease" in said
    assert "process 99 on host stream-2 holds the tables until 2026-09-21 14:14:50 UTC" in said
    assert f"it was not found at {asked.url}" in said
    assert "run with `worker: STOP`" in said
    assert "--take-over" in said


@pytest.mark.parametrize(("code", "leases"), [(1, True), (3, False)])
def test_other_failures_keep_their_own_words(materialize, asked: Endpoint, tmp_path: Path, code: int, leases: bool) -> None:
    if not leases:
        free = json.loads(json.dumps(TABLES))
        free["topics"][0]["leases"] = []
        (tmp_path / "tables.json").write_text(json.dumps(free), encoding="utf-8")

    said = failure(materialize(own=f"echo offset gap >&2; exit {code}"))

    assert said.endswith("offset gap")
