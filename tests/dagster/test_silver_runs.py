"""From Kafka to sessions through Dagster, with the real programs: both executions, rebuilds, checks, care, and stopping."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pyiceberg.table import Table

from dagster_project.definitions import defs
from dagster_project.home import prepare_home
from dagster_project.lib.lake import figures_of, load_table
from dagster_project.lib.paths import find_binary
from dagster_project.lib.rows import open_rows

REPOSITORY = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
TOPICS = ("auth_events", "listen_events", "page_view_events", "status_change_events")
SESSIONS = "silver_user_sessions"
SILVER = (*(f"silver_{topic}" for topic in TOPICS), SESSIONS)
#: What a repeated computation may say otherwise.
PROCESSING_TIMES = {"_processed_at"}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The embedded broker with a week of events, some of them delivered twice; its address."""
    home = tmp_path_factory.mktemp("broker")
    environment = {**os.environ, "STREAMIFY_HOME": str(home)}
    program = str(find_binary("streamify-generate", os.environ))

    def call(*arguments: str) -> dict[str, Any]:
        output = subprocess.run([program, *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(output.stdout) if "--json" in arguments else {}

    address = call("broker", "start", "--json")["bootstrap_servers"]
    try:
        call("run", "--users", "300", "--duplicates", "0.05", "--follow-timeout", "30s", "--json")
        yield address
    finally:
        call("broker", "stop")


@dataclass(frozen=True)
class House:
    """A warehouse whose bronze holds all that the broker has, and a Dagster instance."""

    home: Path
    instance: dg.DagsterInstance

    def job(self, name: str, config: Mapping[str, Any] | None = None) -> dg.ExecuteInProcessResult:
        """Runs a job of the code location; every asset gets the config."""
        job = defs().resolve_job_def(name)
        keys = [key.to_user_string() for key in job.asset_layer.executable_asset_keys]
        run_config = {"ops": {key: {"config": dict(config or {})} for key in keys}}
        return job.execute_in_process(run_config=run_config, instance=self.instance, raise_on_error=False)

    def asset(self, name: str, config: Mapping[str, Any] | None = None, **options: Any) -> dg.ExecuteInProcessResult:
        """Materializes one asset, without its checks."""
        return dg.materialize(
            [defs().resolve_assets_def(name)],
            run_config={"ops": {name: {"config": dict(config or {})}}},
            instance=self.instance,
            raise_on_error=False,
            **options,
        )

    def metadata(self, name: str) -> Mapping[str, dg.MetadataValue]:
        """Metadata of the last materialization of an asset."""
        [record] = self.instance.fetch_materializations(dg.AssetKey(name), limit=1).records
        return record.asset_materialization.metadata

    def table(self, name: str) -> Table:
        """A table as it stands."""
        return load_table(os.environ, name)

    def rows(self, name: str) -> Sequence[Mapping[str, object]]:
        """All rows but for processing times, in an order that does not depend on the files."""
        columns = [field.name for field in self.table(name).schema().fields if field.name not in PROCESSING_TIMES]
        rows = open_rows(os.environ, name, columns).read_all().to_pylist()
        return sorted(rows, key=lambda row: row.get("event_id") or row["session_key"])


@pytest.fixture
def house(clean_environment, broker, tmp_path) -> Iterator[Callable[[str], House]]:
    """`house(name)`: a new warehouse; the environment leads to it."""
    opened = []
    folder = find_binary("streamify-batch", os.environ).parent
    clean_environment.setenv("STREAMIFY_BIN_DIR", str(folder))
    clean_environment.setenv("KAFKA_BOOTSTRAP_SERVERS", broker)

    def make(name: str) -> House:
        home = tmp_path / name
        clean_environment.setenv("STREAMIFY_HOME", str(home))
        clean_environment.setenv("DAGSTER_HOME", str(prepare_home(home)))
        subprocess.run([str(folder / "streamify-stream"), "--until", "caught-up"], check=True, capture_output=True)
        instance = dg.DagsterInstance.from_config(str(home / "dagster"))
        opened.append(instance)
        return House(home, instance)

    yield make
    for instance in opened:
        instance.dispose()


def days_of(house: House) -> Sequence[str]:
    """Days of which silver has listens, in order."""
    return sorted({row["event_date"].isoformat() for row in house.rows("silver_listen_events")})


def checks_that_failed(result: dg.ExecuteInProcessResult) -> Sequence[str]:
    """What did not pass in a run, with its words."""
    return [f"{check.check_name}: {check.description}" for check in result.get_asset_check_evaluations() if not check.passed]


def test_both_executions_make_equal_tables_and_the_checks_pass(house):
    tables = {}
    for execution in ("binary", "in_process"):
        made = house(execution)
        result = made.job("silver_batch_job", {"execution": execution})

        assert result.success, execution
        assert checks_that_failed(result) == []
        assert len(result.get_asset_check_evaluations()) == 4 * 3 + 2 + 5
        for name in SILVER:
            metadata = made.metadata(name)
            assert metadata["dagster/row_count"].value == figures_of(made.table(name)).rows
            assert metadata["snapshot_id"].value == str(made.table(name).current_snapshot().snapshot_id)
            assert metadata["days_touched"].value == len(metadata["days"].value) > 0
            assert metadata["seconds"].value > 0
        listens = made.metadata("silver_listen_events")
        assert listens["rows_in"].value == listens["rows_out"].value + listens["duplicates"].value
        assert listens["duplicates"].value > 0
        tables[execution] = {name: made.rows(name) for name in SILVER}

    assert tables["binary"] == tables["in_process"]
    assert len(tables["binary"][SESSIONS]) > 100


def test_a_second_run_finds_nothing_new_and_changes_nothing(house):
    made = house("home")
    made.job("silver_batch_job", {"execution": "in_process"})
    before = {name: made.table(name).current_snapshot().snapshot_id for name in SILVER}

    result = made.job("silver_batch_job", {"execution": "in_process"})

    assert result.success
    assert made.metadata("silver_listen_events")["rows_in"].value == 0
    assert {name: made.table(name).current_snapshot().snapshot_id for name in SILVER} == before


def test_the_columns_that_dagster_shows_are_those_of_the_tables(house):
    made = house("home")
    made.job("silver_batch_job", {"execution": "in_process"})
    specs = {spec.key.to_user_string(): spec for spec in defs().resolve_all_asset_specs()}

    for name in SILVER:
        shown = [
            (column.name, column.type, column.constraints.nullable, column.description)
            for column in specs[name].metadata["dagster/column_schema"].columns
        ]
        fields = made.table(name).schema().fields
        assert [(f.name, str(f.field_type), not f.required) for f in fields] == [column[:3] for column in shown], name
        for field, (*_, description) in zip(fields, shown, strict=True):
            assert (field.doc or "").split(" (unit: ")[0].rstrip(".") in description, (name, field.name)


def test_days_are_rebuilt_as_they_were_and_the_sessions_notice(house):
    made = house("home")
    made.job("silver_batch_job", {"execution": "in_process"})
    days = days_of(made)[1:3]
    before = {name: made.rows(name) for name in SILVER}
    table = made.table("silver_listen_events")
    state = table.properties["streamify.state"]
    table.delete(f"event_date = '{days[0]}'")  # by PyIceberg: somebody spoiled a day

    environment = dict(os.environ)
    command = ["dg", "launch", "--assets", "silver_rebuild", "--partition-range", f"{days[0]}...{days[1]}"]
    done = subprocess.run([str(BIN / command[0]), *command[1:]], cwd=REPOSITORY, env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    runs = [run for run in made.instance.get_runs() if run.tags.get("dagster/asset_partition_range_start")]
    assert len(runs) == 1, "a range is one run"
    partitions = made.instance.get_materialized_partitions(dg.AssetKey("silver_rebuild"))
    assert set(days) <= partitions
    assert made.metadata("silver_rebuild")["rebuilt_days"].value == "..".join(days)
    assert made.table("silver_listen_events").properties["streamify.state"] == state, "the consumed state stays"
    assert {name: made.rows(name) for name in SILVER[:-1]} == {name: before[name] for name in SILVER[:-1]}

    # The deletion above was another engine's; the sessions ask for a person's word before they go on.
    foreign = [
        s.snapshot_id
        for s in table.metadata.snapshots
        if s.summary and "streamify.commit-id" not in s.summary.additional_properties
    ]
    result = made.asset(SESSIONS, {"execution": "in_process", "accept_changes": foreign})
    assert result.success
    assert set(days) <= set(made.metadata(SESSIONS)["days"].value)
    assert made.rows(SESSIONS) == before[SESSIONS]


def test_an_incremental_run_marks_its_days_in_the_rebuild_s_partitions(house):
    made = house("home")

    made.asset("silver_listen_events", {"execution": "in_process"})

    assert made.instance.get_materialized_partitions(dg.AssetKey("silver_rebuild")) == set(days_of(made))


def test_a_blocking_check_keeps_what_comes_after_from_being_made(house):
    made = house("home")
    made.asset("silver_page_view_events", {"execution": "in_process"})
    table = made.table("silver_page_view_events")
    table.append(table.scan(limit=1).to_arrow())

    loaded = defs()
    checks = [check for check in loaded.asset_checks if any("page_view" in key.asset_key.path[-1] for key in check.check_keys)]
    result = dg.materialize(
        [loaded.resolve_assets_def(name) for name in ("silver_page_view_events", "silver_auth_events")] + checks,
        run_config={"ops": {"checks_of_silver_page_view_events": {"config": {"all_days": True}}}},
        instance=made.instance,
        raise_on_error=False,
    )

    assert not result.success
    assert [name.split(":")[0] for name in checks_that_failed(result)] == ["event_ids_are_unique"]
    assert not result.asset_materializations_for_node("silver_auth_events")


def test_care_makes_few_files_and_shows_before_and_after(house):
    made = house("home")
    bronze = "bronze_page_view_events"
    for _ in range(2):
        table = made.table(bronze)
        rows = table.scan(limit=5).to_arrow()
        for _ in range(3):
            table.append(rows)
    before = figures_of(made.table(bronze))

    for execution in ("in_process", "binary"):
        config = {"execution": execution, "min_files": 2, "min_manifests": 2, "expire_older_than_hours": 0.0, "expire_keep": 1}
        result = made.asset(f"{bronze}_care", config)
        assert result.success, execution
        metadata = {name: value.value for name, value in made.metadata(f"{bronze}_care").items()}
        after = figures_of(made.table(bronze))
        assert metadata["files_after"] == after.files
        assert metadata["snapshots_after"] == after.snapshots
        assert metadata["manifests_after"] == len(made.table(bronze).inspect.manifests())
        assert metadata["dagster/row_count"] == before.rows
        assert metadata["orphans_deleted"] == 0
        if execution == "in_process":
            assert (metadata["files_before"], metadata["snapshots_before"]) == (before.files, before.snapshots)
            assert metadata["compact_files_rewritten"] > metadata["compact_files_added"] > 0
            assert metadata["files_after"] < before.files
            assert metadata["manifests_before"] > metadata["manifests_after"] > 0
            assert metadata["expire_snapshots_removed"] > 0
            assert metadata["expire_files_deleted"] > 0


def test_care_of_a_table_that_is_not_there_says_so(house):
    made = house("home")

    assert made.asset("silver_user_sessions_care").success
    assert made.metadata("silver_user_sessions_care")["table_exists"].value is False


def test_a_failure_inside_the_process_keeps_its_hint(house, tmp_path, monkeypatch):
    made = house("home")
    monkeypatch.setenv("STREAMIFY_HOME", str(tmp_path / "empty"))

    result = made.asset("silver_listen_events", {"execution": "in_process"})

    [failure] = [event for event in result.all_events if event.is_step_failure]
    data = failure.step_failure_data.user_failure_data
    assert "`bronze_listen_events` does not exist" in data.description
    assert "streamify-stream" in data.metadata["hint"].value


def test_a_run_that_is_stopped_inside_the_process_is_canceled_within_seconds_and_commits_nothing(house, wait_until):
    made = house("home")
    made.job("silver_batch_job", {"execution": "in_process"})
    before, rows = figures_of(made.table(SESSIONS)), made.rows(SESSIONS)
    data = made.home / "warehouse" / "streamify" / SESSIONS / "data"
    files = len(list(data.rglob("*.parquet")))
    config = {"ops": {SESSIONS: {"config": {"execution": "in_process", "full": True}}}}
    command = [str(BIN / "dg"), "launch", "--assets", f"key:{SESSIONS}", "--config-json", json.dumps(config)]
    catalog = sqlite3.connect(made.home / "catalog.db", isolation_level=None)
    catalog.execute("BEGIN IMMEDIATE")  # the run can write its files, and then waits to commit them

    with subprocess.Popen(command, cwd=REPOSITORY, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        wait_until(lambda: len(list(data.rglob("*.parquet"))) > files, "the run to write its files", 120)
        made.instance.report_run_canceling(made.instance.get_runs(limit=1)[0])  # as the UI does, before the signal
        process.send_signal(signal.SIGINT)
        stopped = time.monotonic()
        wait_until(lambda: made.instance.get_runs(limit=1)[0].is_finished, "the run to end", 30)
        seconds = time.monotonic() - stopped
        output = process.communicate(timeout=60)[0].decode()
    catalog.execute("ROLLBACK")
    catalog.close()

    assert made.instance.get_runs(limit=1)[0].status is dg.DagsterRunStatus.CANCELED, output
    assert seconds < 15  # the call itself ends within 2 s; the rest is Dagster's own processes
    assert figures_of(made.table(SESSIONS)) == before
    assert made.rows(SESSIONS) == rows
    assert made.asset(SESSIONS, {"execution": "in_process", "full": True}).success, "no lock is left"
    assert made.rows(SESSIONS) == rows
