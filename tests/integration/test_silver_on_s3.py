"""From Kafka to sessions and table care through Dagster, on a real broker, S3 store and REST catalog, messages over S3."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_project.definitions import defs
from dagster_project.lib.lake import figures_of, load_table
from dagster_project.lib.paths import find_binary
from dagster_project.lib.rows import open_rows
from tools.prove.feed import TOPICS
from tools.prove.tables import end_offsets
from tools.stack import Stack

pytestmark = pytest.mark.integration

SESSIONS = "silver_user_sessions"
SILVER = (*(f"silver_{topic}" for topic in TOPICS), SESSIONS)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Broker, S3 store, REST catalog behind the strict gateway; the broker has three days of events, some delivered twice."""
    home = tmp_path_factory.mktemp("stack")
    with Stack(home) as running:
        program = str(find_binary("streamify-generate", os.environ))
        command = [program, "run", "--users", "120", "--start", "2026-02-23", "--days", "3", "--duplicates", "0.05"]
        environment = {**os.environ, **running.environment(), "STREAMIFY_HOME": str(home / "generator")}
        subprocess.run(command, env=environment, check=True, capture_output=True)
        yield running


@dataclass(frozen=True)
class Lakehouse:
    """Dagster on the stack."""

    instance: dg.DagsterInstance
    stack: Stack
    environment: pytest.MonkeyPatch

    def act_as(self, principal: str) -> None:
        """Lets what comes act with the rights of one principal."""
        for name, value in self.stack.environment(principal).items():
            self.environment.setenv(name, value)

    def materialize(self, *names: str, config: Mapping[str, Any] | None = None, **options: Any) -> dg.ExecuteInProcessResult:
        """Materializes assets with their checks; every one gets the config."""
        loaded = defs()
        checks = [
            check
            for check in loaded.asset_checks or []
            if isinstance(check, dg.AssetChecksDefinition) and {key.asset_key.path[-1] for key in check.check_keys} <= set(names)
        ]
        return dg.materialize(
            [*(loaded.resolve_assets_def(name) for name in names), *checks],
            run_config={"ops": {name: {"config": dict(config or {})} for name in names}},
            instance=self.instance,
            raise_on_error=False,
            **options,
        )

    def metadata(self, name: str) -> Mapping[str, Any]:
        """Metadata of the last materialization of an asset."""
        [record] = self.instance.fetch_materializations(dg.AssetKey(name), limit=1).records
        assert record.asset_materialization is not None
        return {key: value.value for key, value in record.asset_materialization.metadata.items()}

    def rows(self, name: str, *columns: str) -> list[dict[str, Any]]:
        """Columns of all rows."""
        rows: list[dict[str, Any]] = open_rows(os.environ, name, columns).read_all().to_pylist()
        return rows


@pytest.fixture
def lakehouse(stack: Stack, clean_environment: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Lakehouse]:
    """Dagster as the worker on the stack."""
    clean_environment.setenv("STREAMIFY_BIN_DIR", str(find_binary("streamify-batch", os.environ).parent))
    clean_environment.setenv("STREAMIFY_HOME", str(tmp_path))
    with dg.DagsterInstance.ephemeral() as instance:
        made = Lakehouse(instance, stack, clean_environment)
        made.act_as("worker")
        assert os.environ["DAGSTER_PIPES_BUCKET"]
        yield made


def ends(stack: Stack, topic: str) -> int:
    """Records of a topic."""
    return sum(end_offsets(stack.kafka.bootstrap_servers, topic).values())


def checks_that_failed(result: dg.ExecuteInProcessResult) -> Sequence[str]:
    """What did not pass in a run, with its words."""
    return [f"{check.check_name}: {check.description}" for check in result.get_asset_check_evaluations() if not check.passed]


