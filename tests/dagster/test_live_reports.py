"""What a run shows while it goes on: commits, progress, and a silence that lasts too long."""

import os
import signal
import threading
import time

import dagster as dg
import pytest

from dagster_project.resources import live_reports
from dagster_project.resources.live_reports import LiveReports, ReportTiming, progress_observations, reporting
from dagster_project.resources.pipes.session import Progress, SessionJournal

TABLE = "bronze_listen_events"
OPENED = ("opened", None)
CLOSED = ("closed", None)
PAYLOAD = {
    "streamify": "progress",
    "version": 1,
    "rows": 30,
    "lag_records": 12,
    "lag_seconds": 0.9,
    "freshness_seconds": None,
    "tables": [
        {"table": TABLE, "topic": "listen_events", "rows": 20, "lag_records": 2, "snapshot_id": 81},
        {"table": "bronze_of_nobody", "topic": "x", "rows": 10, "lag_records": 10, "snapshot_id": 82},
    ],
}


class Log:
    """A run's log that remembers."""

    def __init__(self):
        self.lines = []

    def info(self, msg, /, *args):
        """Remembers an information."""
        self.lines.append(("INFO", msg % args))

    def warning(self, msg, /, *args):
        """Remembers a warning."""
        self.lines.append(("WARNING", msg % args))


@pytest.fixture
def reports(instance, lake) -> LiveReports:
    timing = ReportTiming(interval=0.02, silence=60, answer=30, end=30)
    return LiveReports(instance, Log(), SessionJournal(), lake.environ, [TABLE], timing)


def _commits(instance):
    return [record.asset_materialization for record in instance.fetch_materializations(dg.AssetKey(TABLE), limit=50).records]


def _observations(instance):
    return [record.asset_observation for record in instance.fetch_observations(dg.AssetKey(TABLE), limit=50).records]


def test_commits_are_reported_at_the_start_meanwhile_and_at_the_end(reports, instance, lake, wait_until):
    lake.commit(TABLE, rows=1)
    with reporting(reports):
        wait_until(lambda: len(_commits(instance)) == 1, "what an earlier run left unreported")
        lake.commit(TABLE, rows=2)
        wait_until(lambda: len(_commits(instance)) == 2, "a commit of this run, while it goes on")
        reports.timing = ReportTiming(interval=3_600)
        lake.commit(TABLE, rows=4)

    assert sum(event.metadata["rows"].value for event in _commits(instance)) == 7
    assert reports.log.lines == []


def test_a_catalog_that_is_away_costs_one_warning_and_no_event(reports, instance, lake, monkeypatch):
    def refuse(*_args, **_options):
        raise ConnectionError("connection refused")

    lake.commit(TABLE, rows=1)
    with monkeypatch.context() as outage:
        outage.setattr(live_reports, "report_new_commits", refuse)
        for _ in range(3):
            reports.report_commits()
    reports.report_commits()

    assert reports.log.lines == [
        ("WARNING", "cannot report commits now, trying on: ConnectionError: connection refused"),
        ("INFO", "commits are reported again"),
    ]
    assert len(_commits(instance)) == 1


def test_a_catalog_that_does_not_answer_holds_up_the_end_of_a_run_for_a_bounded_time(reports, monkeypatch):
    answer = threading.Event()
    monkeypatch.setattr(live_reports, "report_new_commits", lambda *_args, **_options: answer.wait(60))
    reports.timing = ReportTiming(end=0.05)

    with reporting(reports):
        pass
    answer.set()

    [(level, text)] = reports.log.lines
    assert level == "WARNING"
    assert "not reported yet" in text


def test_progress_becomes_observations_of_our_tables_once(reports, instance):
    reports.observe_progress()
    assert _observations(instance) == []
    reports.journal.progress = Progress(PAYLOAD, time.monotonic())

    reports.observe_progress()
    reports.observe_progress()

    [observation] = _observations(instance)
    assert {name: value.value for name, value in observation.metadata.items()} == {
        "rows": 20,
        "lag_records": 2,
        "lag_seconds": 0.9,
    }


