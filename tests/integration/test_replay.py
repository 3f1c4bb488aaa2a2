"""Dead letters replayed after a fix, and ranges of a topic read again and swapped in, with every record counted."""

import json
import os
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from dagster_project import _native
from dagster_project.lib.paths import find_binary
from tests.conftest import REPOSITORY
from tests.integration.conftest import SECONDS, TABLE, TOPIC, Pipeline, event, send
from tools.prove.tables import landed, open_catalog

pytestmark = pytest.mark.integration

START = datetime(2026, 9, 21, tzinfo=UTC)
DAY_MS = 24 * 3600 * 1000


def batch(pipeline: Pipeline, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Runs a job; returns exit code, what it did to its table, and its log."""
    told = pipeline.home / "report.json"
    command = [str(find_binary("streamify-batch", os.environ)), *arguments, "--summary-json", str(told)]
    environment = os.environ | pipeline.environment
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    tables = json.loads(told.read_text(encoding="utf-8"))["tables"]
    return done.returncode, tables[0] if tables else {}, done.stderr


def corrected(folder: Path, *changes: tuple[str, str]) -> str:
    """A folder with all contracts, the topic's own changed."""
    folder.mkdir()
    for file in (REPOSITORY / "contracts").glob("*.toml"):
        text = file.read_text(encoding="utf-8")
        if file.stem == TOPIC:
            for before, after in changes:
                assert before in text
                text = text.replace(before, after, 1)
        (folder / file.name).write_text(text, encoding="utf-8")
    return str(folder)


def texts_for_sessions(folder: Path) -> str:
    """Contracts under which a session number may come as text."""
    return corrected(folder, ('name = "sessionId"\n', 'name = "sessionId"\naccept_text = true\n'))


def books(pipeline: Pipeline) -> tuple[int, int, int, int, int]:
    """Rows, dead letters, offsets missing, offsets doubled, records received by the worker."""
    found = landed(open_catalog(pipeline.environment), pipeline.environment, TOPIC, pipeline.ends())
    return found.rows, found.dead_letters, found.missing, found.doubled, found.ledger["received"]


def test_letters_become_rows_after_a_fix_and_every_record_is_counted_once(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.create_topic(partitions=2)
    producer = pipeline.producer()
    for partition in range(2):
        events = [event(number, **({"sessionId": str(number)} if number % 4 == 3 else {})) for number in range(20)]
        send(producer, [*events, {"no": "event"}], partition)
    assert pipeline.run()[0] == 0
    assert books(pipeline) == (30, 12, 0, 0, 42)
    fixed = texts_for_sessions(tmp_path / "contracts")

    code, report, log = batch(pipeline, "replay-dead-letters", "--dry-run", "--contracts", fixed)

    assert code == 0, log
    counts = report["topics"][TOPIC]
    assert counts["wrong_type"] == {"letters": 10, "good": 10, "still_dead": {}}
    assert counts["missing_field"] == {"letters": 2, "good": 0, "still_dead": {"missing_field": 2}}
    assert books(pipeline) == (30, 12, 0, 0, 42), "a dry run changed something"

    code, report, log = batch(pipeline, "replay-dead-letters", "--contracts", fixed)

    assert code == 0, log
    assert (report["inserted"], report["marked"]) == (10, 10)
    assert books(pipeline) == (40, 2, 0, 0, 42)
    assert pipeline.sessions() == sorted(2 * list(range(20)))
    send(producer, [event(100, sessionId="100"), event(101)], 1)
    assert pipeline.run("--contracts", fixed)[0] == 0
    assert books(pipeline) == (42, 2, 0, 0, 44)
    code, report, log = batch(pipeline, "replay-dead-letters", "--contracts", fixed)
    assert (code, report["inserted"], report["marked"]) == (0, 0, 0), log


@pytest.mark.parametrize("is_fixed", [True, False], ids=["the contract is still fixed", "the contract went back"])
def test_replayed_letters_are_decided_anew_if_the_bronze_table_is_read_again(
    pipeline: Pipeline, tmp_path: Path, is_fixed: bool
) -> None:
    pipeline.create_topic()
    send(pipeline.producer(), [event(0), event(1, sessionId="1"), event(2)])
    assert pipeline.run()[0] == 0
    fixed = texts_for_sessions(tmp_path / "contracts")
    assert batch(pipeline, "replay-dead-letters", "--contracts", fixed)[1]["inserted"] == 1
    open_catalog(pipeline.environment).drop_table(f"streamify.{TABLE}")

    code, log = pipeline.run(*(["--contracts", fixed] if is_fixed else []))

    assert code == 0, log
    assert books(pipeline) == ((3, 0, 0, 0, 3) if is_fixed else (2, 1, 0, 0, 3))


def test_letters_are_replayed_while_a_worker_commits(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.create_topic()
    producer = pipeline.producer()
    send(producer, [event(number, sessionId=str(number)) for number in range(50)])
    assert pipeline.run()[0] == 0
    fixed = texts_for_sessions(tmp_path / "contracts")
    worker = pipeline.worker("--freshness", "200ms", "--contracts", fixed)
    try:
        for first in range(100, 400, 20):
            send(producer, [event(number) for number in range(first, first + 20)])
            code, report, log = batch(pipeline, "replay-dead-letters", "--contracts", fixed)
            assert code == 0, log
            assert report["pending"] == 0
    finally:
        worker.terminate()
        _, log = worker.communicate(timeout=SECONDS)
    assert worker.returncode == 0, log
    assert pipeline.run("--contracts", fixed)[0] == 0
    assert pipeline.sessions() == [*range(50), *range(100, 400)]
    assert books(pipeline) == (350, 0, 0, 0, 350)


# --- ranges -----------------------------------------------------------------------------------------------------------


def on_day(number: int, day: int, **changes: object) -> dict[str, object]:
    """An event of the given day after the start."""
    return event(number, ts=int(START.timestamp() * 1000) + day * DAY_MS + number * 1000, **changes)


def fill(pipeline: Pipeline, days: Sequence[int] = (0, 1, 2, 3)) -> None:
    """Five events per day in each of two partitions, with a field that the contract does not know."""
    pipeline.create_topic(partitions=2)
    for partition in range(2):
        send(
            pipeline.producer(),
            [on_day(100 * partition + 10 * day + n, day, plan="p") for day in days for n in range(5)],
            partition,
        )
    code, log = pipeline.run()
    assert code == 0, log


def with_plan(folder: Path) -> str:
    """Contracts that know the field."""
    field = '[[fields]]\nname = "plan"\ntype = "string"\ndoc = "Plan."\n\n[[fields]]\nname = "ts"\n'
    return corrected(folder, ('[[fields]]\nname = "ts"\n', field))


def plans(pipeline: Pipeline) -> dict[int, set[object]]:
    """The values of the new column by day after the start."""
    found: dict[int, set[object]] = {}
    for row in pipeline.table().scan().to_arrow().to_pylist():
        found.setdefault((row["event_date"] - START.date()).days, set()).add(row.get("plan"))
    return found


def test_days_read_again_with_another_contract_are_swapped_in_one_commit(pipeline: Pipeline, tmp_path: Path) -> None:
    fill(pipeline)
    everything = pipeline.sessions()
    pipeline.table().delete("sessionId == 11")
    state = pipeline.table().properties["streamify.state"]
    fixed = with_plan(tmp_path / "contracts")
    days = ("--replay-into", "again", "--event-times", "2026-09-22..2026-09-23", "--contracts", fixed)

    code, log = pipeline.run(*days)

    assert code == 0, log
    before = pipeline.table().metadata_location
    code, report, log = batch(pipeline, "swap", "again", "--dry-run", "--contracts", fixed)
    assert code == 0, log
    assert report["total"] == {"equal": 0, "differing": 19, "missing": 1, "extra": 0}
    assert report["partitions"]["2026-09-22"] == {"equal": 0, "differing": 9, "missing": 1, "extra": 0}
    assert pipeline.table().metadata_location == before, "a dry run changed something"

    snapshots = len(pipeline.table().metadata.snapshots)
    code, report, log = batch(pipeline, "swap", "again", "--contracts", fixed)

    assert code == 0, log
    assert len(pipeline.table().metadata.snapshots) == snapshots + 1
    assert pipeline.sessions() == everything
    assert plans(pipeline) == {0: {None}, 1: {"p"}, 2: {"p"}, 3: {None}}
    assert pipeline.table().properties["streamify.state"] == state
    files = pipeline.table().inspect.files()["file_path"].to_pylist()
    assert all(path.startswith(pipeline.table().location()) for path in files)
    code, report, log = batch(pipeline, "swap", "again", "--contracts", fixed)
    assert (code, report["snapshot_id"], report["total"]["equal"]) == (0, None, 20), log
    send(pipeline.producer(), [on_day(900, 1, plan="q")])
    assert pipeline.run("--contracts", fixed)[0] == 0
    assert pipeline.sessions() == [*everything, 900]


def test_a_replay_reads_exactly_its_offsets_and_goes_on_where_it_is(pipeline: Pipeline, tmp_path: Path) -> None:
    fill(pipeline)
    replay = ("--replay-into", "again", "--from-offsets", "0:3-11,1:0-0")

    assert pipeline.run(*replay)[0] == 0
    assert pipeline.run(*replay)[0] == 0

    rows = open_catalog(pipeline.environment).load_table("streamify.again").scan().to_arrow().to_pylist()
    places = sorted((row["_kafka_partition"], row["_kafka_offset"]) for row in rows)
    assert places == [*((0, offset) for offset in range(3, 12)), (1, 0)]
    code, report, log = batch(pipeline, "swap", "again")
    assert code == 0, log
    assert report["total"] == {"equal": 10, "differing": 0, "missing": 0, "extra": 0}
    assert report["snapshot_id"] is None
    code, log = pipeline.run("--replay-into", "again", "--from-offsets", "0:3-12")
    assert code == 2, log
    assert "made for another replay" in log
    assert len(pipeline.sessions()) == 40, "the topic's table was written to"


def test_offsets_that_share_files_with_others_are_swapped_alone(pipeline: Pipeline, tmp_path: Path) -> None:
    fill(pipeline)
    everything = pipeline.sessions()
    fixed = with_plan(tmp_path / "contracts")
    assert pipeline.run("--replay-into", "again", "--from-offsets", "0:3-6", "--contracts", fixed)[0] == 0

    code, report, log = batch(pipeline, "swap", "again", "--contracts", fixed)

    assert code == 0, log
    assert (report["total"]["differing"], report["rows_kept"]) == (4, 16)
    assert pipeline.sessions() == everything
    rows = pipeline.table().scan().to_arrow().to_pylist()
    assert {(row["_kafka_partition"], row["_kafka_offset"]) for row in rows if row["plan"]} == {
        (0, offset) for offset in range(3, 7)
    }


def test_rows_that_only_the_target_has_stop_a_swap_until_their_loss_is_accepted(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.create_topic()
    without = {name: value for name, value in event(1).items() if name != "city"}
    send(pipeline.producer(), [event(0), without, event(2)])
    assert pipeline.run()[0] == 0
    strict = corrected(
        tmp_path / "contracts", ('name = "city"\ntype = "string"\n', 'name = "city"\ntype = "string"\nrequired = true\n')
    )
    assert pipeline.run("--replay-into", "again", "--from-offsets", "0:0-2", "--contracts", strict)[0] == 0

    code, _, log = batch(pipeline, "swap", "again")

    assert code == 3, log
    assert "lacks 1 rows" in log
    assert pipeline.sessions() == [0, 1, 2]
    code, report, log = batch(pipeline, "swap", "again", "--accept-loss")
    assert (code, report["total"]["extra"]) == (0, 1), log
    assert pipeline.sessions() == [0, 2]


def test_both_jobs_in_this_process_do_the_same(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.create_topic()
    send(pipeline.producer(), [event(0), event(1, sessionId="1"), event(2)])
    assert pipeline.run()[0] == 0
    fixed = texts_for_sessions(tmp_path / "contracts")
    env = {**pipeline.environment, "STREAMIFY_CONTRACTS": fixed}

    counted = _native.replay_dead_letters(days="2020-01-01..2099-12-31", dry_run=True, env=env)
    assert (counted["inserted"], counted["topics"][TOPIC]["wrong_type"]["good"]) == (0, 1)
    assert _native.replay_dead_letters(topics=[TOPIC], reasons=["wrong_type"], env=env)["inserted"] == 1
    assert pipeline.sessions() == [0, 1, 2]

    pipeline.table().delete("sessionId == 2")
    assert pipeline.run("--replay-into", "again", "--from-offsets", "0:0-2", "--contracts", fixed)[0] == 0
    assert _native.swap("again", dry_run=True, env=env)["total"] == {"equal": 2, "differing": 0, "missing": 1, "extra": 0}
    assert _native.swap("again", env=env)["target"] == TABLE
    assert pipeline.sessions() == [0, 1, 2]
    with pytest.raises(_native.TableError, match="unknown"):
        _native.swap("unknown", env=env)


def test_ranges_that_cannot_be_read_are_refused(pipeline: Pipeline) -> None:
    fill(pipeline)
    pipeline.admin.delete_records([TopicPartition(TOPIC, 0, 4)])[TopicPartition(TOPIC, 0)].result(SECONDS)

    for range_, told in (("0:3-9", "3 is gone"), ("0:5-20", "at offset 19"), ("7:0-1", "no partition 7")):
        code, log = pipeline.run("--replay-into", "again", "--from-offsets", range_)
        assert code == 2, log
        assert told in log
    code, log = pipeline.run("--replay-into", TABLE, "--from-offsets", "0:5-9")
    assert code == 2, log


def test_a_swap_while_a_worker_writes_the_same_days_loses_nothing(pipeline: Pipeline, tmp_path: Path) -> None:
    fill(pipeline)
    fixed = with_plan(tmp_path / "contracts")
    assert pipeline.run("--replay-into", "again", "--event-times", "2026-09-22", "--contracts", fixed)[0] == 0
    worker = pipeline.worker("--freshness", "200ms", "--contracts", fixed)
    try:
        for turn in range(5):
            send(pipeline.producer(), [on_day(1000 + 10 * turn + n, 1, plan="q") for n in range(10)])
            code, _, log = batch(pipeline, "swap", "again", "--contracts", fixed)
            assert code == 0, log
    finally:
        worker.terminate()
        _, log = worker.communicate(timeout=SECONDS)
    assert worker.returncode == 0, log
    assert pipeline.run("--contracts", fixed)[0] == 0

    assert len(pipeline.sessions()) == len(set(pipeline.sessions())) == 90
    assert plans(pipeline)[1] == {"p", "q"}
