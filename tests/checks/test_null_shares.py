"""Shares of nulls: the true ones pass, others do not."""

import tomllib

import pytest

from dagster_project.lib.checks.null_shares import BOUNDS_FILE, load_bounds, null_shares_are_within_bounds
from dagster_project.lib.silver_columns import silver_columns

PERSONAL = ("user_id", "first_name", "last_name", "gender", "registration")


def anonymous(lake, topic, number):
    """Events without a user."""
    return [lake.event(topic, **dict.fromkeys(name for name in PERSONAL if name != "user_id"), user=None) for _ in range(number)]


def judge(lake, topic, **options):
    """Judges the table of a topic."""
    contract = lake.contracts[topic]
    return null_shares_are_within_bounds(lake.look(**options), contract.silver.table, silver_columns(contract))


@pytest.mark.parametrize(
    ("topic", "share", "passes"),
    [
        ("page_view_events", 0.04, True),
        ("page_view_events", 0.30, False),
        ("auth_events", 0.13, True),
        ("auth_events", 0.60, False),
        ("listen_events", 0.0, True),
        ("listen_events", 0.04, False),
    ],
)
def test_the_true_share_of_visitors_passes_and_a_wrong_one_does_not(lake, topic, share, passes):
    num_anonymous = round(1000 * share)
    known = [lake.event(topic) for _ in range(1000 - num_anonymous)]
    lake.silver(topic, [*known, *anonymous(lake, topic, num_anonymous)])

    verdict = judge(lake, topic)

    assert verdict.passed is passes, verdict
    assert verdict.metadata["null_share_user_id"] == pytest.approx(share)
    if not passes:
        assert {row["column"] for row in verdict.offending} >= {"user_id"}
        assert all(row["reason"] for row in verdict.offending)


def test_a_few_rows_are_no_proof(lake):
    lake.silver("page_view_events", [lake.event("page_view_events"), *anonymous(lake, "page_view_events", 1)])

    assert judge(lake, "page_view_events").passed


def test_a_column_that_is_always_there_is_missed(lake):
    lake.silver("auth_events", [lake.event("auth_events", city=None) for _ in range(100)])

    verdict = judge(lake, "auth_events")

    assert not verdict.passed
    assert [row["column"] for row in verdict.offending] == ["city"]


def test_no_rows_pass(lake):
    lake.silver("auth_events", [])

    assert judge(lake, "auth_events").passed


def test_every_bound_is_of_a_column_that_exists_and_has_a_reason(lake):
    tables = {contract.silver.table: silver_columns(contract) for contract in lake.contracts.values()}
    names = {table: {column.name for column in columns} for table, columns in tables.items()}
    entries = tomllib.loads(BOUNDS_FILE.read_text(encoding="utf-8"))["bounds"]

    for entry in entries:
        known = names.get(entry["table"]) or set.union(*names.values())
        assert set(entry["columns"]) <= known, entry
        assert len(entry["reason"]) > 20
    for table, columns in tables.items():
        bounds = load_bounds(table, columns)
        assert bounds["event_id"].most == 0
        assert {"user_id", "city", "browser"} <= bounds.keys()