def test_bronze_silver_sessions_checks_and_care_on_s3_and_a_rest_catalog(lakehouse: Lakehouse) -> None:
    result = lakehouse.materialize("bronze_streaming_job", *SILVER)

    assert result.success
    assert checks_that_failed(result) == []
    assert len(result.get_asset_check_evaluations()) == 4 * 3 + 2 + 5
    for topic in TOPICS:
        ids = [row["event_id"] for row in lakehouse.rows(f"silver_{topic}", "event_id")]
        distinct = {row["event_id"] for row in lakehouse.rows(f"bronze_{topic}", "event_id")}
        silver = lakehouse.metadata(f"silver_{topic}")
        assert silver["rows_in"] == ends(lakehouse.stack, topic) > 0
        assert silver["rows_out"] == len(ids) == len(set(ids))
        assert set(ids) == distinct
    assert lakehouse.metadata("silver_listen_events")["duplicates"] > 0
    assert len(lakehouse.rows(SESSIONS, "session_key")) == lakehouse.metadata(SESSIONS)["dagster/row_count"] > 50

    again = lakehouse.materialize(*SILVER, config={"execution": "in_process"})

    assert again.success
    assert lakehouse.metadata("silver_listen_events")["rows_in"] == 0, "the other execution finds nothing new"


def test_care_keeps_the_rows_and_leaves_few_files(lakehouse: Lakehouse) -> None:
    assert lakehouse.materialize("bronze_streaming_job", *SILVER).success
    table = "bronze_listen_events"
    loaded = load_table(os.environ, table)
    for _ in range(3):
        loaded.append(loaded.scan(limit=5).to_arrow())
    assert lakehouse.materialize(SESSIONS, config={"full": True}).success
    before = figures_of(load_table(os.environ, table))
    lakehouse.act_as("maintenance")

    config = {"min_files": 2, "min_manifests": 2, "expire_older_than_hours": 0.0, "expire_keep": 1}
    result = lakehouse.materialize(f"{table}_care", f"{SESSIONS}_care", config=config)

    assert result.success
    found, after = lakehouse.metadata(f"{table}_care"), figures_of(load_table(os.environ, table))
    assert found["dagster/row_count"] == before.rows == after.rows == len(lakehouse.rows(table, "event_id"))
    assert found["files_before"] == before.files > found["files_after"] == after.files
    assert found["manifests_before"] > found["manifests_after"] > 0
    assert found["expire_snapshots_removed"] == 1, "the rows' commit; silver has read on to where the worker gave its lease up"
    assert found["expire_snapshots_kept_for_readers"] > 0, "silver has not read the appended rows"
    sessions = lakehouse.metadata(f"{SESSIONS}_care")
    assert sessions["expire_snapshots_removed"] > 0, "nobody reads on from there"
    assert sessions["snapshots_after"] == 1


def test_days_are_replayed_there_and_reach_silver_though_staging_tables_have_to_stay(lakehouse: Lakehouse) -> None:
    assert lakehouse.materialize("bronze_streaming_job", *SILVER).success
    bronze, silver, day = "bronze_page_view_events", "silver_page_view_events", "2026-02-24"
    before = sorted(row["event_id"] for row in lakehouse.rows(bronze, "event_id"))
    load_table(os.environ, bronze).delete(f"event_date = '{day}'")

    config = {"topics": ["page_view_events"]}
    result = lakehouse.materialize("bronze_replay", config=config, partition_key=day)

    assert result.success
    assert sorted(row["event_id"] for row in lakehouse.rows(bronze, "event_id")) == before
    found = lakehouse.metadata("bronze_replay")
    assert found["missing"] == found["rows_after"] > found["rows_before"] == 0
    assert len(found["staging_tables"]) == 2, "a worker may not drop tables"
    foreign = [
        snapshot.snapshot_id
        for snapshot in load_table(os.environ, bronze).snapshots()
        if snapshot.summary and "streamify.commit-id" not in snapshot.summary.additional_properties
    ]
    rows = len(lakehouse.rows(silver, "event_id"))
    again = lakehouse.materialize(silver, config={"accept_changes": foreign})
    assert checks_that_failed(again) == []
    assert len(lakehouse.rows(silver, "event_id")) == rows, "silver had them already, and has them once"
