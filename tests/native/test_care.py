"""Expiry and removal of orphans in process, judged by PyIceberg."""

from datetime import timedelta

import pytest

from dagster_project import _native

NOW = timedelta(0)


def data_files(lake):
    """Data files on disk."""
    return sorted(path.name for path in (lake.home / "warehouse").rglob("*.parquet"))


def test_old_snapshots_go_and_the_rows_stay(lake, small_files):
    table = small_files("t")
    before = lake.rows("t")
    _native.compact("t")

    report = _native.expire("t", older_than=NOW, keep=1)

    head = lake.table("t")
    assert [snapshot.snapshot_id for snapshot in head.snapshots()] == [head.current_snapshot().snapshot_id]
    assert lake.rows("t") == before
    assert sorted(report["removed"])[0] in [snapshot.snapshot_id for snapshot in table.snapshots()]
    assert report["deleted"]["data"]["files"] == 10
    assert len(data_files(lake)) == 2


def test_a_dry_run_of_an_expiry_changes_nothing(lake, small_files):
    table = small_files("t")

    report = _native.expire("t", older_than=NOW, keep=1, dry_run=True)

    assert len(report["removed"]) == 4
    assert lake.table("t").metadata_location == table.metadata_location


def test_manifests_are_rewritten_and_the_rows_stay(lake, small_files):
    small_files("t", parts=6)
    before = lake.rows("t")

    report = _native.rewrite_manifests("t", min_manifests=2)

    assert report["snapshot_id"] == lake.table("t").current_snapshot().snapshot_id
    assert len(lake.table("t").inspect.manifests()) < 6
    assert lake.rows("t") == before
    assert _native.rewrite_manifests("t", min_manifests=6)["snapshot_id"] is None


def test_a_file_that_nobody_knows_is_deleted_and_no_other(lake, small_files):
    table = small_files("t")
    known = data_files(lake)
    folder = next((lake.home / "warehouse").rglob("*.parquet")).parent
    (folder / "left-behind.parquet").write_bytes(b"half a file")

    named = _native.remove_orphans("t", older_than=NOW, force=True)
    assert named["orphans"]["data"] == {"files": 1, "bytes": 11}
    assert "left-behind.parquet" in data_files(lake)

    _native.remove_orphans("t", older_than=NOW, force=True, delete=True)

    assert data_files(lake) == known
    assert table.scan().to_arrow().num_rows == 500


def test_too_short_a_grace_period_is_refused(small_files):
    small_files("t")

    with pytest.raises(_native.SettingsError, match="grace"):
        _native.remove_orphans("t", older_than=NOW)
