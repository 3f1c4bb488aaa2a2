"""Compaction in process and by the binary: the same rows in fewer files."""

import json
import os
import subprocess
from datetime import date

import pytest

from dagster_project import _native
from dagster_project.lib.paths import find_binary


def files_by_day(table):
    """Number of live data files per partition."""
    days = table.inspect.files().to_pylist()
    return sorted(str(file["partition"]) for file in days)


def test_the_rows_stay_and_each_day_has_one_file(lake, small_files):
    small_files("t")
    before = lake.rows("t")

    report = _native.compact("t")

    table = lake.table("t")
    assert lake.rows("t") == before
    assert len(files_by_day(table)) == 2
    assert (report["files_before"], report["files_after"], report["partitions"]) == (10, 2, 2)
    assert report["rows"] == len(before)
    assert report["snapshot_id"] == table.current_snapshot().snapshot_id
    assert table.current_snapshot().summary.operation.value == "replace"


def test_the_binary_reports_what_the_function_reports(lake, small_files, tmp_path):
    small_files("a")
    small_files("b")
    summary = tmp_path / "summary.json"
    command = [find_binary("streamify-batch", os.environ), "compact", "--tables", "a", "--summary-json", summary]
    subprocess.run(command, check=True, capture_output=True)

    by_function = _native.compact("b")

    told = json.loads(summary.read_text(encoding="utf-8"))
    [by_binary] = told["tables"]
    differing = {"table", "snapshot_id", "seconds", "bytes_rewritten", "bytes_added"}
    assert {name: by_binary[name] for name in by_binary.keys() - differing} == {
        name: by_function[name] for name in by_function.keys() - differing
    }
    assert (told["exit_reason"], told["job"], told["dry_run"]) == ("done", "compact", False)
    assert lake.rows("a") == lake.rows("b")


def test_without_names_the_binary_takes_every_table(lake, small_files, tmp_path):
    small_files("a", days=1)
    small_files("b", days=1)
    summary = tmp_path / "summary.json"

    subprocess.run(
        [find_binary("streamify-batch", os.environ), "compact", "--summary-json", summary], check=True, capture_output=True
    )

    assert [table["table"] for table in json.loads(summary.read_text(encoding="utf-8"))["tables"]] == ["a", "b"]
    assert len(files_by_day(lake.table("a"))) == len(files_by_day(lake.table("b"))) == 1


@pytest.mark.parametrize("days", ["2026-02-24", "2026-02-24..2026-02-25", [date(2026, 2, 24)], ["2026-02-24"]])
def test_other_days_are_left_alone(lake, small_files, days):
    small_files("t")

    report = _native.compact("t", days=days)

    assert report["partitions"] == 1
    assert files_by_day(lake.table("t")).count("{'event_date': datetime.date(2026, 2, 24)}") == 1
    assert len(files_by_day(lake.table("t"))) == 6


def test_a_dry_run_changes_nothing(lake, small_files):
    table = small_files("t")

    report = _native.compact("t", dry_run=True)

    assert (report["partitions"], report["files_rewritten"], report["snapshot_id"]) == (2, 10, None)
    assert lake.table("t").metadata_location == table.metadata_location


def test_progress_is_told_and_ends_complete(small_files):
    small_files("t", days=3)
    told = []

    _native.compact("t", progress=told.append)

    assert (told[-1].done, told[-1].total) == (3, 3)
    assert told[-1].rows == 3 * 5 * 50
    assert [step.done for step in told] == sorted(step.done for step in told)
    assert "compact" in told[-1].what


def test_the_environment_is_that_of_the_moment_and_the_argument_is_stronger(lake, small_files, monkeypatch, tmp_path):
    small_files("t")
    monkeypatch.setenv("STREAMIFY_HOME", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()

    with pytest.raises(_native.TableError, match="table `t` does not exist"):
        _native.compact("t")

    assert _native.compact("t", env=lake.env)["partitions"] == 2


def test_a_missing_table_says_what_to_do(lake):
    with pytest.raises(_native.TableError) as raised:
        _native.compact("bronze_listen_events")

    assert "streamify-stream" in raised.value.hint
    assert str(raised.value).splitlines() == [
        "table `bronze_listen_events` does not exist",
        f"  hint: {raised.value.hint}",
    ]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"small_below": 0.0}, "small-below"),
        ({"min_files": 1}, "min-files"),
        ({"days": "yesterday"}, "days"),
        ({"memory_limit": "1GB please"}, "memory_limit"),
        ({"memory_limit": 1_000_000}, "memory-limit"),
        ({"env": {"STREAMIFY_BATCH_MEMORY_LIMIT": "64"}}, "STREAMIFY_BATCH_MEMORY_LIMIT"),
        ({"env": {"POLARIS_URI": "no address"}}, "POLARIS_URI"),
    ],
)
def test_what_cannot_be_meant_is_named(lake, arguments, named):
    with pytest.raises(_native.SettingsError, match=named):
        _native.compact("t", **arguments)


def test_a_catalog_that_is_away_is_told_from_one_that_refuses(lake):
    with pytest.raises(_native.UnavailableError) as raised:
        _native.compact("t", env={"POLARIS_URI": "http://127.0.0.1:1/api/catalog"})

    assert isinstance(raised.value, _native.StreamifyError)
    assert "failed to open the catalog" in str(raised.value)
    assert "caused by" in str(raised.value)
