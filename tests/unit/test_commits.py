"""What snapshots tell of commits: sums that do not depend on how the reporting was divided."""

import json
import random
from dataclasses import dataclass, field

import pytest
from pyiceberg.table.snapshots import Operation, Snapshot, Summary

from dagster_project.lib.commits import Cursor, OffsetRange, is_commit, lineage, newer_than, totals_of

UUID = "a-table"
TOPIC = "listen_events"


def make(number: int, operation: Operation = Operation.APPEND, parent: int | None = -1, **summary: object) -> Snapshot:
    """Snapshot `number`, on the one before; entries of the summary that are no texts become JSON."""
    entries = {name: value if isinstance(value, str) else json.dumps(value) for name, value in summary.items()}
    return Snapshot(
        snapshot_id=number,
        parent_snapshot_id=number - 1 if parent == -1 else parent,
        sequence_number=number,
        timestamp_ms=1_000 * number,
        manifest_list="",
        summary=Summary(operation, **entries),
    )


def ours(number: int, rows: int, spans: dict[int, tuple[int, int]], dead: int = 0, skipped: int = 0, **more: object) -> Snapshot:
    """A commit of the worker."""
    advance = {
        "topic": TOPIC,
        "epoch": more.pop("epoch", 0),
        "source": {"cluster_id": "c"},
        "spans": {str(partition): {"expected": start, "start": start, "end": end} for partition, (start, end) in spans.items()},
    }
    ledger = {"received": rows + dead, "rows": rows, "dead_letters": dead, "skipped_by_broker": skipped}
    files = {"added-data-files": "2", "added-records": str(rows), "added-files-size": str(rows * 10)} if rows else {}
    return make(number, **{"streamify.changes": [{"Advance": advance}], "streamify.ledger": ledger}, **files, **more)


def lease(number: int, **more: object) -> Snapshot:
    """A writer says that it is there."""
    return make(number, **{"streamify.leases": "[]", "streamify.changes": "[]", "total-records": "7"}, **more)


def compaction(number: int) -> Snapshot:
    """The same rows in other files."""
    counts = {"added-records": "50", "deleted-records": "50", "added-data-files": "1", "deleted-data-files": "9"}
    return make(number, Operation.REPLACE, **{"streamify.changes": "[]"}, **counts)


def test_a_commit_is_what_changes_rows_or_offsets():
    foreign = make(4, **{"added-records": "5", "added-data-files": "1"})
    only_dead = ours(5, 0, {0: (0, 3)}, dead=3)

    assert [is_commit(one) for one in (ours(1, 3, {0: (0, 3)}), lease(2), compaction(3), foreign, only_dead)] == [
        True,
        False,
        False,
        True,
        True,
    ]


def test_the_books_of_several_commits_are_added_up():
    totals = totals_of(
        [
            ours(1, 3, {0: (0, 4)}, dead=1),
            lease(2),
            ours(3, 5, {0: (4, 9), 1: (7, 9)}, dead=1, skipped=1, **{"streamify.dagster-run-id": "run-a"}),
            compaction(4),
            make(5, Operation.OVERWRITE, **{"added-records": "4", "deleted-records": "6", "added-data-files": "1"}),
        ]
    )

    assert (totals.commits, totals.rows, totals.files, totals.size_bytes) == (3, 6, 5, 80)
    assert totals.ledger == {"received": 10, "dead_letters": 2, "skipped_by_broker": 1}
    assert totals.unaccounted == 0
    assert totals.offsets == [OffsetRange(TOPIC, 0, 0, 0, 9), OffsetRange(TOPIC, 1, 0, 7, 9)]
    assert totals.run_ids == ["run-a"]
    assert (totals.oldest.snapshot_id, totals.newest.snapshot_id) == (1, 5)


def test_a_lost_record_would_show():
    lost = {"offsets": 5, "received": 5, "rows": 3, "dead_letters": 1, "skipped_by_broker": 0}

    assert totals_of([make(1, **{"streamify.ledger": lost})]).unaccounted == 1


def test_a_new_epoch_has_offsets_of_its_own():
    totals = totals_of([ours(1, 3, {0: (0, 3)}), ours(2, 1, {0: (0, 1)}, epoch=1)])

    assert totals.offsets == [OffsetRange(TOPIC, 0, 0, 0, 3), OffsetRange(TOPIC, 0, 1, 0, 1)]


