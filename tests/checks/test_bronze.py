"""The checks of a bronze table: they pass as the worker leaves it, and each finds what somebody spoiled."""

import json
import time

import pytest
from pyiceberg.types import LongType, StringType

from dagster_project.lib.checks.bronze_books import ledger_closes, offsets_are_contiguous
from dagster_project.lib.checks.bronze_checks import bronze_checks
from dagster_project.lib.checks.bronze_counts import kafka_equals_table
from dagster_project.lib.checks.bronze_present import (
    Servers,
    dead_letters_are_rare,
    lag_is_below_limit,
    schema_equals_contract,
    table_is_fresh,
)

from .bronze_stream import Stream, install_status


@pytest.fixture
def stream(lake, tmp_path) -> Stream:
    """A table of three commits over two partitions, with dead letters, skipped offsets, a gap and a lease between them."""
    made = Stream(lake, tmp_path / "bin")
    made.land(10, letters=2, skipped=1)
    made.land(5, partition=1)
    made.lease()
    made.land(7, gap=3)
    return made


def broken(name, **changes):
    """Changes figures in an entry of the summary."""

    def change(summary):
        return {**summary, name: json.dumps({**json.loads(summary[name]), **changes})}

    return change


def shifted(**changes):
    """Changes the span of a commit."""

    def change(summary):
        [of] = json.loads(summary["streamify.changes"])
        [(partition, span)] = of["Advance"]["spans"].items()
        of["Advance"]["spans"] = {partition: {**span, **{key: span[key] + by for key, by in changes.items()}}}
        return {**summary, "streamify.changes": json.dumps([of])}

    return change


def test_every_check_passes_on_a_table_as_the_worker_leaves_it(lake, stream):
    verdicts = {
        check.name: check.run(lake.look())
        for check in bronze_checks(stream.contract, {**stream.servers().environ, "STREAMIFY_HOME": str(lake.home)})
    }

    assert {name: verdict.passed for name, verdict in verdicts.items()} == dict.fromkeys(verdicts, True), verdicts
    assert len(verdicts) == 7
    for name, verdict in verdicts.items():
        assert {"value", "limit"} <= set(verdict.metadata), name


def test_the_books_are_summed_over_the_kept_commits(lake, stream):
    verdict = ledger_closes(lake.look(), stream.contract)

    sums = {name: verdict.metadata[name] for name in ("commits", "offsets", "received", "rows", "dead_letters")}
    assert sums == {"commits": 3, "offsets": 25, "received": 24, "rows": 22, "dead_letters": 2}
    assert (verdict.metadata["skipped_by_broker"], verdict.metadata["unaccounted"]) == (1, 0)


@pytest.mark.parametrize(
    ("change", "lost", "why"),
    [
        (broken("streamify.ledger", received=9), 0, "9 received are not 10 rows + 0 dead letters"),
        (broken("streamify.ledger", skipped_by_broker=4), 0, "10 offsets are not 10 received + 4 skipped"),
        (shifted(end=1), 0, "the books have 10 offsets, the ranges 11"),
        (lambda summary: summary, 2, "the books have 10 rows, the files 8"),
    ],
    ids=["received", "skipped", "ranges", "rows lost"],
)
def test_books_that_do_not_close_are_found(lake, stream, change, lost, why):
    stream.land(10, change=change, lost=lost)

    verdict = ledger_closes(lake.look(), stream.contract)

    assert not verdict.passed
    assert verdict.metadata["value"] == 1
    assert verdict.offending == [{"snapshot_id": str(stream.table.current_snapshot().snapshot_id), "why": why}]


def test_rows_of_another_program_are_found(lake, stream):
    lake.bronze(stream.topic, stream.rows([100, 101]))

    verdict = ledger_closes(lake.look(), stream.contract)

    assert not verdict.passed
    assert verdict.offending[0]["why"] == "another program changed rows (2 added)"


def test_rows_that_another_program_deleted_are_found(lake, stream):
    stream.table.delete("_kafka_offset = 3")

    assert not ledger_closes(lake.look(), stream.contract).passed


def test_rows_from_before_an_adoption_are_not_in_the_books(lake, tmp_path):
    stream = Stream(lake, tmp_path / "bin")
    lake.bronze(stream.topic, stream.rows([0, 1, 2]))
    assert not ledger_closes(lake.look(), stream.contract).passed

    lake.bronze(stream.topic, [], {"streamify.commit-id": "a", "streamify.adoption": "{}"})

    assert ledger_closes(lake.look(), stream.contract).passed


