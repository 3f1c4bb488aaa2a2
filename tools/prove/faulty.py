"""Claims about faults: each one that the truth lists is found by the worker as what it must become, at its offset."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import duckdb

from dagster_project.lib.paths import find_binary
from tools.prove.claims import Claim, at_least, equal
from tools.prove.generator import TOPICS, clean_environment, made, window
from tools.prove.tables import DEAD_LETTERS, open_catalog
from tools.stack import Stack, StackOptions

#: Every case that is injected; the others are in every run, or no producer can cause them.
INJECTED = ("D1", "D2", "D3", "D4", "D7", "D10", "D12", "D14", "D15", "D16", "D17", "D19", "D20", "D21", "D23")
#: Whether what landed at a listed delivery's offset is the row, of the run, or the dead letter that the list says.
AS_LISTED = (
    "l.event_id is not distinct from f.row_id and l.reason is not distinct from f.reason "
    "and (f.reason is not null or l.run_id = f.run_id)"
)
#: The giants of D23 among them: too few to be there by chance.
GIANTS = "D23.giant=0.0002"


def run(folder: Path, users: int, seed: int) -> Iterator[Claim]:
    """Generates into real Kafka, lands it with the worker, and compares the tables with the truth."""
    with Stack(folder / "stack", StackOptions(only=("kafka",))) as stack:
        environment = stack.environment() | {"STREAMIFY_HOME": str(folder / "home")}
        servers = environment["KAFKA_BOOTSTRAP_SERVERS"]
        faults = ["--fault", "all", "--fault", "D14=0.005", "--fault", GIANTS]
        # With one partition the number of a delivery in its topic is its offset.
        destination = ["--bootstrap-servers", servers, "--partitions", "1", "--truth", str(folder / "truth")]
        made(*window(users, 14, seed), *faults, *destination, folder=folder)
        with (folder / "worker.log").open("wb") as log:
            command = [str(find_binary("streamify-stream", os.environ)), "--until", "caught-up"]
            code = subprocess.run(command, env=clean_environment() | environment, stdout=log, stderr=log, check=False).returncode
        yield equal("faults: exit code of the worker", code, 0)
        yield from _compare(_load(environment, folder / "truth"))


def _load(environment: dict[str, str], truth: Path) -> duckdb.DuckDBPyConnection:
    """Puts the tables and the truth into one database."""
    catalog = open_catalog(environment)
    database = duckdb.connect()
    columns = ("event_id", "_run_id", "_kafka_offset", "sessionId", "itemInSession", "ts", "userId")
    for topic in TOPICS:
        more = {"page_view_events": ("page", "auth")}.get(topic, ())
        rows = catalog.load_table(f"streamify.bronze_{topic}").scan(selected_fields=(*columns, *more)).to_arrow()
        database.register(topic, rows)
    letters = catalog.load_table(f"streamify.{DEAD_LETTERS}")
    database.register("letters", letters.scan(selected_fields=("topic", "offset", "reason")).to_arrow())
    for table in ("topics", "sessions", "churners", "plays", "faults"):
        database.execute(f"create view {table} as select * from read_parquet('{truth}/{table}.parquet')")
    landed = " union all ".join(
        f"select '{topic}' as topic, _kafka_offset as place, event_id, _run_id as run_id, null as reason from {topic}"
        for topic in TOPICS
    )
    database.execute(f'create table landed as {landed} union all select topic, "offset", null, null, reason from letters')
    return database


def _compare(database: duckdb.DuckDBPyConnection) -> Iterator[Claim]:
    for topic in TOPICS:
        found = _one(
            database,
            f"select count(event_id), count(*) - count(event_id), count(distinct event_id) from landed where topic = '{topic}'",
        )
        said = _one(database, f"select rows, dead_letters, distinct_events from topics where topic = '{topic}'")
        yield equal(f"faults: {topic}: rows, dead letters, distinct events", found, said)
    for case in INJECTED:
        listed, met = _one(
            database,
            f"select count(*), count(*) filter ({AS_LISTED}) from faults f left join landed l "
            f"on l.topic = f.topic and l.place = f.ordinal where fault = '{case}'",
        )
        yield at_least(f"faults: {case}: deliveries listed", listed, 1)
        yield equal(f"faults: {case}: found at their offsets as what they must become", met, listed)
    yield equal("faults: rows and dead letters that nobody listed and that are no event", _unlisted(database), 0)
    yield equal("faults: true sessions that the tables show otherwise", _differing_sessions(database), 0)
    churners = "select _run_id, userId, min(ts) from page_view_events where auth = 'Cancelled' group by all"
    yield equal(
        "faults: churners that the tables show otherwise",
        _differing(database, churners, "select run_id, user_id, ts_ms from churners"),
        0,
    )
    plays = "select _run_id, count(distinct event_id) from listen_events group by all"
    yield equal(
        "faults: runs whose plays differ", _differing(database, plays, "select run_id, sum(plays) from plays group by all"), 0
    )


def _unlisted(database: duckdb.DuckDBPyConnection) -> int:
    """Deliveries beyond one per event of the run that carry no fault."""
    (count,) = _one(
        database,
        "select count(*) - count(distinct event_id) from landed l "
        "where not exists (select 1 from faults f where f.topic = l.topic and f.ordinal = l.place)",
    )
    return count


def _differing_sessions(database: duckdb.DuckDBPyConnection) -> int:
    sessions = (
        "select run_id, sessionId, min(ts), max(ts), min(itemInSession), count(*), "
        "count(*) filter (page = 'NextSong'), count(*) - count(userId) from ("
        "select distinct event_id, _run_id as run_id, sessionId, ts, itemInSession, page, userId from page_view_events"
        ") group by all"
    )
    truth = "select run_id, session_id, start_ms, end_ms, first_item, num_pages, num_songs, num_anonymous from sessions"
    return _differing(database, sessions, truth)


def _differing(database: duckdb.DuckDBPyConnection, left: str, right: str) -> int:
    (only_left,) = _one(database, f"select count(*) from ({left} except {right})")
    (only_right,) = _one(database, f"select count(*) from ({right} except {left})")
    return only_left + only_right


def _one(database: duckdb.DuckDBPyConnection, query: str) -> tuple[int, ...]:
    row = database.execute(query).fetchone()
    if row is None:
        raise RuntimeError(f"no answer to {query}")
    return tuple(int(cell) for cell in row)
