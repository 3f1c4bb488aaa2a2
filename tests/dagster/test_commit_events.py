"""Commits of real tables as materializations: each once, whoever reports, and whatever happened in between."""

import threading

import dagster as dg
import pytest

from dagster_project.lib.commit_events import cursor_of, report_new_commits
from dagster_project.lib.lake import load_table

TABLE = "bronze_listen_events"


@pytest.fixture
def report(instance, lake):
    """`report()`: reports; returns the plain metadata of the event, or None."""

    def run(**options):
        event = report_new_commits(instance, lake.environ, TABLE, **options)
        return None if event is None else {name: value.value for name, value in event.metadata.items()}

    return run


def _events(instance):
    return [record.asset_materialization for record in instance.fetch_materializations(dg.AssetKey(TABLE), limit=100).records]


def test_one_event_tells_all_commits_since_the_last(instance, lake, report):
    lake.commit(TABLE, rows=3, dead=1)
    head = lake.commit(TABLE, rows=5, run_id="run-a")

    told = report()

    [event] = _events(instance)
    numbers = {"rows": 8, "dead_letters": 1, "received": 9, "skipped_by_broker": 0, "unaccounted": 0, "commits": 2, "files": 2}
    assert {name: told[name] for name in numbers} == numbers
    assert told["dagster/row_count"] == 8
    assert told["snapshot_id"] == str(head)
    assert "from_snapshot_id" not in told
    assert told["dagster_run"] == "run-a"
    assert told["size_bytes"] > 0
    assert 2.5 <= told["freshness_seconds"] < 60
    offsets = event.metadata["offsets"].records
    assert [one.data for one in offsets] == [{"topic": "listen_events", "partition": 0, "epoch": 0, "from": 0, "to": 9}]


def test_nothing_is_told_twice_and_the_next_event_goes_on_where_the_last_ended(instance, lake, report):
    first = lake.commit(TABLE, rows=3)
    report()
    assert report() is None
    lake.commit(TABLE, rows=2, partition=1)

    told = report()

    assert (told["rows"], told["from_snapshot_id"], told["dagster/row_count"]) == (2, str(first), 5)
    assert len(_events(instance)) == 2


def test_leases_make_no_event_and_the_next_event_passes_them(instance, lake, report):
    lake.commit(TABLE, rows=1)
    report()
    lake.lease(TABLE)
    assert report() is None
    lake.commit(TABLE, rows=1)
    last = lake.lease(TABLE)

    told = report()

    assert (told["commits"], told["rows"], told["snapshot_id"]) == (1, 1, str(last))
    assert cursor_of(instance, TABLE).snapshot_id == last


def test_an_expired_cursor_is_told_and_nothing_that_is_kept_is_left_out(lake, report):
    expired = lake.commit(TABLE, rows=1)
    report()
    lost = lake.commit(TABLE, rows=10)
    lake.commit(TABLE, rows=100)
    lake.expire(TABLE, expired)
    lake.expire(TABLE, lost)

    told = report()

    assert (told["cursor_expired"], told["from_snapshot_id"], told["rows"]) == (True, str(expired), 100)
    assert report() is None


def test_a_kept_snapshot_from_before_an_expired_cursor_is_not_told_again(lake, report):
    lake.commit(TABLE, rows=1)
    reported = lake.commit(TABLE, rows=10)
    report()
    lake.commit(TABLE, rows=100)
    lake.expire(TABLE, reported)

    assert report()["rows"] == 100


def test_a_table_made_anew_is_told_from_its_start(lake, report):
    for _ in range(3):
        lake.commit(TABLE, rows=1)
    report()
    lake.drop(TABLE)
    lake.commit(TABLE, rows=7)

    told = report()

    assert (told["rows"], "cursor_expired" in told, "from_snapshot_id" in told) == (7, False, False)


def test_an_event_reported_by_hand_is_no_cursor(instance, lake, report):
    lake.commit(TABLE, rows=1)
    report()
    instance.report_runless_asset_event(dg.AssetMaterialization(TABLE, metadata={"note": "looked at it"}))
    lake.commit(TABLE, rows=2)

    assert report()["rows"] == 2


def test_no_table_and_a_table_without_snapshots_have_nothing_to_tell(lake, report):
    assert report() is None
    assert not (lake.home / "catalog.db").exists(), "looking must not make a catalog"

    lake.table(TABLE)

    assert report() is None


def test_metadata_older_than_the_cursor_are_not_told_again(instance, lake, report):
    lake.commit(TABLE, rows=1)
    old = load_table(lake.environ, TABLE)
    lake.commit(TABLE, rows=2)
    report()

    assert report(load=lambda _environ, _table: old) is None
    assert len(_events(instance)) == 1


def test_what_somebody_else_is_expected_to_report_is_left_to_him_for_a_while(lake, report):
    lake.commit(TABLE, rows=1)
    committed_at = load_table(lake.environ, TABLE).current_snapshot().timestamp_ms

    assert report(settled_before_ms=committed_at) is None
    assert report(settled_before_ms=committed_at + 1)["rows"] == 1


def test_reporters_at_the_same_time_tell_each_commit_once(tmp_path, lake):
    folder = tmp_path / "dagster"  # an instance on disk, as runs and the daemon share it
    folder.mkdir()
    with dg.DagsterInstance.local_temp(str(folder)):
        pass
    for _ in range(5):
        lake.commit(TABLE, rows=1)
    loaded = load_table(lake.environ, TABLE)
    together = threading.Barrier(4)

    def reporter():
        with dg.DagsterInstance.local_temp(str(folder)) as own:
            together.wait(30)
            report_new_commits(own, lake.environ, TABLE, load=lambda _environ, _table: loaded)

    threads = [threading.Thread(target=reporter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    with dg.DagsterInstance.local_temp(str(folder)) as own:
        [event] = _events(own)
    assert event.metadata["rows"].value == 5
