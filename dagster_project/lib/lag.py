"""How far the tables are behind Kafka, table by table, and which of that is worth telling.

Guarantees: an answer comes within the time given, from the worker if it runs, else from Kafka and the catalog; no consumer is
held. What takes longer goes on in the background and is for the next tick.
"""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from dagster_project.lib.alerts import Problem, is_beyond
from dagster_project.lib.checks.limits import limit
from dagster_project.lib.paths import BinaryNotFoundError
from dagster_project.lib.patience import BACKGROUND, Background, Deadline, NotYetError
from dagster_project.lib.worker_http import WorkerUnreachableError
from dagster_project.lib.worker_status import TablesStatus, TablesUnknownError, WorkerStatus, ask_tables, ask_worker

#: What the worker, which answers from memory, gets of a tick's time.
WORKER_SECONDS = 0.5
#: After this time `streamify-stream status` is killed, also in the background.
TABLES_SECONDS = 30.0
#: An answer that came after the tick that asked for it is good for the next one.
MAX_AGE_SECONDS = 90.0


class LagUnknownError(RuntimeError):
    """Neither the worker nor the servers said how far the tables are."""


@dataclass(frozen=True)
class TableLag:
    """How far one table is behind its topic.

    Attributes:
        table: name of the table.
        topic: the Kafka topic.
        lag_records: records in the topic that are not yet in the table.
        lag_seconds: age of the instant up to which the table is complete; 0 if nothing lags.
        headroom_seconds: time to data loss: until the topic drops what is not yet in the table; `None`: never, or unknown.
    """

    table: str
    topic: str
    lag_records: int | None
    lag_seconds: float | None
    headroom_seconds: float | None

    @property
    def figures(self) -> Mapping[str, float]:
        """What is known, by name."""
        named = {name: getattr(self, name) for name in ("lag_records", "lag_seconds", "headroom_seconds")}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True)
class Reading:
    """The lag of all tables, at one time.

    Attributes:
        source: who said so: `worker` or `tables`.
        at: seconds since 1970.
        tables: one entry per table.
    """

    source: str
    at: float
    tables: Sequence[TableLag]


def lag_of_worker(status: WorkerStatus, at: float) -> Reading:
    """Returns what a running worker says; seconds are those of its worst table, for every table that lags."""
    tables = []
    for table in status.tables:
        lags = [partition.lag_records for partition in table.partitions]
        known = [lag for lag in lags if lag is not None]
        records = sum(known) if len(known) == len(lags) else None
        seconds = 0.0 if records == 0 else status.lag_seconds
        tables.append(TableLag(table.table, table.topic, records, seconds, status.headroom_seconds))
    return Reading("worker", at, tables)


def lag_of_tables(status: TablesStatus) -> Reading:
    """Returns what Kafka and the tables say."""
    return Reading(
        "tables",
        status.at_ms / 1000,
        [TableLag(one.table, one.topic, one.lag_records, one.lag_seconds, one.headroom_seconds) for one in status.topics],
    )


def read_lag(environ: Mapping[str, str], deadline: Deadline, background: Background = BACKGROUND) -> Reading:
    """Asks the worker, and if it does not answer, Kafka and the catalog.

    Raises:
        LagUnknownError: nobody answered in time; says what each of them said.
    """
    try:
        return lag_of_worker(ask_worker(environ, deadline.left(WORKER_SECONDS)), time.time())
    except WorkerUnreachableError as error:
        of_worker = str(error)
    asked = dict(environ)
    try:
        status = background.call(
            "streamify-stream status", lambda: ask_tables(asked, TABLES_SECONDS), deadline.left(), MAX_AGE_SECONDS
        )
    except (TablesUnknownError, NotYetError, BinaryNotFoundError, OSError) as error:
        raise LagUnknownError(f"{of_worker}; {error}") from error
    return lag_of_tables(status)


def lag_problems(reading: Reading, told: Collection[str], link: Mapping[str, str]) -> tuple[Sequence[Problem], Collection[str]]:
    """Returns what is beyond its limit, and the keys of what is unknown.

    Args:
        reading: the lag.
        told: keys of problems that last: those end only well within their limit.
        link: a page about each table.
    """
    problems: list[Problem] = []
    unknown = []
    for of in reading.tables:
        for name in ("lag_records", "lag_seconds", "headroom_seconds"):
            key = f"{name}/{of.table}"
            value = of.figures.get(name)
            if value is not None:
                problems += _problem(name, of, value, key in told, link.get(of.table))
            elif name != "headroom_seconds" or (of.lag_records is None and of.lag_seconds is None):
                unknown.append(key)
    return problems, unknown


def _problem(name: str, of: TableLag, value: float, was_beyond: bool, link: str | None) -> Iterable[Problem]:
    bound = limit(name, of.table).value
    share = limit("clear_share", of.table).value
    is_least = name == "headroom_seconds"
    if is_least:
        if of.lag_records == 0:
            return  # there is nothing to lose
        # Retention is what is left and what has passed; with one of a few hours a day's headroom cannot be had.
        bound = bound if of.lag_seconds is None else min(bound, (value + of.lag_seconds) / 2)
    back_at = bound / share if is_least else bound * share
    if is_beyond(value, bound, was_beyond=was_beyond, back_at=back_at):
        what, next_step = _words(name, of, value, bound)
        yield Problem(f"{name}/{of.table}", what, f"table `{of.table}`, topic `{of.topic}`", next_step, link=link)


def _words(name: str, of: TableLag, value: float, bound: float) -> tuple[str, str]:
    if name == "headroom_seconds":
        return (
            f"Kafka drops records of `{of.topic}` before they are stored in {value / 3600:.1f} h (limit {bound / 3600:.1f} h)",
            f"start the worker, or give it more cores; if that takes too long, raise `retention.ms` of `{of.topic}` first",
        )
    if name == "lag_seconds":
        what = f"`{of.table}` is complete only up to {value:,.0f} s ago (limit {bound:,.0f} s)"
    else:
        what = f"`{of.table}` lacks {value:,.0f} records of its topic (limit {bound:,.0f})"
    return what, "see whether the worker runs and what its log says; materialize `bronze_streaming_job` to catch up without it"


def observation(of: TableLag, reading: Reading) -> dg.AssetObservation:
    """Returns what the table's page shows."""
    metadata: dict[str, dg.MetadataValue] = {name: dg.MetadataValue.float(float(of_it)) for name, of_it in of.figures.items()}
    if of.lag_records is not None:
        metadata["lag_records"] = dg.MetadataValue.int(of.lag_records)
    metadata["lag_source"] = dg.MetadataValue.text(reading.source)
    metadata["lag_at"] = dg.MetadataValue.timestamp(reading.at)
    return dg.AssetObservation(of.table, metadata=metadata)
