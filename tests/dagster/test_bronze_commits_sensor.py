"""The sensor that reports what the always-on worker commits."""

import threading
import time

import dagster as dg
import pytest

from dagster_project.definitions import defs
from dagster_project.defs.sensors import bronze_commits
from dagster_project.defs.sensors.bronze_commits import bronze_commits_sensor, report_within, unfinished_run
from dagster_project.lib import lake as lake_access
from dagster_project.lib.bronze_tables import table_names
from dagster_project.lib.patience import Background

LISTEN = "bronze_listen_events"
AUTH = "bronze_auth_events"


@pytest.fixture
def tick(instance, lake, clean_environment, monkeypatch):
    """`tick(cursor)`: one evaluation; returns its skip reason and its cursor. The deadline is far away."""
    clean_environment.setenv("STREAMIFY_HOME", str(lake.home))
    monkeypatch.setattr(bronze_commits, "SECONDS_PER_TICK", 60)
    monkeypatch.setattr(bronze_commits, "BACKGROUND", Background())

    def evaluate(cursor: str = "") -> tuple[str, str]:
        context = dg.build_sensor_context(instance=instance, cursor=cursor)
        result = bronze_commits_sensor(context)
        return str(result.skip_reason.skip_message), result.cursor

    return evaluate


def _rows(instance, table=LISTEN):
    records = instance.fetch_materializations(dg.AssetKey(table), limit=50).records
    return [record.asset_materialization.metadata["rows"].value for record in records]


def _run_in_progress(instance, asset="bronze_streaming_job", *, names_its_assets=True):
    """A run of an asset that has begun and not ended."""

    @dg.asset(name=asset)
    def made():
        return None

    job = dg.Definitions(assets=[made], jobs=[dg.define_asset_job("some_job", [made])]).resolve_job_def("some_job")
    selection = {"asset_selection": frozenset({dg.AssetKey(asset)})} if names_its_assets else {}
    return instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, **selection)


def test_the_sensor_is_part_of_the_code_location_and_on(clean_environment):
    [sensor] = [sensor for sensor in defs().sensors if sensor.name == "bronze_commits_sensor"]

    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 60


def test_a_tick_reports_the_service_s_commits_and_says_what_it_saw(tick, instance, lake):
    lake.commit(LISTEN, rows=3)
    lake.commit(LISTEN, rows=4)
    lake.commit(AUTH, rows=1)

    assert tick() == ("bronze_auth_events: 1 commits, 1 rows, bronze_listen_events: 2 commits, 7 rows", "")
    assert tick() == (f"nothing new in {len(table_names({}))} tables", "")
    assert (_rows(instance), _rows(instance, AUTH)) == ([7], [1])


@pytest.mark.parametrize("names_its_assets", [True, False], ids=["run of assets", "run of a job"])
def test_a_tick_leaves_commits_to_the_run_that_makes_them(tick, instance, lake, names_its_assets):
    lake.commit(LISTEN, rows=3)
    run = _run_in_progress(instance, names_its_assets=names_its_assets)

    reason, _ = tick()

    assert f"run {run.run_id} is in progress" in reason
    assert _rows(instance) == []
    instance.report_run_canceled(run)
    tick()
    assert _rows(instance) == [3]


def test_commits_that_a_run_leaves_standing_are_reported_all_the_same(tick, instance, lake, monkeypatch):
    lake.commit(LISTEN, rows=3)
    _run_in_progress(instance)
    monkeypatch.setattr(bronze_commits, "SECONDS_A_RUN_MAY_TAKE", -60)

    tick()

    assert _rows(instance) == [3]


def test_other_runs_are_no_reporters(instance):
    _run_in_progress(instance, "silver_listen_events")

    assert unfinished_run(instance) is None


def test_a_tick_out_of_time_leaves_the_other_tables_to_the_next(instance, lake):
    lake.commit(LISTEN, rows=3)
    tables = table_names({})

    seen = report_within(instance, lake.environ, LISTEN, seconds=0)

    assert (seen.num_tables, seen.next_table) == (0, LISTEN)
    seen = report_within(instance, lake.environ, seen.next_table, seconds=60)
    assert (seen.num_tables, seen.next_table) == (len(tables), "")
    assert _rows(instance) == [3]


def test_a_catalog_that_does_not_answer_is_not_waited_for_and_its_answer_is_not_lost(instance, lake, monkeypatch, wait_until):
    lake.commit(AUTH, rows=3)
    answer, load, background = threading.Event(), lake_access.load_table, Background()
    monkeypatch.setattr(bronze_commits, "BACKGROUND", background)
    monkeypatch.setattr(lake_access, "load_table", lambda *about: answer.wait(60) and load(*about))
    begun = time.monotonic()

    seen = report_within(instance, lake.environ, AUTH, seconds=0.2)

    assert time.monotonic() - begun < 2
    assert "`load of table bronze_auth_events` did not end within" in seen.obstacle
    assert (seen.num_tables, seen.next_table) == (0, table_names({})[1])
    answer.set()
    wait_until(lambda: background._calls[f"load of table {AUTH}"].done.is_set(), "the late answer")
    asked = []
    monkeypatch.setattr(lake_access, "load_table", lambda environ, table: asked.append(table) or load(environ, table))
    report_within(instance, lake.environ, AUTH, seconds=60)
    assert AUTH not in asked, "the answer was there already"
    assert _rows(instance, AUTH) == [3]


def test_one_table_that_cannot_be_read_does_not_hide_the_others(instance, lake, monkeypatch):
    lake.commit(AUTH, rows=3)
    lake.commit(LISTEN, rows=4)
    load = lake_access.load_table
    monkeypatch.setattr(lake_access, "load_table", lambda environ, table: 1 / 0 if table == AUTH else load(environ, table))
    monkeypatch.setattr(bronze_commits, "BACKGROUND", Background())

    seen = report_within(instance, lake.environ, "", seconds=60)

    assert "cannot look at `bronze_auth_events`: ZeroDivisionError" in seen.obstacle
    assert _rows(instance) == [4]
