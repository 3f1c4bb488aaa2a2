"""Batch jobs from an asset's config: the command line and the call mean the same."""

from datetime import timedelta

from dagster_project.lib.batch_jobs import (
    Execution,
    RebuildRunConfig,
    SessionsRunConfig,
    SilverRunConfig,
    rebuild_job,
    sessions_job,
    silver_job,
)
from dagster_project.lib.care_jobs import CareConfig, care_jobs, care_metadata
from dagster_project.lib.lake import Figures


def test_by_default_silver_takes_what_is_new_in_a_process_of_its_own():
    job = silver_job("silver_x", SilverRunConfig())

    assert SilverRunConfig().execution is Execution.binary
    assert job.args == ["silver", "--tables", "silver_x"]
    assert (job.function, job.arguments) == ("silver", {"table": "silver_x", "reread": False})


def test_every_field_of_the_config_reaches_both_forms():
    job = silver_job("silver_x", SilverRunConfig(reread=True, accept_changes=[8, 9], memory_limit="256MB"))

    assert job.args == ["silver", "--tables", "silver_x", "--reread", "--accept-change", "8,9", "--memory-limit", "256MB"]
    assert job.arguments == {"table": "silver_x", "reread": True, "accept_changes": [8, 9], "memory_limit": "256MB"}


def test_sessions_and_rebuilds():
    sessions = sessions_job("silver_user_sessions", SessionsRunConfig(full=True))
    rebuild = rebuild_job("silver_x", "2026-02-23..2026-02-24", RebuildRunConfig())

    assert (sessions.args, sessions.arguments) == (["sessions", "--full"], {"full": True})
    assert rebuild.args == ["rebuild", "--days", "2026-02-23..2026-02-24", "--tables", "silver_x"]
    assert (rebuild.function, rebuild.arguments) == ("silver", {"table": "silver_x", "rebuild": "2026-02-23..2026-02-24"})


def test_care_compacts_then_tidies_manifests_then_expires_then_counts_orphans_and_deletes_none_unasked():
    jobs = care_jobs("t", CareConfig())

    assert [job.args for job in jobs] == [
        ["compact", "--tables", "t", "--small-below", "0.75", "--min-files", "5"],
        ["rewrite-manifests", "--tables", "t", "--min-manifests", "16"],
        ["expire", "--tables", "t"],
        ["remove-orphans", "--tables", "t", "--older-than", "259200s"],
    ]
    assert [job.function for job in jobs] == ["compact", "rewrite_manifests", "expire", "remove_orphans"]
    assert jobs[3].arguments == {"table": "t", "older_than": timedelta(days=3)}
    assert [job.is_dry_run for job in jobs] == [False, False, False, True]


def test_care_by_its_settings():
    config = CareConfig(
        compact=False,
        manifests=False,
        expire_older_than_hours=0.5,
        expire_keep=3,
        delete_orphans=True,
        orphans_older_than_hours=2,
    )

    expire, orphans = care_jobs("t", config)

    assert expire.args == ["expire", "--tables", "t", "--older-than", "1800s", "--keep", "3"]
    assert expire.arguments == {"table": "t", "older_than": timedelta(minutes=30), "keep": 3}
    assert orphans.args == ["remove-orphans", "--tables", "t", "--older-than", "7200s", "--delete"]
    assert not orphans.is_dry_run
    assert care_jobs("t", CareConfig(compact=False, manifests=False, expire=False, orphans=False)) == []


def test_care_shows_figures_of_before_and_after_and_of_each_step():
    reports = {
        "compact": {"files_rewritten": 9, "files_added": 2, "bytes_rewritten": 90, "partitions": 1, "seconds": 0.5},
        "rewrite_manifests": {"manifests_before": 20, "manifests_after": 2, "snapshot_id": 5},
        "expire": {
            "removed": [1, 2],
            "deleted": {"data": {"files": 9, "bytes": 90}, "manifest": {"files": 1, "bytes": 5}},
            "kept": {"ref main": 1, "consumer a": 3, "consumer b": 2},
        },
        "remove_orphans": {"dry_run": True, "orphans": {"data": {"files": 3, "bytes": 30}}},
    }

    figures = care_metadata(Figures(7, 10, 100, 12, 1), Figures(7, 3, 80, 10, 2), reports)

    assert (figures["files_before"], figures["files_after"]) == (10, 3)
    assert (figures["bytes_before"], figures["bytes_after"]) == (100, 80)
    assert (figures["snapshots_before"], figures["snapshots_after"]) == (12, 10)
    assert figures["dagster/row_count"] == 7
    assert (figures["compact_files_rewritten"], figures["compact_seconds"]) == (9, 0.5)
    assert (figures["manifests_before"], figures["manifests_after"]) == (20, 2)
    assert (figures["expire_snapshots_removed"], figures["expire_snapshots_kept_for_readers"]) == (2, 3)
    assert (figures["expire_files_deleted"], figures["expire_bytes_deleted"]) == (10, 95)
    assert (figures["orphans_found"], figures["orphans_deleted"]) == (3, 0)
    reports["remove_orphans"]["dry_run"] = False
    assert care_metadata(Figures(7, 10, 100, 12, 1), Figures(7, 3, 80, 10, 2), reports)["orphans_deleted_bytes"] == 30
