"""Claims about the truth: what it says is what a plain reader counts in the files of the same run."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tools.prove.claims import Claim, at_least, equal
from tools.prove.generator import TOPICS, made, window

#: Faults that leave every line an event of this one run, and no text changed.
FAULTS = ("D7", "D12", "D17", "D19")


def run(folder: Path, users: int, seed: int) -> Iterator[Claim]:
    """Generates with and without faults, and recounts both."""
    for name, faults in (("clean", ()), ("with " + ", ".join(FAULTS), FAULTS)):
        out, truth = folder / f"out-{len(faults)}", folder / f"truth-{len(faults)}"
        arguments = [word for fault in faults for word in ("--fault", f"{fault}=0.05")]
        made(*window(users, 14, seed), *arguments, "--out", str(out), "--truth", str(truth), folder=folder)
        yield from claims(f"truth, {name}", out, truth)


def claims(name: str, out: Path, truth: Path) -> Iterator[Claim]:
    """Recounts the files in `out` and holds the tables in `truth` against them."""
    events = {topic: _events(out / f"{topic}.jsonl") for topic in TOPICS}
    topics = {row["topic"]: row for row in rows(truth, "topics")}
    for topic in TOPICS:
        lines, distinct = len(events[topic]), len(_distinct(events[topic]))
        said = topics[topic]
        yield equal(
            f"{name}: {topic}: deliveries, distinct events", (lines, distinct), (said["deliveries"], said["distinct_events"])
        )
    pages = list(_distinct(events["page_view_events"]).values())
    found, known = _sessions(pages)
    said_sessions = rows(truth, "sessions")
    expected = {row["session_id"]: _cells(row) for row in said_sessions}
    yield equal(f"{name}: sessions, and those that differ", (len(found), _differing(found, expected)), (len(expected), 0))
    users = {row["session_id"]: row["user_id"] for row in said_sessions}
    wrong = sum(users[session] != user for session, user in known.items())
    yield equal(f"{name}: sessions with another user than their events name", wrong, 0)
    people = {row["session_id"]: row["num_anonymous"] for row in rows(truth, "people")}
    anonymous = {session: cells[5] for session, cells in found.items() if cells[5]}
    yield equal(
        f"{name}: sessions with anonymous events, and those that differ",
        (len(anonymous), _differing(anonymous, people)),
        (len(people), 0),
    )
    yield at_least(f"{name}: people whom no event names, but the truth does", len(people.keys() - known.keys()), 1)
    plays = Counter((event["artist"], event["song"]) for event in _distinct(events["listen_events"]).values())
    said_plays: Counter[tuple[str, str]] = Counter()
    for row in rows(truth, "plays"):
        said_plays[row["artist"], row["song"]] += row["plays"]
    yield equal(f"{name}: plays, and songs that differ", (plays.total(), _differing(plays, said_plays)), (said_plays.total(), 0))
    churners: dict[int, int] = {}
    for event in sorted(pages, key=lambda event: -event["ts"]):
        if event["auth"] == "Cancelled":
            churners[int(event["userId"])] = event["ts"]
    said_churners = {row["user_id"]: row["ts_ms"] for row in rows(truth, "churners")}
    yield equal(
        f"{name}: churners, and those that differ", (len(churners), _differing(churners, said_churners)), (len(said_churners), 0)
    )


def rows(truth: Path, table: str) -> list[dict[str, Any]]:
    """Returns the rows of a table of the truth."""
    read: list[dict[str, Any]] = pq.read_table(truth / f"{table}.parquet").to_pylist()
    return read


def _events(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _distinct(events: list[dict[str, Any]]) -> dict[tuple[int, int], dict[str, Any]]:
    """Events of one topic and one run, second deliveries left out."""
    return {(event["sessionId"], event["itemInSession"]): event for event in events}


def _sessions(pages: list[dict[str, Any]]) -> tuple[dict[int, tuple[int, ...]], dict[int, int]]:
    """Returns start, end, first item, pages, songs and anonymous pages of each session, and the user where an event names one."""
    by_session: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for event in pages:
        by_session[event["sessionId"]].append(event)
    found: dict[int, tuple[int, ...]] = {}
    known: dict[int, int] = {}
    for session, events in by_session.items():
        times = [event["ts"] for event in events]
        users = [int(event["userId"]) for event in events if event.get("userId")]
        songs = sum(event["page"] == "NextSong" for event in events)
        first = min(event["itemInSession"] for event in events)
        found[session] = (min(times), max(times), first, len(events), songs, len(events) - len(users))
        if users:
            known[session] = users[0]
    return found, known


def _cells(row: dict[str, Any]) -> tuple[int, ...]:
    names = ("start_ms", "end_ms", "first_item", "num_pages", "num_songs", "num_anonymous")
    return tuple(row[name] for name in names)


def _differing(found: Any, expected: Any) -> int:  # noqa: ANN401 - any two mappings
    return sum(found.get(key) != expected.get(key) for key in found.keys() | expected.keys())