def test_an_accepted_gap_is_shown_and_passes(lake, stream):
    verdict = offsets_are_contiguous(lake.look(), stream.contract)

    assert verdict.passed, verdict
    assert (verdict.metadata["partitions"], verdict.metadata["gaps"], verdict.metadata["gap_records"]) == (2, 1, 3)
    assert verdict.metadata["gap_1"] == "epoch 0 partition 0: [13, 16)"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (shifted(expected=2, start=2, end=2), "hole"),
        (shifted(expected=-2, start=-2, end=-2), "overlap"),
        (shifted(start=-1), "overlap"),
        (shifted(start=1), "hole"),
    ],
    ids=["later", "earlier", "starts before", "starts after, without a gap that was accepted"],
)
def test_holes_and_overlaps_are_found(lake, stream, change, kind):
    stream.land(4, change=change)

    verdict = offsets_are_contiguous(lake.look(), stream.contract)

    assert not verdict.passed
    assert (verdict.offending[0]["kind"], verdict.offending[0]["partition"], verdict.offending[0]["ended_at"]) == (kind, 0, 23)


@pytest.mark.parametrize(("at", "kind"), [(30, "hole"), (20, "overlap")])
def test_a_state_that_somebody_edited_is_found(lake, stream, at, kind):
    stream.stand_at({0: at, 1: 5})

    verdict = offsets_are_contiguous(lake.look(), stream.contract)

    assert not verdict.passed
    assert [(row["kind"], row["snapshot_id"]) for row in verdict.offending] == [(kind, "state of the table")]


def test_kafka_equals_the_table(lake, stream):
    verdict = kafka_equals_table(lake.look(), stream.contract, stream.servers())

    figures = {name: verdict.metadata[name] for name in ("offsets", "rows", "dead_letters", "missing", "in_gaps")}
    assert verdict.passed, verdict
    assert figures == {"offsets": 28, "rows": 22, "dead_letters": 2, "missing": 0, "in_gaps": 3}


def test_only_what_kafka_still_holds_and_the_table_has_passed_is_counted(lake, stream):
    verdict = kafka_equals_table(lake.look(), stream.contract, stream.servers(begin=4, more=50))

    assert verdict.passed, verdict
    assert (verdict.metadata["offsets"], verdict.metadata["rows"]) == (20, 14)
    assert kafka_equals_table(lake.look(), stream.contract, stream.servers(begin=1000)).text.startswith("Kafka holds nothing")


def test_offsets_before_the_table_s_first_one_are_not_missing(lake, tmp_path):
    stream = Stream(lake, tmp_path / "bin")
    stream.land(5, gap=100)

    assert kafka_equals_table(lake.look(), stream.contract, stream.servers()).passed


def test_rows_that_were_lost_are_counted(lake, stream):
    stream.table.delete("_kafka_offset in (18, 19, 20)")

    verdict = kafka_equals_table(lake.look(), stream.contract, stream.servers())

    assert (verdict.passed, verdict.is_warning) == (False, False)
    assert verdict.metadata["missing"] == 3, "the offset that the broker skipped is not among them"
    assert verdict.offending[0]["partition"] == 0


def test_rows_that_stand_twice_are_counted_and_do_not_make_up_for_lost_ones(lake, stream):
    lake.bronze(stream.topic, stream.rows([2, 3]))
    stream.table.delete("_kafka_offset in (18, 19, 20)")

    verdict = kafka_equals_table(lake.look(), stream.contract, stream.servers())

    assert not verdict.passed
    assert (verdict.metadata["repeated"], verdict.metadata["missing"]) == (2, 3)
    assert verdict.offending[0]["first"] == 2


def test_a_letter_that_was_replayed_is_one_place(lake, stream):
    lake.bronze(stream.topic, stream.rows([10]), {"streamify.commit-id": "replay", "streamify.replayed-rows": "1"})

    verdict = kafka_equals_table(lake.look(), stream.contract, stream.servers())

    assert verdict.passed, verdict
    assert (verdict.metadata["rows"], verdict.metadata["dead_letters"]) == (23, 1)
    assert ledger_closes(lake.look(), stream.contract).passed


def test_where_snapshots_have_expired_the_kept_ones_are_judged_and_what_they_cannot_explain_is_a_warning(lake, stream):
    first = stream.table.metadata.snapshots[0]
    stream.table.maintenance.expire_snapshots().by_id(first.snapshot_id).commit()

    assert ledger_closes(lake.look(), stream.contract).metadata["commits"] == 2
    assert offsets_are_contiguous(lake.look(), stream.contract).passed
    verdict = kafka_equals_table(lake.look(), stream.contract, stream.servers())
    assert (verdict.passed, verdict.is_warning, verdict.metadata["missing"]) == (False, True, 1), (
        "the books that knew it are gone"
    )


