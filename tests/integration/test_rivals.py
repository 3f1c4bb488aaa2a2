"""PyIceberg and Spark as rivals: what they commit between our read and our commit, between our runs, and the other way round.

The gateway holds the commit of one side until the other side's has landed, so that each test has the order it names. At the end
of each test every row that should be there is there, as often as it should.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import TABLE, Pipeline, drop_tables
from tests.integration.rivals import (
    BY_PYICEBERG,
    BY_SPARK,
    SESSIONS,
    SILVER,
    Done,
    Lake,
    Rival,
    expire,
    pyiceberg_append,
    pyiceberg_delete,
    pyiceberg_overwrite,
    spark_delete,
    spark_delete_by_file,
    spark_expiry,
    spark_insert,
    spark_manifests,
    spark_merge,
    spark_rewrite,
)
from tools.prove.engines import in_spark
from tools.stack import Stack
from tools.stack.spark import Spark, SparkError

pytestmark = pytest.mark.integration


@pytest.fixture
def lake(pipeline: Pipeline, lakehouse: Stack, spark: Spark, tmp_path: Path) -> Iterator[Lake]:
    """An empty topic and an empty namespace."""
    pipeline.create_topic()
    pipeline.environment |= lakehouse.environment()
    yield Lake(pipeline, lakehouse, spark, tmp_path)
    lakehouse.gateway.control("DELETE", "faults")
    drop_tables(lakehouse)


@pytest.mark.parametrize("rivals", [BY_PYICEBERG, BY_SPARK], ids=["PyIceberg", "Spark"])
def test_the_stream_goes_on_whatever_landed_first(lake: Lake, rivals: list[Rival]) -> None:
    lake.land(10)
    for number, rival in enumerate(rivals):
        conflicts = lake.counter("status.commit.409") + lake.counter("status.commit.400")
        lake.send(2)

        done = lake.between(lake.stream, lambda act=rival, session=number: act(lake, session, TABLE))  # type: ignore[misc]

        assert done.code == 0, f"{rival.__name__}: {done.log}"
        assert lake.rows() == lake.expected[TABLE], rival.__name__
        met = lake.counter("status.commit.409") + lake.counter("status.commit.400") - conflicts
        # An expiry leaves the head where it is.
        assert (met > 0) is (rival is not spark_expiry), rival.__name__


@pytest.mark.parametrize(
    ("rival", "lands"),
    [
        (pyiceberg_append, True),
        (pyiceberg_overwrite, False),
        (pyiceberg_delete, False),
        (spark_insert, True),
        (spark_delete, False),
        (spark_delete_by_file, False),
        (spark_merge, False),
        (spark_rewrite, False),
        (spark_manifests, True),
        (spark_expiry, True),
    ],
)
def test_a_compaction_lands_unless_its_files_are_gone(lake: Lake, rival: Rival, lands: bool) -> None:
    lake.land(3)
    pyiceberg_append(lake, 0)
    pyiceberg_append(lake, 1)

    done = lake.between(lake.compact, lambda: rival(lake, 2, TABLE))

    assert done.code == 0, done.log
    assert (done.report["partitions"], done.report["partitions_left"]) == (int(lands), int(not lands))
    assert lake.rows() == lake.expected[TABLE]
    lake.land(1)
    assert lake.rows() == lake.expected[TABLE]


def test_silver_begins_anew_only_if_its_rows_changed(lake: Lake) -> None:
    lake.land(10)
    assert lake.silver().code == 0
    lake.expected[SILVER].update(range(10))
    unchanged = {spark_rewrite, spark_manifests, spark_expiry}
    rivals = [*BY_PYICEBERG, *(rival for rival in BY_SPARK if rival is not spark_delete_by_file)]
    for session, rival in enumerate(rivals):
        lake.land(1)

        done = lake.between(lake.silver, lambda act=rival, number=session: act(lake, number, SILVER), SILVER)  # type: ignore[misc]

        lake.expected[SILVER][lake.next_event - 1] += 1
        assert (done.code, done.report["restarts"]) == (0, int(rival not in unchanged)), f"{rival.__name__}: {done.log}"
        assert lake.rows(SILVER) == lake.expected[SILVER], rival.__name__


def test_a_rebuild_begins_anew_when_its_files_were_rewritten(lake: Lake) -> None:
    lake.land(5)
    assert lake.silver().code == 0
    lake.land(5)
    assert lake.silver().code == 0
    pyiceberg_delete(lake, 3, SILVER)
    [day] = {str(day) for day in lake.table(SILVER).scan(selected_fields=("event_date",)).to_arrow()["event_date"].to_pylist()}

    rebuilt = lake.between(
        lambda: lake.batch("rebuild", "--days", day, "--tables", SILVER), lambda: spark_rewrite(lake, 0, SILVER), SILVER
    )

    assert (rebuilt.code, rebuilt.report["restarts"]) == (0, 1), rebuilt.log
    assert lake.rows(SILVER) == lake.expected[TABLE]


def test_between_two_runs_silver_passes_over_compactions_and_expiries_and_asks_about_changes(lake: Lake) -> None:
    lake.land(4)
    lake.land(4)
    assert lake.silver().report["rows_out"] == 8
    spark_rewrite(lake, 0)
    lake.land(2)

    after_compaction = lake.silver()

    assert (after_compaction.code, after_compaction.report["rows_in"]) == (0, 2), after_compaction.log
    lake.land(3)
    expire(lake)

    after_expiry = lake.silver()

    assert (after_expiry.code, after_expiry.report["rows_out"]) == (0, 3), after_expiry.log
    assert lake.rows(SILVER) == lake.expected[TABLE]
    events = Counter(lake.expected[TABLE])
    spark_delete(lake, 5)
    foreign = lake.table().current_snapshot()
    assert foreign is not None
    lake.land(2)
    events.update([13, 14])

    refused = lake.silver()

    assert refused.code == 3
    assert f"another engine changed rows of table `{TABLE}`: snapshot {foreign.snapshot_id} (overwrite)" in refused.log
    assert "--accept-change SNAPSHOT" in refused.log
    assert lake.rows(SILVER) == events - Counter([13, 14])
    accepted = lake.silver("--accept-change", foreign.snapshot_id)

    assert (accepted.code, accepted.report["rows_out"]) == (0, 2), accepted.log
    assert lake.rows(SILVER) == events
    assert lake.rows() == lake.expected[TABLE]
    assert lake.silver().report["rows_in"] == 0


def test_sessions_pass_over_compactions_of_silver_and_ask_about_changes_and_expiry(lake: Lake) -> None:
    def up_to_date() -> Done:
        lake.land(3)
        assert lake.silver().code == 0
        return lake.batch("sessions")

    assert up_to_date().code == 0
    spark_rewrite(lake, 0, SILVER)

    after_compaction = up_to_date()

    assert (after_compaction.code, after_compaction.report["rows_in"]) == (0, {SILVER: 3}), after_compaction.log
    assert lake.sessions() == lake.expected[TABLE]
    lake.spark.sql(f"UPDATE {in_spark(lake.table(SILVER))} SET city = 'Elsewhere' WHERE session_id = 1")
    foreign = lake.table(SILVER).current_snapshot()
    assert foreign is not None

    refused = up_to_date()

    assert refused.code == 3
    assert f"another engine changed rows of table `{SILVER}`: snapshot {foreign.snapshot_id}" in refused.log
    accepted = lake.batch("sessions", "--accept-change", foreign.snapshot_id)
    assert accepted.code == 0, accepted.log
    assert lake.sessions() == lake.expected[TABLE]
    lake.land(1)
    assert lake.silver().code == 0
    expire(lake, SILVER)

    expired = lake.batch("sessions")

    assert expired.code == 3
    assert f"of table `{SILVER}`, which was read last, has expired" in expired.log
    anew = lake.batch("sessions", "--full")
    assert anew.code == 0, anew.log
    assert lake.sessions() == lake.expected[TABLE]


def test_rivals_that_lose_the_race_to_us_retry_or_say_so(lake: Lake) -> None:
    lake.land(4)
    lake.land(4)
    for number, rival in enumerate([spark_rewrite, spark_insert, spark_delete, pyiceberg_append, pyiceberg_delete]):
        lake.between(lambda act=rival, session=number: act(lake, session, TABLE), lambda: lake.land(2))  # type: ignore[misc]

        assert lake.rows() == lake.expected[TABLE], rival.__name__
    lake.land(1)
    with pytest.raises(SparkError, match="conflicted with another concurrent Iceberg operation"):
        lake.between(lambda: spark_rewrite(lake, 0), lambda: compacted(lake))

    assert lake.rows() == lake.expected[TABLE]


def compacted(lake: Lake) -> None:
    done = lake.compact()
    assert (done.code, done.report["partitions"]) == (0, 1), done.log


DELETE_FILES, CHANGED_ROWS = "another engine wrote delete files", "another engine changed rows of table"
#: Rewritten files keep the sequence number of the deletes otherwise, and Spark does not see that these are of no use any more.
UNTIL_NO_DELETE_FILE_IS_LEFT = (
    "map('delete-file-threshold', '1', 'use-starting-sequence-number', 'false', 'remove-dangling-deletes', 'true')"
)


@pytest.mark.parametrize(
    ("name", "jobs"),
    [
        (
            TABLE,
            [
                (("compact", "--min-files", 2, "--tables", TABLE), DELETE_FILES),
                (("silver", "--tables", SILVER), CHANGED_ROWS),
                (("silver", "--tables", SILVER, "--reread"), DELETE_FILES),
            ],
        ),
        (
            SILVER,
            [
                (("compact", "--min-files", 2, "--tables", SILVER), DELETE_FILES),
                (("silver", "--tables", SILVER), DELETE_FILES),
                (("sessions",), CHANGED_ROWS),
                (("sessions", "--full"), DELETE_FILES),
            ],
        ),
    ],
    ids=["bronze", "silver"],
)
def test_a_table_with_delete_files_of_another_engine_is_refused_until_that_has_rewritten_it(
    lake: Lake, name: str, jobs: list[tuple[tuple[object, ...], str]]
) -> None:
    for _ in range(2):
        lake.land(4)
        assert lake.silver().code == 0
    assert lake.batch("sessions").code == 0
    lake.expected[SILVER].update(range(8))
    lake.land(1)
    spark_delete_by_file(lake, 2, name)
    before = heads(lake)

    refusals = {job: (lake.batch(*job), why) for job, why in jobs}

    for job, (refused, why) in refusals.items():
        assert refused.code == 3, f"{job}: {refused.log}"
        assert why in refused.log, job
        assert "hint: " in refused.log, job
        assert why is CHANGED_ROWS or f"failed to read table `{name}`" in refused.log, job
    assert heads(lake) == before
    assert lake.rows(name) == lake.expected[name]
    lake.call("rewrite_data_files", name, options=UNTIL_NO_DELETE_FILE_IS_LEFT)
    accepted = lake.batch("compact", "--min-files", 2, "--tables", name)
    assert accepted.code == 0, accepted.log
    assert lake.rows(name) == lake.expected[name]


def heads(lake: Lake) -> dict[str, str]:
    return {table: lake.table(table).metadata_location for table in (TABLE, SILVER, SESSIONS)}