@pytest.mark.parametrize("payload", [{}, {"tables": None}, {"tables": [{"table": "other"}]}], ids=str)
def test_progress_that_tells_nothing_of_our_tables_makes_no_observation(payload):
    assert progress_observations(payload, [TABLE]) == []


def test_progress_of_an_unknown_shape_costs_a_warning(reports):
    reports.journal.progress = Progress({"tables": [7]}, time.monotonic())

    reports.observe_progress()

    [(level, text)] = reports.log.lines
    assert level == "WARNING"
    assert "cannot record" in text


def test_silence_is_told_once_with_its_beginning_and_so_is_its_end(reports):
    reports.look_for_silence()
    reports.journal.progress = Progress(PAYLOAD, time.monotonic() - 90)
    reports.look_for_silence()
    reports.look_for_silence()
    reports.journal.progress = Progress(PAYLOAD, time.monotonic())
    reports.look_for_silence()
    reports.look_for_silence()

    (level, silent), again = reports.log.lines
    assert level == "WARNING"
    assert silent.startswith("no sign of life from the worker since 20")
    assert "(90 s)" in silent
    assert again == ("INFO", "the worker tells its progress again")


def test_a_run_reports_commits_and_progress_of_its_worker_while_it_runs(bronze, report, instance, lake, tmp_path, wait_until):
    running, ready = tmp_path / "running", tmp_path / "ready"
    seen = []

    def meanwhile():
        wait_until(running.exists, "the worker to run")
        lake.commit(TABLE, rows=3, run_id="run-a")
        wait_until(lambda: _commits(instance), "the commit, while the worker runs")
        wait_until(lambda: _observations(instance), "the progress, while the worker runs")
        seen.append(instance.get_runs()[0].status)
        lake.commit(TABLE, rows=4)
        ready.touch()

    lake.commit(TABLE, rows=2)
    thread = threading.Thread(target=meanwhile)
    thread.start()
    run = bronze(OPENED, ("custom", PAYLOAD), ("touch", str(running)), ("until_file", str(ready)), report, CLOSED)
    thread.join()

    assert run.result.success
    assert seen == [dg.DagsterRunStatus.STARTED]
    assert sum(event.metadata["rows"].value for event in _commits(instance)) == 9
    assert all(event.run_id == "" for event in run.events_of(TABLE)), "these events belong to no run"


@pytest.mark.parametrize("ending", [("suicide", "SIGKILL"), ("closed", None)], ids=["killed", "failed"])
def test_what_a_worker_committed_is_reported_also_when_its_run_fails(bronze, instance, lake, tmp_path, wait_until, ending):
    running, ready = tmp_path / "running", tmp_path / "ready"

    def meanwhile():
        wait_until(running.exists, "the worker to run")
        lake.commit(TABLE, rows=3)
        ready.touch()

    thread = threading.Thread(target=meanwhile)
    thread.start()
    run = bronze(OPENED, ("touch", str(running)), ("until_file", str(ready)), ending, exits_with=1)
    thread.join()

    assert not run.result.success
    assert [event.metadata["rows"].value for event in _commits(instance)] == [3]


def test_what_a_worker_committed_is_reported_also_when_its_run_is_cancelled(bronze, instance, lake, tmp_path, wait_until):
    running = tmp_path / "running"

    def meanwhile():
        wait_until(running.exists, "the worker to run")
        wait_until(lambda: _commits(instance), "the report at the start")
        lake.commit(TABLE, rows=3)
        os.kill(os.getpid(), signal.SIGINT)

    lake.commit(TABLE, rows=2)
    thread = threading.Thread(target=meanwhile)
    thread.start()
    steps = (OPENED, ("catch", None), ("touch", str(running)), ("until_stopped", None), CLOSED)
    run = bronze(*steps, report_seconds=3_600)
    thread.join()

    assert not run.result.success
    assert sorted(event.metadata["rows"].value for event in _commits(instance)) == [2, 3]