@pytest.mark.parametrize(
    ("topic", "passes"),
    [
        ({"lag_records": 100_000, "lag_seconds": 300.0}, True),
        ({"lag_records": 100_001}, False),
        ({"lag_records": 1, "lag_seconds": 301.0}, False),
        ({"lag_records": 1, "headroom_seconds": 80_000.0}, False),
        ({"lag_records": 0, "headroom_seconds": 80_000.0}, True),
        ({"lag_records": 1, "headroom_seconds": 80_000.0, "retention_ms": 90_000_000}, True),
        ({"lag_records": 1, "headroom_seconds": None, "lag_seconds": None, "retention_ms": None}, True),
    ],
    ids=["at the limits", "records", "seconds", "headroom", "nothing to lose", "short retention", "unlimited retention"],
)
def test_lag_beyond_a_limit_fails(lake, stream, topic, passes):
    verdict = lag_is_below_limit(lake.look(), stream.contract, stream.servers(**topic))

    assert verdict.passed is passes, verdict
    assert verdict.is_warning is False
    assert verdict.metadata["limit"] == 100_000
    assert "reason" in verdict.metadata


@pytest.mark.parametrize(
    ("script", "words"),
    [("echo no broker >&2; exit 1", "no broker"), ("echo '{}'", "printed what is no status"), ("exit 3", "exited with code 3")],
)
def test_without_an_answer_the_checks_of_kafka_warn(lake, stream, tmp_path, script, words):
    servers = Servers(install_status(tmp_path / "bin", script=script))

    for check in (lag_is_below_limit, kafka_equals_table):
        verdict = check(lake.look(), stream.contract, servers)
        assert (verdict.passed, verdict.is_warning) == (False, True)
        assert words in verdict.text


def test_kafka_is_asked_once_for_all_checks(lake, stream, tmp_path):
    stream.servers()
    count = tmp_path / "count"
    servers = Servers(install_status(tmp_path / "bin", script=f"echo asked >> {count}; exit 1"))

    for check in (lag_is_below_limit, kafka_equals_table, table_is_fresh):
        check(lake.look(), stream.contract, servers)

    assert count.read_text(encoding="utf-8") == "asked\n"


def test_a_table_that_stands_still_while_records_come_is_not_fresh(lake, stream):
    later = time.time() + 1000

    assert table_is_fresh(lake.look(), stream.contract, stream.servers(more=1)).passed
    late = table_is_fresh(lake.look(), stream.contract, stream.servers(more=1), now=later)
    assert (late.passed, late.is_warning, late.metadata["limit"]) == (False, False, 900)
    assert late.metadata["value"] == pytest.approx(1000, abs=100)
    resting = table_is_fresh(lake.look(), stream.contract, stream.servers(), now=later)
    assert resting.passed
    assert resting.text.endswith("nothing has come since")


def test_an_old_table_without_an_answer_of_kafka_is_a_warning(lake, stream, tmp_path):
    servers = Servers(install_status(tmp_path / "bin", script="exit 1"))

    verdict = table_is_fresh(lake.look(), stream.contract, servers, now=time.time() + 1000)

    assert (verdict.passed, verdict.is_warning) == (False, True)


def test_dead_letters_beyond_their_share_fail(lake, stream):
    assert dead_letters_are_rare(lake.look(), stream.contract).passed, "two are an accident"
    stream.land(100, letters=9)

    verdict = dead_letters_are_rare(lake.look(), stream.contract)

    assert not verdict.passed
    assert (verdict.metadata["dead_letters"], verdict.metadata["received"]) == (11, 133)
    assert verdict.metadata["value"] == pytest.approx(11 / 133)
    tomorrow = dead_letters_are_rare(lake.look(), stream.contract, now=time.time() + 2 * 86_400)
    assert (tomorrow.passed, tomorrow.metadata["dead_letters"]) == (True, 0)


def test_a_column_that_is_gone_or_of_another_type_fails(lake, stream):
    with stream.table.update_schema(allow_incompatible_changes=True) as update:
        update.delete_column("artist")
        update.delete_column("song")
    with stream.table.update_schema() as update:
        update.add_column("song", LongType())

    verdict = schema_equals_contract(lake.look(), stream.contract)

    assert (verdict.passed, verdict.is_warning) == (False, False)
    assert {(row["column"], row["table"]) for row in verdict.offending} == {("artist", "missing"), ("song", "long")}


def test_a_column_of_somebody_else_s_and_a_looser_one_are_warnings(lake, stream):
    with stream.table.update_schema() as update:
        update.add_column("mood", StringType())
        update.make_column_optional("event_id")

    verdict = schema_equals_contract(lake.look(), stream.contract)

    assert (verdict.passed, verdict.is_warning) == (False, True)
    assert {row["column"] for row in verdict.offending} == {"mood", "event_id"}
