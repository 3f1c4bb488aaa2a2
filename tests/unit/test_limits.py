"""The one file of limits."""

import tomllib

import pytest

from dagster_project.lib.checks.limits import LIMITS_FILE, freshness_policy, limit


def test_every_limit_has_a_unit_and_a_reason():
    for entry in tomllib.loads(LIMITS_FILE.read_text(encoding="utf-8"))["limits"]:
        assert set(entry) == {"name", "tables", "value", "unit", "reason"}, entry
        assert len(entry["reason"]) > 20, entry


def test_the_last_entry_that_fits_a_table_holds():
    assert limit("fresh_fail_seconds", "bronze_listen_events").value == 900
    assert limit("fresh_fail_seconds", "bronze_status_change_events").value == 21_600
    assert limit("fresh_fail_seconds", "silver_user_sessions").value == 7_200
    assert limit("fresh_fail_seconds", "of_another_name").value == 900


def test_a_limit_that_is_nowhere_is_named():
    with pytest.raises(LookupError, match="no limit `patience` for table `t`"):
        limit("patience", "t")


def test_policies_take_the_limits_of_the_file():
    policy = freshness_policy("bronze_status_change_events")

    assert (policy.warn_window.to_timedelta().total_seconds(), policy.fail_window.to_timedelta().total_seconds()) == (3600, 21600)
