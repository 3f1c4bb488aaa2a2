"""The books of a bronze table: an offset is a row, a dead letter or a record the broker passed over, and is covered once."""

from collections.abc import Iterator, Mapping
from typing import Any

from dagster_project.lib.checks.bronze_history import Entry, History, Span, history_of
from dagster_project.lib.checks.verdict import NUM_SHOWN, Look, Verdict
from dagster_project.lib.contracts import Contract
from dagster_project.lib.lake import load_table, state_of

Offending = Mapping[str, str | int | float | bool | None]
Place = tuple[int, int]


def ledger_closes(look: Look, contract: Contract) -> Verdict:
    """In every kept commit offsets = received + skipped and received = rows + dead letters; and nobody else wrote."""
    history = history_of(load_table(look.environ, contract.table))
    wrong = [{"snapshot_id": str(entry.snapshot_id), "why": why} for entry, why in _faults(history)]
    sums = {name: history.total(name) for name in ("offsets", "received", "rows", "dead_letters", "skipped_by_broker")}
    return Verdict(
        passed=not wrong,
        text=f"{len(wrong)} of {len(history.entries):,} kept snapshots do not close; {sums['received']:,} records received are "
        f"{sums['rows']:,} rows and {sums['dead_letters']:,} dead letters",
        metadata={
            "value": len(wrong),
            "limit": 0,
            "unaccounted": sums["received"] - sums["rows"] - sums["dead_letters"],
            "commits": len(history.commits),
            **sums,
        },
        offending=wrong[:NUM_SHOWN],
    )


def _faults(history: History) -> Iterator[tuple[Entry, str]]:
    for number, entry in enumerate(history.entries):
        if not entry.is_ours:
            is_adopted = any(later.is_adoption for later in history.entries[number:])
            if entry.changes_rows and not is_adopted:
                yield entry, f"another program changed rows ({entry.added_rows} added)"
        elif why := _fault(entry):
            yield entry, why


def _fault(entry: Entry) -> str | None:
    books = entry.ledger
    if not books:
        return None
    if books["received"] != books["rows"] + books["dead_letters"]:
        return f"{books['received']} received are not {books['rows']} rows + {books['dead_letters']} dead letters"
    if books["offsets"] != books["received"] + books["skipped_by_broker"]:
        return f"{books['offsets']} offsets are not {books['received']} received + {books['skipped_by_broker']} skipped"
    if books["rows"] != entry.added_rows:
        return f"the books have {books['rows']} rows, the files {entry.added_rows}"
    covered = sum(span.end - span.start for span in entry.spans)
    if books["offsets"] != covered:
        return f"the books have {books['offsets']} offsets, the ranges {covered}"
    return None


def offsets_are_contiguous(look: Look, contract: Contract) -> Verdict:
    """Offset ranges of the kept commits follow each other without hole or overlap, up to where the table says it stands."""
    table = load_table(look.environ, contract.table)
    history = history_of(table)
    ends: dict[Place, int] = {}
    wrong: list[Offending] = []
    gaps: list[Offending] = []
    for entry in history.entries:
        for span in entry.spans:
            wrong += _breaks(entry, span, ends.get((span.epoch, span.partition)))
            gaps += _gaps(entry, span)
            ends[span.epoch, span.partition] = span.end
    wrong += _ends_elsewhere(state_of(table), contract.topic, ends)
    missing = sum(int(str(gap["records"])) for gap in gaps)
    return Verdict(
        passed=not wrong,
        text=f"{len(wrong)} holes or overlaps in {len(ends)} partitions over {len(history.commits):,} kept commits; "
        f"{missing:,} records were gone before they could be read, as recorded in {len(gaps)} accepted gaps",
        metadata={
            "value": len(wrong),
            "limit": 0,
            "partitions": len(ends),
            "gaps": len(gaps),
            "gap_records": missing,
            **{f"gap_{number}": _shown(gap) for number, gap in enumerate(gaps[-NUM_SHOWN:], start=1)},
        },
        offending=wrong[:NUM_SHOWN],
    )


def _breaks(entry: Entry, span: Span, before: int | None) -> Iterator[Offending]:
    if before is not None and span.expected != before:
        kind = "hole" if span.expected is None or span.expected > before else "overlap"
        yield _break(kind, span, before, str(entry.snapshot_id))
    elif span.expected is not None and span.start < span.expected:
        yield _break("overlap", span, span.expected, str(entry.snapshot_id))
    elif span.expected not in (None, span.start) and entry.gaps.get(span.partition) != (span.expected, span.start):
        yield _break("hole", span, span.expected or 0, str(entry.snapshot_id))


def _break(kind: str, span: Span, before: int, snapshot_id: str) -> Offending:
    place = {"epoch": span.epoch, "partition": span.partition, "ended_at": before, "goes_on_at": span.start}
    return {"kind": kind, **place, "snapshot_id": snapshot_id}


def _gaps(entry: Entry, span: Span) -> Iterator[Offending]:
    if gap := entry.gaps.get(span.partition):
        place = {"epoch": span.epoch, "partition": span.partition, "from": gap[0], "to": gap[1]}
        yield {**place, "records": gap[1] - gap[0], "snapshot_id": str(entry.snapshot_id)}


def _ends_elsewhere(state: Mapping[str, Any], topic: str, ends: Mapping[Place, int]) -> Iterator[Offending]:
    """Where the table's own state disagrees with the last kept range of a partition."""
    of_topic = state.get("topics", {}).get(topic, {})
    for epoch in [*of_topic.get("past", []), *([of_topic["current"]] if of_topic else [])]:
        for partition, offset in epoch["next"].items():
            end = ends.get((epoch["epoch"], int(partition)))
            if end is not None and end != offset:
                place = {"epoch": epoch["epoch"], "partition": int(partition), "ended_at": end, "goes_on_at": offset}
                yield {"kind": "hole" if offset > end else "overlap", **place, "snapshot_id": "state of the table"}


def _shown(gap: Offending) -> str:
    return f"epoch {gap['epoch']} partition {gap['partition']}: [{gap['from']}, {gap['to']})"
