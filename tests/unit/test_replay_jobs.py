"""Replays from an asset's config, and what their reports say."""

from dataclasses import replace

import dagster as dg

from dagster_project.lib.contracts import load_contracts
from dagster_project.lib.letter_jobs import LettersConfig, letters_job, letters_metadata
from dagster_project.lib.paths import PROJECT_ROOT
from dagster_project.lib.replay_jobs import (
    Compared,
    Replay,
    ReplayConfig,
    compared_in,
    day_metadata,
    replay_args,
    replays_of,
    run_metadata,
    swap_job,
)

REPLAY = Replay("listen_events", "bronze_listen_events", "replay_listen_events_0a1b2c3d")


def report(table="bronze_x", **partitions):
    """The report of a swap, with counts by partition: equal, differing, missing, extra."""
    names = ("equal", "differing", "missing", "extra")
    by_partition = {day.replace("_", "-"): dict(zip(names, counts, strict=True)) for day, counts in partitions.items()}
    total = {name: sum(counts[name] for counts in by_partition.values()) for name in names}
    return {"target": table, "partitions": by_partition, "total": total}


def test_a_range_is_read_into_a_table_that_only_this_run_has():
    contracts = load_contracts(PROJECT_ROOT / "contracts")

    [replay] = replays_of([one for one in contracts if one.topic == "listen_events"], "0a1b2c3d-1111-2222-3333-444444444444")

    assert replay == REPLAY
    assert replay.tables == [REPLAY.staging, f"{REPLAY.staging}_bronze_dead_letters"]
    assert replay_args(replay, "2026-02-23..2026-02-25") == [
        *("--topics", "listen_events"),
        *("--replay-into", "replay_listen_events_0a1b2c3d"),
        *("--event-times", "2026-02-23..2026-02-25"),
    ]


def test_a_swap_is_a_dry_run_first_and_loses_rows_only_if_told():
    dry = swap_job(REPLAY, ReplayConfig(), dry_run=True)
    real = swap_job(REPLAY, ReplayConfig(accept_loss=True, memory_limit="256MB"), dry_run=False)

    assert (dry.table, dry.args) == ("bronze_listen_events", ["swap", REPLAY.staging, "--dry-run"])
    assert real.args == ["swap", REPLAY.staging, "--accept-loss", "--memory-limit", "256MB"]
    assert (dry.is_dry_run, real.is_dry_run) == (True, False)
    assert dry.arguments == {"staging": REPLAY.staging, "accept_loss": False, "dry_run": True}
    assert real.arguments == {"staging": REPLAY.staging, "accept_loss": True, "dry_run": False, "memory_limit": "256MB"}


def test_dead_letters_of_days_by_the_config():
    config = LettersConfig(topics=["a", "b"], reasons=["wrong_type"], again=True, dry_run=True, memory_limit="64MB")

    assert letters_job("2026-02-23", LettersConfig()).args == ["replay-dead-letters", "--days", "2026-02-23"]
    assert letters_job("2026-02-23", config).args == [
        *("replay-dead-letters", "--days", "2026-02-23", "--topics", "a,b", "--reasons", "wrong_type"),
        *("--again", "--dry-run", "--memory-limit", "64MB"),
    ]
    assert letters_job("2026-02-23", config).is_dry_run


def test_rows_of_before_and_after_follow_from_what_was_compared():
    found = Compared(equal=5, differing=2, missing=3, extra=1)

    assert (found.rows_before, found.rows_after, found.is_equal) == (8, 10, False)
    assert Compared(equal=5).is_equal
    assert not any(replace(Compared(), **{name: 1}).is_equal for name in ("differing", "missing", "extra"))
    assert compared_in(report(a=(1, 0, 2, 0), b=(1, 1, 0, 0))) == Compared(2, 1, 2, 0)


def test_a_day_has_its_own_figures_with_hours_summed_and_a_row_for_each_table():
    hourly = report("bronze_y", **{"2026_02_23_04": (1, 0, 0, 0), "2026_02_23_05": (2, 0, 1, 0)})
    daily = report("bronze_x", **{"2026_02_23": (10, 0, 0, 1), "2026_02_24": (4, 0, 0, 0)})

    metadata = day_metadata([hourly, daily], "2026-02-23")
    empty = day_metadata([hourly, daily], "2026-02-25")

    assert {name: value.value for name, value in metadata.items() if name != "tables"} == {
        **{"rows_before": 14, "rows_after": 14},
        **{"equal": 13, "differing": 0, "missing": 1, "extra": 1},
    }
    rows = [record.data for record in metadata["tables"].records]
    assert [(row["table"], row["equal"], row["missing"]) for row in rows] == [("bronze_x", 10, 0), ("bronze_y", 3, 1)]
    assert (empty["rows_before"].value, empty["rows_after"].value, len(empty["tables"].records)) == (0, 0, 2)


def test_a_run_has_sums_and_a_row_for_each_day_and_table():
    metadata = run_metadata([report("b", **{"2026_02_24": (1, 0, 0, 0)}), report("a", **{"2026_02_24": (0, 0, 7, 0)})])

    assert (metadata["rows_before"].value, metadata["rows_after"].value) == (1, 8)
    rows = [record.data for record in metadata["days"].records]
    assert [(row["day"], row["table"], row["missing"]) for row in rows] == [("2026-02-24", "a", 7), ("2026-02-24", "b", 0)]


def test_letters_are_shown_by_topic_and_reason():
    counts = {"wrong_type": {"letters": 5, "good": 3, "still_dead": {"wrong_type": 2}}}

    metadata = letters_metadata({"inserted": 3, "marked": 3, "seconds": 0.5, "topics": {"a": counts}})
    empty = letters_metadata({})

    assert (metadata["letters"], metadata["inserted"]) == (dg.MetadataValue.int(5), dg.MetadataValue.int(3))
    [row] = [record.data for record in metadata["reasons"].records]
    assert row == {"topic": "a", "reason": "wrong_type", "letters": 5, "good": 3, "still_dead": "wrong_type: 2"}
    assert (empty["letters"].value, empty["reasons"].records) == (0, [])
