"""The columns of silver, as Dagster shows them: one table per contract, and the sessions.

The batch program makes them from the same contracts; this is their second place, for display only, and compared with real tables
by a test.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from dagster_project.lib.contracts import Column, Contract

SESSIONS_TABLE = "silver_user_sessions"

_ADOPTED = "Null in rows taken over from an older pipeline that did not keep it."
_HEAD = (
    Column("event_id", "string", "Identity of the event, 32 lower-case hex digits; one row each.", nullable=False),
    Column("event_ts", "timestamptz", "Event time, UTC.", nullable=False),
    Column("event_date", "date", "Date of the event time, UTC; the partition.", nullable=False),
    Column("run_id", "string", "Producer run; sessions and users are numbered within it. Null where the producer named none."),
)
_TAIL = (
    Column("_kafka_partition", "int", f"Kafka partition of the delivery that was consumed first. {_ADOPTED}"),
    Column("_kafka_offset", "long", f"Kafka offset of the delivery that was consumed first. {_ADOPTED}"),
    Column("_kafka_timestamp", "timestamptz", "Kafka timestamp of that record, UTC."),
    Column("_source_epoch", "int", f"Source epoch of the delivery that was consumed first. {_ADOPTED}"),
    Column("_payload_hash", "int", "32-bit hash of the payload; tells deliveries of one event that disagree.", nullable=False),
    Column("_processed_at", "timestamptz", "When this row was made, UTC.", nullable=False),
    Column("_extras", "string", "JSON object of the fields the contract does not know."),
)

SESSION_COLUMNS = (
    Column(
        "session_key", "string", "Identity of the session, 32 hex digits, from its person and its first event.", nullable=False
    ),
    Column("session_date", "date", "UTC date of the first event.", nullable=False),
    Column("run_id", "string", "Producer run; part of the identity of people."),
    Column("user_id", "long", "Number of the user within the run; null for a visitor whom nothing names.", personal=True),
    Column("session_ids", "list<long>", "Numbers of the producer's sessions that the events are of, ascending.", nullable=False),
    Column("started_at", "timestamptz", "Time of the first event, UTC.", nullable=False),
    Column("ended_at", "timestamptz", "Time of the last event, UTC.", nullable=False),
    Column("duration_ms", "long", "From the first event to the last; 0 for a single event.", nullable=False, unit="ms"),
    Column(
        "event_count",
        "int",
        "Events: listens, page views without songs, logins and status changes.",
        nullable=False,
    ),
    Column("listen_count", "int", "Songs that were played; each once, though two topics tell of it.", nullable=False),
    Column("page_view_count", "int", "Pages that were entered, without songs.", nullable=False),
    Column("auth_event_count", "int", "Login results.", nullable=False),
    Column("status_change_count", "int", "Requested upgrades and downgrades.", nullable=False),
    Column(
        "listen_seconds",
        "double",
        "Sum of the lengths of the songs played; not the time of listening.",
        nullable=False,
        unit="s",
    ),
    Column(
        "songs",
        "list<string>",
        "Title of each listen in order of time; empty text where the event has none.",
        nullable=False,
    ),
    Column(
        "artists",
        "list<string>",
        "Artist of each listen in order of time; empty text where the event has none.",
        nullable=False,
    ),
    Column("pages", "list<string>", "Page of each page view in order of time, without songs.", nullable=False),
    Column("level_at_start", "string", "First subscription level that an event tells: `free` or `paid`."),
    Column("level_at_end", "string", "Last level that an event tells; after a status change its new level."),
    Column(
        "level_changed",
        "boolean",
        "Whether the level changed within the session, even if it changed back.",
        nullable=False,
    ),
    Column("city", "string", "City of the first event."),
    Column("state", "string", "US state of the first event, two letters."),
    Column("first_item", "int", "Position of the first event in its producer session.", nullable=False),
    Column(
        "is_left_truncated",
        "boolean",
        "Whether item 0 of the first event's producer session is not in this session.",
        nullable=False,
    ),
    Column(
        "is_closed",
        "boolean",
        "Whether the end plus 30 min is before the largest event time consumed so far.",
        nullable=False,
    ),
    Column("_processed_at", "timestamptz", "When the row was computed, UTC.", nullable=False),
)


def snake_case(name: str) -> str:
    """Returns the name in snake_case: `itemInSession` is `item_in_session`, `userID` is `user_id`."""
    name = re.sub(r"[^0-9A-Za-z]", "_", name)
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return re.sub(r"([A-Z])([A-Z][a-z])", r"\1_\2", name).lower()


def silver_columns(contract: Contract) -> tuple[Column, ...]:
    """Returns the columns of the contract's silver table, in order."""
    return (*_HEAD, *_payload(contract), *_derived(contract), *_TAIL)


def _payload(contract: Contract) -> Iterator[Column]:
    rules = contract.silver
    replaced = rules.alternates[0] if rules.alternates else None
    for wire, field in contract.payload.items():
        if wire in (contract.event_time, replaced):
            continue
        column = replace(field, name=snake_case(field.name))
        if wire in rules.timestamps:
            column = replace(column, type="timestamptz", unit=None, doc=f"{column.doc} UTC.")
        elif wire in rules.text_repair:
            column = replace(column, doc=f"{column.doc} Repaired here.")
        elif wire == rules.user_agent:
            column = replace(column, doc=f"{column.doc} Without them here.")
        yield column


def _derived(contract: Contract) -> Iterator[Column]:
    rules = contract.silver
    for wire in rules.text_repair:
        field = contract.payload[wire]
        column = snake_case(field.name)
        doc = f"`{column}` as it came; null unless it was repaired."
        yield Column(f"{column}_original", "string", doc, personal=field.personal)
    if rules.user_agent:
        yield from _user_agent(snake_case(contract.payload[rules.user_agent].name))
    if rules.alternates:
        wire, (one, other) = rules.alternates
        field = contract.payload[wire]
        column = snake_case(field.name)
        old = f"`{column}` before the event."
        new = f"`{column}` that the event asks for: the other of `{one}` and `{other}`; null if it was neither."
        yield Column(f"old_{column}", "string", old, nullable=field.nullable, personal=field.personal)
        yield Column(f"new_{column}", "string", new, personal=field.personal)
    if rules.mark:
        name, _, doc = rules.mark
        yield Column(name, "boolean", doc, nullable=False)


def _user_agent(column: str) -> Iterator[Column]:
    yield Column("browser", "string", f"Browser by `{column}`; `Other` if unknown.")
    yield Column("browser_version", "string", f"Version of the browser by `{column}`, as far as it is told.")
    yield Column("os", "string", f"Operating system by `{column}`, without version; `Other` if unknown.")
    device = f"Kind of device by `{column}`: `desktop`, `mobile`, `tablet`, `bot` or `other`."
    yield Column("device_type", "string", device)
