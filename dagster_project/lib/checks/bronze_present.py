"""How a bronze table stands now: lag, freshness, dead letters, columns."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from dagster_project.lib.checks.bronze_history import history_of
from dagster_project.lib.checks.limits import limit
from dagster_project.lib.checks.verdict import NUM_SHOWN, Look, Verdict
from dagster_project.lib.contracts import Contract
from dagster_project.lib.lake import load_table
from dagster_project.lib.paths import BinaryNotFoundError
from dagster_project.lib.worker_status import TablesStatus, TablesUnknownError, TopicState, ask_tables

STATUS_SECONDS = 60.0


@dataclass
class Servers:
    """What Kafka and the catalog say, asked once for all checks of a step."""

    environ: Mapping[str, str]

    def topic(self, name: str) -> TopicState:
        """Returns what is known of a topic and its table.

        Raises:
            TablesUnknownError: nobody answered, or does not know the topic.
        """
        found = self._answer
        if isinstance(found, Exception):
            raise TablesUnknownError(str(found)) from found
        topics = {topic.topic: topic for topic in found.topics}
        if name not in topics:
            raise TablesUnknownError(f"`streamify-stream status` says nothing of topic `{name}`; see STREAMIFY_TOPICS")
        return topics[name]

    @cached_property
    def _answer(self) -> TablesStatus | Exception:
        try:
            return ask_tables(self.environ, STATUS_SECONDS)
        except (TablesUnknownError, BinaryNotFoundError, OSError) as error:
            return error


def unknown(error: Exception) -> Verdict:
    """The verdict of a check that could not look."""
    return Verdict(passed=False, text=f"unknown: {error}", metadata={"value": "unknown"}, is_warning=True)


def lag_is_below_limit(look: Look, contract: Contract, servers: Servers) -> Verdict:
    """The table lacks few records of its topic, for a short time, and Kafka keeps them long enough."""
    try:
        topic = servers.topic(contract.topic)
    except TablesUnknownError as error:
        return unknown(error)
    records, seconds, headroom = (limit(name, contract.table) for name in ("lag_records", "lag_seconds", "headroom_seconds"))
    beyond = []
    if topic.lag_records > records.value:
        beyond.append(f"{topic.lag_records:,} records")
    if topic.lag_seconds is not None and topic.lag_seconds > seconds.value:
        beyond.append(f"{topic.lag_seconds:,.0f} s")
    retention = topic.retention_ms / 1000 if topic.retention_ms and topic.retention_ms > 0 else None
    least = headroom.value if retention is None else min(headroom.value, retention / 2)
    if topic.lag_records and topic.headroom_seconds is not None and topic.headroom_seconds < least:
        beyond.append(f"{topic.headroom_seconds:,.0f} s until data is lost")
    optional: Mapping[str, float | None] = {"lag_seconds": topic.lag_seconds, "headroom_seconds": topic.headroom_seconds}
    return Verdict(
        passed=not beyond,
        text=f"behind its topic beyond the limits: {', '.join(beyond)}" if beyond else f"{topic.lag_records:,} records behind",
        metadata={
            "value": topic.lag_records,
            "limit": int(records.value),
            "reason": records.reason,
            "lag_seconds_limit": seconds.value,
            "headroom_seconds_limit": least,
            **{name: value for name, value in optional.items() if value is not None},
        },
    )


def table_is_fresh(look: Look, contract: Contract, servers: Servers, now: float | None = None) -> Verdict:
    """The table is complete up to a short time ago; or nothing has come since."""
    commits = [entry for entry in history_of(load_table(look.environ, contract.table)).commits if entry.ledger["offsets"]]
    bound = limit("fresh_fail_seconds", contract.table)
    shown: dict[str, int | float | str] = {"limit": bound.value, "reason": bound.reason}
    lag_records = None
    try:
        lag_records = servers.topic(contract.topic).lag_records
        shown["lag_records"] = lag_records
    except TablesUnknownError as error:
        shown["lag"] = str(error)
    rests = lag_records == 0
    if not commits:
        shown["value"] = "unknown"
        return Verdict(passed=rests, text="no commit is kept, so its age is unknown", metadata=shown, is_warning=True)
    through = commits[-1].valid_through or commits[-1].at
    age = max(0.0, (now if now is not None else time.time()) - through)
    return Verdict(
        passed=rests or age <= bound.value,
        text=f"complete up to {age:,.0f} s ago" + ("; nothing has come since" if rests else ""),
        metadata={"value": age, **shown},
        is_warning=lag_records is None,
    )


def dead_letters_are_rare(look: Look, contract: Contract, now: float | None = None) -> Verdict:
    """Of the records that came lately, few could not be decoded."""
    window, share, few = (
        limit(name, contract.table) for name in ("dead_letter_window_seconds", "dead_letter_share", "dead_letters")
    )
    since = (now if now is not None else time.time()) - window.value
    history = history_of(load_table(look.environ, contract.table))
    letters, received = history.total("dead_letters", since), history.total("received", since)
    found = letters / received if received else 0.0
    return Verdict(
        passed=found <= share.value or letters <= few.value,
        text=f"{letters:,} of {received:,} records of the last {window.value / 3600:.0f} h could not be decoded",
        metadata={
            "value": found,
            "limit": share.value,
            "reason": share.reason,
            "dead_letters": letters,
            "dead_letters_limit": int(few.value),
            "received": received,
        },
    )


def schema_equals_contract(look: Look, contract: Contract) -> Verdict:
    """The table has the columns of the contract, with their types; a column of somebody else's is a warning."""
    there = {
        field.name: (str(field.field_type), not field.required)
        for field in load_table(look.environ, contract.table).schema().fields
    }
    wrong: list[dict[str, str | bool]] = []
    odd: list[dict[str, str | bool]] = []
    for column in contract.columns:
        type_of, nullable = there.pop(column.name, ("", False))
        found = {"column": column.name, "contract": column.type, "table": type_of or "missing"}
        if type_of != column.type or (column.nullable and not nullable):
            wrong.append({**found, "nullable": nullable})
        elif nullable and not column.nullable:
            odd.append({**found, "nullable": nullable})
    odd += [{"column": name, "contract": "none", "table": of[0], "nullable": of[1]} for name, of in there.items()]
    return Verdict(
        passed=not wrong and not odd,
        text=f"{len(wrong)} columns are missing or of another type, {len(odd)} are additional or may be null in the table alone",
        metadata={"value": len(wrong) + len(odd), "limit": 0, "columns": len(contract.columns)},
        offending=[*wrong, *odd][:NUM_SHOWN],
        is_warning=bool(odd) and not wrong,
    )
