"""Commits of the real worker as events of the tables' assets, and the way back from an event to its record, commit and run."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import pytest
from pyiceberg.table.snapshots import Operation

from dagster_project import trace as trace_program
from dagster_project.defs.assets.bronze import bronze_streaming_job
from dagster_project.defs.trace import trace_event as trace_job
from dagster_project.lib.bronze_tables import table_names
from dagster_project.lib.commit_events import report_new_commits
from dagster_project.lib.contracts import DEAD_LETTER_TABLE, load_contracts
from dagster_project.lib.paths import contracts_folder, find_binary
from dagster_project.lib.trace import trace_event
from dagster_project.resources.stream_worker import StreamWorker
from dagster_project.resources.worker_service import WorkerService
from tests.integration.conftest import SECONDS, TABLE, TOPIC, Pipeline, event, send

pytestmark = pytest.mark.integration

SILVER = f"silver_{TOPIC}"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance of this test alone."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def filled(pipeline: Pipeline, clean_environment: pytest.MonkeyPatch) -> Pipeline:
    """A topic whose 41 records (one is broken) are in the tables; this process has the environment of the pipeline."""
    folder = find_binary("streamify-stream", os.environ).parent
    clean_environment.setenv("STREAMIFY_BIN_DIR", str(folder))
    for name, value in pipeline.environment.items():
        clean_environment.setenv(name, value)
    pipeline.create_topic(partitions=2)
    for partition in range(2):
        send(pipeline.producer(), [event(number + 100 * partition) for number in range(20)], partition)
    send(pipeline.producer(), [event(999, sessionId="broken")])
    code, log = pipeline.run()
    assert code == 0, log
    return pipeline


def run_in_dagster(instance: dg.DagsterInstance, report_seconds: float = 30, **more: str) -> str:
    """Materializes the asset; returns the run's id."""
    result = dg.materialize(
        [bronze_streaming_job],
        resources={"stream_worker": StreamWorker(report_seconds=report_seconds), "worker_service": WorkerService()},
        instance=instance,
        run_config={"ops": {"bronze_streaming_job": {"config": {"topics": [TOPIC], **more}}}},
    )
    assert result.success
    return result.run_id


def batch(*arguments: str) -> None:
    """Runs a batch job."""
    program = str(find_binary("streamify-batch", os.environ))
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr


def events_of(instance: dg.DagsterInstance, table: str) -> list[Mapping[str, dg.MetadataValue]]:
    """Metadata of a table's materializations, oldest first."""
    records = instance.fetch_materializations(dg.AssetKey(table), limit=50, ascending=True).records
    return [record.asset_materialization.metadata for record in records if record.asset_materialization]


def total(instance: dg.DagsterInstance, name: str) -> int:
    """Sum of a figure over the events of the topic's table."""
    return sum(int(str(metadata[name].value)) for metadata in events_of(instance, TABLE))


def test_a_run_reports_its_commits_and_those_of_a_worker_before_it(filled: Pipeline, instance: dg.DagsterInstance) -> None:
    send(filled.producer(), [event(number) for number in range(200, 210)])

    run_id = run_in_dagster(instance)

    assert total(instance, "rows") == len(filled.sessions()) == 50
    assert (total(instance, "received"), total(instance, "dead_letters"), total(instance, "unaccounted")) == (51, 1, 0)
    newest = events_of(instance, TABLE)[-1]
    assert newest["dagster/row_count"].value == 50
    assert newest["dagster_run"] == dg.MetadataValue.dagster_run(run_id)
    ends = {}
    for metadata in events_of(instance, TABLE):
        for record in metadata["offsets"].records:  # type: ignore[attr-defined]  # a table
            assert record.data["from"] == ends.get(record.data["partition"], 0)
            ends[record.data["partition"]] = record.data["to"]
    assert ends == filled.ends()
    [letters] = events_of(instance, DEAD_LETTER_TABLE)
    assert letters["rows"].value == 1


def test_the_worker_s_progress_becomes_observations(filled: Pipeline, instance: dg.DagsterInstance) -> None:
    run_in_dagster(instance, report_seconds=0.5, until="NEVER", max_duration="4s")

    records = instance.fetch_observations(dg.AssetKey(TABLE), limit=50).records
    assert records, "the worker tells its progress as soon as it runs"
    metadata = records[0].asset_observation.metadata if records[0].asset_observation else {}
    assert metadata["rows"].value == 0, "what was there before is not of this run"
    assert set(metadata) <= {"rows", "lag_records", "lag_seconds", "headroom_seconds", "freshness_seconds"}


