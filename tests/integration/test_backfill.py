"""Days of bronze read again from a real broker through Dagster: what was lost is back, exactly once, and nothing else changes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from confluent_kafka import TopicPartition

from dagster_project.definitions import defs
from dagster_project.home import prepare_home
from dagster_project.lib.paths import find_binary
from tests.conftest import REPOSITORY
from tests.integration.conftest import SECONDS, TABLE, TOPIC, Pipeline, event, send
from tests.integration.test_replay import books, fill, on_day, texts_for_sessions, with_plan
from tools.prove.tables import open_catalog

pytestmark = pytest.mark.integration

BIN = Path(sys.executable).parent
#: `fill` makes five events per partition on each of 2026-09-21..24; these are the middle days.
DAYS = ("2026-09-22", "2026-09-23")


@dataclass(frozen=True)
class Dagster:
    """An instance of its own for the pipeline's warehouse."""

    instance: dg.DagsterInstance

    def backfill(
        self, asset: str, *days: str, config: Mapping[str, Any] | None = None
    ) -> tuple[dg.ExecuteInProcessResult, str | None]:
        """Materializes a range of days in one run; returns the result, and the failure's words if it failed."""
        result = dg.materialize(
            [defs().resolve_assets_def(asset)],
            instance=self.instance,
            run_config={"ops": {asset: {"config": dict(config or {})}}},
            tags={"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[-1]},
            raise_on_error=False,
        )
        failures = [event for event in result.all_events if event.is_step_failure]
        told = failures[0].step_failure_data.user_failure_data if failures else None
        return result, told.description if told else None

    def figures(self, asset: str) -> dict[str, dict[str, Any]]:
        """Metadata of the newest materialization of each day."""
        records = self.instance.fetch_materializations(dg.AssetKey(asset), limit=50, ascending=True).records
        return {
            str(record.partition_key): {name: value.value for name, value in record.asset_materialization.metadata.items()}
            for record in records
            if record.asset_materialization
        }

    def observed(self, asset: str) -> dict[str, dict[str, Any]]:
        """Metadata of the newest observation of each day."""
        records = self.instance.fetch_observations(dg.AssetKey(asset), limit=50, ascending=True).records
        return {
            str(record.partition_key): {name: value.value for name, value in record.asset_observation.metadata.items()}
            for record in records
            if record.asset_observation
        }


@pytest.fixture
def dagster(pipeline: Pipeline, clean_environment: pytest.MonkeyPatch) -> Iterator[Dagster]:
    """Dagster on the pipeline's warehouse and broker; the environment leads there."""
    clean_environment.setenv("STREAMIFY_BIN_DIR", str(find_binary("streamify-stream", os.environ).parent))
    for name, value in pipeline.environment.items():
        clean_environment.setenv(name, value)
    home = prepare_home(pipeline.home)
    clean_environment.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield Dagster(instance)


def counts(figures: Mapping[str, Any]) -> tuple[int, int, int, int, int, int]:
    """Rows before and after, equal, differing, missing, extra."""
    before, after, equal, differing, missing, extra = (
        figures[name] for name in ("rows_before", "rows_after", "equal", "differing", "missing", "extra")
    )
    return before, after, equal, differing, missing, extra


def tables(pipeline: Pipeline) -> list[str]:
    """Names of all tables."""
    return sorted(name for _, name in open_catalog(pipeline.environment).list_tables("streamify"))


def places(pipeline: Pipeline) -> list[tuple[int, int]]:
    """Where the rows came from, each as often as it is there."""
    rows = pipeline.table().scan(selected_fields=("_kafka_partition", "_kafka_offset")).to_arrow().to_pylist()
    return sorted((row["_kafka_partition"], row["_kafka_offset"]) for row in rows)


def test_lost_rows_are_back_exactly_once_after_a_backfill_from_the_command_line(pipeline: Pipeline, dagster: Dagster) -> None:
    fill(pipeline)
    before, tables_before = places(pipeline), tables(pipeline)
    pipeline.table().delete(f"event_date = '{DAYS[0]}'")
    pipeline.table().delete("sessionId == 121")  # of the day after
    assert len(places(pipeline)) == 40 - 10 - 1
    snapshots = len(pipeline.table().metadata.snapshots)
    state = pipeline.table().properties["streamify.state"]

    command = ["dagster", "asset", "materialize", "-m", "dagster_project.definitions", "--select", "bronze_replay"]
    command = [str(BIN / command[0]), *command[1:], "--partition-range", "...".join(DAYS)]
    done = subprocess.run(command, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert places(pipeline) == before
    assert len(pipeline.table().metadata.snapshots) == snapshots + 1, "one commit"
    assert pipeline.table().properties["streamify.state"] == state
    assert len(dagster.instance.get_runs()) == 1, "a range is one run"
    figures = dagster.figures("bronze_replay")
    assert {day: counts(found) for day, found in figures.items()} == {DAYS[0]: (0, 10, 0, 0, 10, 0), DAYS[1]: (9, 10, 9, 0, 1, 0)}
    assert [(row.data["table"], row.data["missing"]) for row in figures[DAYS[1]]["tables"].records] == [(TABLE, 1)]
    snapshot = pipeline.table().current_snapshot()
    assert snapshot is not None
    assert figures[DAYS[0]]["snapshot_ids"] == {TABLE: str(snapshot.snapshot_id)}
    assert tables(pipeline) == tables_before, "the staging tables are gone"
    assert not list(pipeline.home.rglob("replay_*/**/*.parquet")), "and their files"

    result, failure = dagster.backfill("bronze_replay", *DAYS)

    assert result.success, failure
    assert dagster.figures("bronze_replay")[DAYS[0]]["snapshot_ids"] == {}
    assert len(pipeline.table().metadata.snapshots) == snapshots + 1, "where nothing differs, nothing is written"
    send(pipeline.producer(), [on_day(900, 1)])
    assert pipeline.run()[0] == 0, "the stream goes on"
    assert len(places(pipeline)) == len(set(places(pipeline))) == 41


def test_a_dry_run_compares_and_changes_nothing(pipeline: Pipeline, dagster: Dagster, tmp_path: Path) -> None:
    fill(pipeline)
    pipeline.table().delete("sessionId == 11")
    location, tables_before = pipeline.table().metadata_location, tables(pipeline)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREAMIFY_CONTRACTS", with_plan(tmp_path / "contracts"))
        result, failure = dagster.backfill("bronze_replay", *DAYS, config={"dry_run": True})
        kept, told = dagster.backfill("bronze_replay", DAYS[1], config={"dry_run": True, "keep_staging": True})

    assert result.success, failure
    assert kept.success, told
    assert {day: counts(found) for day, found in dagster.observed("bronze_replay").items()} == {
        DAYS[0]: (9, 10, 0, 9, 1, 0),
        DAYS[1]: (10, 10, 0, 10, 0, 0),
    }
    assert dagster.figures("bronze_replay") == {}, "a dry run makes no day count as materialized"
    assert pipeline.table().metadata_location == location
    assert dagster.observed("bronze_replay")[DAYS[0]]["staging_tables"] == []
    staging = dagster.observed("bronze_replay")[DAYS[1]]["staging_tables"]
    assert len(staging) == 2
    assert tables(pipeline) == sorted([*tables_before, *staging])


def test_a_swap_that_would_lose_rows_fails_until_their_loss_is_accepted(pipeline: Pipeline, dagster: Dagster) -> None:
    fill(pipeline)
    table = pipeline.table()
    table.append(table.scan(row_filter="sessionId == 12").to_arrow())  # the same place twice
    location = pipeline.table().metadata_location

    result, failure = dagster.backfill("bronze_replay", DAYS[0])

    assert not result.success
    assert failure is not None
    assert "would lose 1 rows" in failure
    assert "accept_loss" in failure
    assert dagster.figures("bronze_replay") == {}, "a day that was not replayed does not count as materialized"
    assert pipeline.table().metadata_location == location
    kept = [name for name in tables(pipeline) if name.startswith("replay_")]
    assert len(kept) == 2, "the staging tables can be looked at"

    result, failure = dagster.backfill("bronze_replay", DAYS[0], config={"accept_loss": True})

    assert result.success, failure
    assert len(places(pipeline)) == len(set(places(pipeline))) == 40
    assert counts(dagster.figures("bronze_replay")[DAYS[0]]) == (11, 10, 10, 0, 0, 1)


def test_a_replay_that_fails_half_way_counts_no_day_as_materialized(pipeline: Pipeline, dagster: Dagster, tmp_path: Path) -> None:
    fill(pipeline)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "streamify-stream").symlink_to(find_binary("streamify-stream", os.environ))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREAMIFY_BIN_DIR", str(programs))  # reads again, and then cannot compare
        result, failure = dagster.backfill("bronze_replay", DAYS[0])

    assert not result.success
    assert failure is not None
    assert "streamify-batch not found" in failure
    assert dagster.figures("bronze_replay") == {}


def test_days_that_kafka_no_longer_holds_are_not_replayed_and_say_so(pipeline: Pipeline, dagster: Dagster) -> None:
    fill(pipeline)
    location, tables_before = pipeline.table().metadata_location, tables(pipeline)
    ends = [TopicPartition(TOPIC, partition, end) for partition, end in pipeline.ends().items()]
    for dropped in pipeline.admin.delete_records(ends).values():
        dropped.result(SECONDS)

    result, failure = dagster.backfill("bronze_replay", *DAYS)

    assert not result.success
    assert failure is not None
    assert failure.startswith("Kafka holds no record that could have events of 2026-09-22..2026-09-23")
    assert dagster.figures("bronze_replay") == {}
    assert pipeline.table().metadata_location == location
    assert tables(pipeline) == tables_before


def test_dead_letters_of_a_range_of_days_become_rows_at_their_offsets(
    pipeline: Pipeline, dagster: Dagster, tmp_path: Path
) -> None:
    pipeline.create_topic()
    day_ms = 24 * 3600 * 1000
    first = 1_790_000_000_000 - 1_790_000_000_000 % day_ms
    producer = pipeline.producer()
    send(producer, [event(100)])
    for number in range(6):  # one broken event per day, by the time at which Kafka got it
        time = first + number * day_ms
        line = json.dumps(event(number, ts=time, sessionId=str(number))).encode()
        producer.produce(TOPIC, line, partition=0, timestamp=time)
    producer.flush()
    assert pipeline.run()[0] == 0
    assert books(pipeline) == (1, 6, 0, 0, 7)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREAMIFY_CONTRACTS", texts_for_sessions(tmp_path / "contracts"))
        dry, told = dagster.backfill("dead_letter_replay", *DAYS, config={"dry_run": True})
        assert dry.success, told
        assert books(pipeline) == (1, 6, 0, 0, 7), "a dry run changed something"
        result, failure = dagster.backfill("dead_letter_replay", *DAYS)

    assert result.success, failure
    assert dagster.observed("dead_letter_replay")[DAYS[0]]["letters"] == 2
    figures = dagster.figures("dead_letter_replay")
    assert set(figures) == set(DAYS)
    assert (figures[DAYS[0]]["letters"], figures[DAYS[0]]["inserted"], figures[DAYS[0]]["marked"]) == (2, 2, 2)
    assert books(pipeline) == (3, 4, 0, 0, 7)
    assert places(pipeline) == [(0, 0), (0, 2), (0, 3)]


def test_a_topic_without_a_contract_is_refused(pipeline: Pipeline, dagster: Dagster) -> None:
    result, failure = dagster.backfill("bronze_replay", DAYS[0], config={"topics": ["refunds"]})

    assert not result.success
    assert failure is not None
    assert failure.startswith("no contract for `refunds`; topics: auth_events")