def test_what_was_rolled_back_is_not_reported_again_and_what_came_after_is():
    line = lineage([make(1, parent=None), make(2), make(3), make(4, parent=2)], head_id=4)

    assert [one.snapshot_id for one in line] == [1, 2, 4]
    assert [one.snapshot_id for one in newer_than(line, Cursor(3, 3, UUID), UUID)] == [4]


@pytest.mark.parametrize(
    ("cursor", "new"),
    [
        pytest.param(None, [5, 6, 7], id="never reported"),
        pytest.param(Cursor(5), [6, 7], id="the cursor's number is looked up"),
        pytest.param(Cursor(3, 3, UUID), [5, 6, 7], id="expired, and more with it"),
        pytest.param(Cursor(6, 6, UUID), [7], id="between"),
        pytest.param(Cursor(3), [5, 6, 7], id="expired, number unknown"),
        pytest.param(Cursor(9, 9, "another table"), [5, 6, 7], id="of a table of the same name that was dropped"),
        pytest.param(Cursor(7, 7, UUID), [], id="nothing new"),
        pytest.param(Cursor(8, 8, UUID), [], id="the metadata at hand are older than the cursor"),
    ],
)
def test_new_is_what_is_after_the_cursor(cursor, new):
    line = lineage([make(number) for number in (5, 6, 7)], head_id=7)

    assert [one.snapshot_id for one in newer_than(line, cursor, UUID)] == new


@dataclass
class Sums:
    """A naive account: every commit by itself, in the words of the generator."""

    rows: int = 0
    received: int = 0
    dead: int = 0
    commits: int = 0
    offsets: set[tuple[int, int]] = field(default_factory=set)


def history(seeded: random.Random, length: int) -> tuple[list[Snapshot], list[Sums]]:
    """Random snapshots, and for each what it alone brings."""
    snapshots, brings, at = [], [], {0: 0, 1: 0, 2: 0}
    for number in range(1, length + 1):
        kind = seeded.choice(["ours", "ours", "ours", "lease", "compaction"])
        brought = Sums()
        if kind == "ours":
            spans = {}
            for partition in seeded.sample(sorted(at), seeded.randint(1, 3)):
                end = at[partition] + seeded.randint(1, 5)
                spans[partition] = (at[partition], end)
                brought.offsets |= {(partition, offset) for offset in range(at[partition], end)}
                at[partition] = end
            brought.received = len(brought.offsets)
            brought.dead = seeded.randint(0, brought.received)
            brought.rows = brought.received - brought.dead
            brought.commits = 1
            snapshots.append(ours(number, brought.rows, spans, dead=brought.dead))
        else:
            snapshots.append(lease(number) if kind == "lease" else compaction(number))
        brings.append(brought)
    return snapshots, brings


@pytest.mark.parametrize("seed", range(60))
def test_however_the_reports_divide_a_history_they_tell_each_commit_once(seed):
    seeded = random.Random(seed)
    snapshots, brings = history(seeded, 40)
    cursor, told, ranges = None, Sums(), []
    heads = sorted({*seeded.sample(range(1, 41), seeded.randint(0, 12)), 40})
    for head in heads:
        oldest_kept = seeded.randint(1, cursor.snapshot_id + 1 if cursor else 1)  # expiry never reaches what is not reported
        line = lineage(snapshots[oldest_kept - 1 : head], head)
        totals = totals_of(newer_than(line, cursor, UUID))
        if totals.newest is None:
            continue
        told.rows += totals.rows
        told.received += totals.ledger["received"]
        told.dead += totals.ledger["dead_letters"]
        told.commits += totals.commits
        ranges += [(one.partition, offset) for one in totals.offsets for offset in range(one.start, one.end)]
        cursor = Cursor(head, head, UUID)

    assert told.rows == sum(one.rows for one in brings)
    assert told.received == sum(one.received for one in brings)
    assert told.dead == sum(one.dead for one in brings)
    assert told.commits == sum(one.commits for one in brings)
    assert len(ranges) == len(set(ranges)), "an offset was told twice"
    assert set(ranges) == set().union(*(one.offsets for one in brings))