def test_neither_a_second_look_nor_a_compaction_is_an_event(filled: Pipeline, instance: dg.DagsterInstance) -> None:
    send(filled.producer(), [event(300)])
    assert filled.run()[0] == 0
    for table in table_names(os.environ):
        report_new_commits(instance, os.environ, table)
    num_events = len(events_of(instance, TABLE))
    batch("compact", "--min-files", "2", "--tables", TABLE)
    snapshot = filled.table().current_snapshot()

    assert report_new_commits(instance, os.environ, TABLE) is None

    assert snapshot is not None
    assert snapshot.summary is not None
    assert snapshot.summary.operation is Operation.REPLACE, "the test's premise"
    assert len(events_of(instance, TABLE)) == num_events == 1


def test_a_row_of_bronze_and_of_silver_leads_to_its_record_its_commit_and_its_run(
    filled: Pipeline, instance: dg.DagsterInstance
) -> None:
    send(filled.producer(), [event(number) for number in range(200, 210)])
    run_id = run_in_dagster(instance)
    batch("silver", "--tables", SILVER)
    batch("compact", "--min-files", "2", "--tables", TABLE)
    contracts = load_contracts(contracts_folder(os.environ))
    wanted = ("event_id", "_kafka_partition", "_kafka_offset", "_kafka_timestamp", "sessionId", "event_date")
    rows = {row["sessionId"]: row for row in filled.table().scan(selected_fields=wanted).to_arrow().to_pylist()}
    commits = {snapshot.snapshot_id: snapshot for snapshot in filled.table().snapshots()}

    for number in (3, 105, 205):
        row = rows[number]
        for table, day in ((TABLE, None), (SILVER, str(row["event_date"]))):
            [found] = trace_event(os.environ, contracts, table, row["event_id"], day)
            place = (found.topic, found.partition, found.offset, found.epoch, found.timestamp)
            assert place == (TOPIC, row["_kafka_partition"], row["_kafka_offset"], 0, row["_kafka_timestamp"])
            assert found.commit is not None
            assert found.commit.snapshot_id in commits
            assert found.commit.run_id == (run_id if number == 205 else None)

    outcome = trace_job.execute_in_process(instance=instance, run_config=config(SILVER, rows[205]["event_id"]))
    output = next(event for event in outcome.all_events if event.is_successful_output)
    metadata = output.step_output_data.metadata
    assert metadata["deliveries"].records[0].data["offset"] == rows[205]["_kafka_offset"]
    assert metadata["dagster_run"] == dg.MetadataValue.dagster_run(run_id)


def config(table: str, event_id: str) -> dict[str, Any]:
    """Run config of the job."""
    return {"ops": {"trace_one_event": {"config": {"table": table, "event_id": event_id}}}}


def test_an_event_whose_commit_has_expired_still_has_its_place(filled: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    send(filled.producer(), [event(300)])
    assert filled.run()[0] == 0
    [row] = [row for row in filled.table().scan().to_arrow().to_pylist() if row["sessionId"] == 3]
    batch("expire", "--tables", TABLE, "--older-than", "0s", "--keep", "1")

    code = trace_program.main([TABLE, row["event_id"]])

    told = capsys.readouterr().out
    assert code == 0
    assert f"offset: {row['_kafka_offset']}\n" in told
    assert f"the snapshot of its commit has expired: `{TABLE}` keeps snapshots from" in told
    assert "snapshot_id" not in told


@pytest.mark.parametrize(
    ("table", "event_id", "day", "text"),
    [
        (TABLE, "0" * 32, None, f"table `{TABLE}` has no event `{'0' * 32}` on any day"),
        (TABLE, "0" * 32, "2026-09-21", f"table `{TABLE}` has no event `{'0' * 32}` on 2026-09-21"),
        (TABLE, "nonsense", None, "`nonsense` is no event id"),
        (TABLE, "0" * 32, "yesterday", "`yesterday` is no day"),
        ("silver_user_sessions", "0" * 32, None, "`silver_user_sessions` is no table with single events"),
        ("bronze_auth_events", "0" * 32, None, "does not exist; run the job that makes it first"),
    ],
    ids=["unknown", "unknown on a day", "no id", "no day", "no table with events", "no such table yet"],
)
def test_what_cannot_be_traced_is_told(
    filled: Pipeline,
    instance: dg.DagsterInstance,
    capsys: pytest.CaptureFixture[str],
    table: str,
    event_id: str,
    day: str | None,
    text: str,
) -> None:
    assert trace_program.main([table, event_id, *(["--day", day] if day else [])]) == 1
    assert text in capsys.readouterr().err

    outcome = trace_job.execute_in_process(instance=instance, run_config=config(table, event_id), raise_on_error=False)

    assert not outcome.success
