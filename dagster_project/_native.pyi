"""The Rust side of Streamify, built from `rust/py`: batch jobs and reading, inside this process.

Settings come from `os.environ` at the moment of a call, with `env` over it; the variables are those of `.env.example`. Without
`POLARIS_URI` the local warehouse under `STREAMIFY_HOME` is used.

The interpreter's lock is free while a call works, so that other threads go on. A signal (Ctrl-C) is seen within 100 ms, on the
main thread; it, an exception of the `progress` callback, and a cancelled token end a call within two seconds. What was committed
by then stays; the rest is done by the next call.

After a fork the child may call everything here, and gets threads of its own; a scan that was begun in the parent cannot be read
in the child.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, final

__all__ = [
    "CancelToken",
    "CancelledError",
    "CommitError",
    "NeedsDecisionError",
    "Progress",
    "Scan",
    "Schema",
    "SettingsError",
    "StreamifyError",
    "TableError",
    "UnavailableError",
    "compact",
    "expire",
    "remove_orphans",
    "replay_dead_letters",
    "rewrite_manifests",
    "scan",
    "sessions",
    "silver",
    "swap",
    "version",
]

def version() -> str:
    """Returns the version of the Rust side; it equals the version of the Python package."""

class StreamifyError(Exception):
    """What the Rust side fails with. The message has the causes, and the hint if there is one.

    Attributes:
        hint: what to do next, `None` if there is nothing to say.
    """

    hint: str | None

class SettingsError(StreamifyError):
    """An argument or a variable cannot be meant."""

class TableError(StreamifyError):
    """A table does not exist or cannot be read."""

class UnavailableError(StreamifyError):
    """Catalog or store do not answer; the same call may succeed later."""

class CommitError(StreamifyError):
    """A commit did not land; nothing of it is in the table."""

class NeedsDecisionError(StreamifyError):
    """A person has to decide (a table was rolled back, or made anew); the same call again does not help."""

class CancelledError(StreamifyError):
    """The call was asked to stop; what was committed stays."""

@final
class CancelToken:
    """Stops calls: give it to one or several, and cancel it from any thread."""

    def __new__(cls) -> CancelToken: ...
    def cancel(self) -> None:
        """Asks every call that has this token to end; each raises `CancelledError` within two seconds."""

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled; it stays so."""

@final
class Progress:
    """How far a call is."""

    @property
    def what(self) -> str:
        """What it is at, for people: `compacting bronze_listen_events 2026-02-23: 12 files`."""

    @property
    def done(self) -> int:
        """Steps done."""

    @property
    def total(self) -> int:
        """Steps in all, as far as is known by now."""

    @property
    def rows(self) -> int:
        """Rows handled so far."""

def silver(
    table: str,
    *,
    rebuild: str | Sequence[str | date] | None = None,
    reread: bool = False,
    accept_changes: Sequence[int] | None = None,
    memory_limit: int | str | None = None,
    env: Mapping[str, str] | None = None,
    progress: Callable[[Progress], object] | None = None,
    cancel: CancelToken | None = None,
) -> dict[str, Any]:
    """Takes what is new in bronze into a silver table: cleaned, typed, one row per event. One commit.

    Args:
        table: the silver table, or its bronze table, or the topic.
        rebuild: instead, make these days (UTC) anew from all of bronze, in the place of what they hold: `"2026-02-23"`,
            `"2026-02-23..2026-02-25"` (both included), or a list of dates and such texts.
        reread: read bronze from its beginning, whatever was consumed; rows that are there stay.
        accept_changes: snapshots of bronze in which another engine changed rows, to be taken as they are.
        memory_limit: bytes, or a text such as `"256MB"`; at least 64 MB. `STREAMIFY_BATCH_MEMORY_LIMIT`, else 1 GiB, if `None`.
        env: variables over those of `os.environ`.
        progress: is called now and then, on the calling thread; what it raises ends the call.
        cancel: ends the call.

    Returns:
        The report: `table`, `source`, `rows_in`, `rows_out`, `duplicates`, `already_known`, `conflicts`, `incomplete`,
        `repaired` (by column), `remarked`, `days` (touched), `snapshots` (consumed), `files`, `bytes`, `bytes_read`,
        `metadata_bytes` (manifests and the like), `snapshot_id` (`None` if there was nothing to do), `restarts`, `seconds`.

    Raises:
        SettingsError: an argument or a variable cannot be meant.
        TableError: a table does not exist or cannot be read.
        UnavailableError: catalog or store do not answer.
        CommitError: the commit did not land.
        NeedsDecisionError: a table was rolled back, made anew, or changed by another engine.
        CancelledError: `cancel` was cancelled.
    """

def sessions(
    *,
    full: bool = False,
    accept_changes: Sequence[int] | None = None,
    memory_limit: int | str | None = None,
    env: Mapping[str, str] | None = None,
    progress: Callable[[Progress], object] | None = None,
    cancel: CancelToken | None = None,
) -> dict[str, Any]:
    """Brings the user sessions (`silver_user_sessions`) up to date with what is new in silver. One commit.

    Args:
        full: compute every session anew, whatever was consumed.
        accept_changes: snapshots of silver tables in which another engine changed rows, to be taken as they are.
        memory_limit: bytes, or a text such as `"256MB"`; at least 64 MB. `STREAMIFY_BATCH_MEMORY_LIMIT`, else 1 GiB, if `None`.
        env: variables over those of `os.environ`.
        progress: is called now and then, on the calling thread; what it raises ends the call.
        cancel: ends the call.

    Returns:
        The report: `table`, `full` (whether every session was computed anew), `rows_in` (by silver table), `rows_out` (sessions
        in the replaced days), `days` (replaced), `watermark_ms`, `open_from` (first day with an open session), `files`, `bytes`,
        `bytes_read`, `metadata_bytes` (manifests and the like), `snapshot_id`, `restarts`, `seconds`.

    Raises:
        SettingsError: an argument or a variable cannot be meant.
        TableError: a table does not exist or cannot be read.
        UnavailableError: catalog or store do not answer.
        CommitError: the commit did not land.
        NeedsDecisionError: a table was rolled back, made anew, or changed by another engine.
        CancelledError: `cancel` was cancelled.
    """

def compact(
    table: str,
    *,
    days: str | Sequence[str | date] | None = None,
    small_below: float = 0.75,
    min_files: int = 5,
    dry_run: bool = False,
    memory_limit: int | str | None = None,
    env: Mapping[str, str] | None = None,
    progress: Callable[[Progress], object] | None = None,
    cancel: CancelToken | None = None,
) -> dict[str, Any]:
    """Rewrites small data files of `table` into few large ones, sorted; the rows stay the same.

    Partition by partition, committed together from 128 MiB read on. It stands in nobody's way: appends go on meanwhile, and a
    partition whose files another job removed first is left for the next call.

    Args:
        table: name of the table, without its namespace.
        days: only these days (UTC): `"2026-02-23"`, `"2026-02-23..2026-02-25"` (both included), or a list of dates and such
            texts. All if `None`.
        small_below: files below this part of the table's target file size are small; above 0, at most 1.
        min_files: a partition with fewer small files is left alone; at least 2.
        dry_run: only count what would be rewritten.
        memory_limit: bytes, or a text such as `"256MB"`; at least 64 MB. `STREAMIFY_BATCH_MEMORY_LIMIT`, else 1 GiB, if `None`.
        env: variables over those of `os.environ`.
        progress: is called now and then, on the calling thread; what it raises ends the call.
        cancel: ends the call.

    Returns:
        The report: `table`, `partitions`, `partitions_left`, `files_before`, `files_after`, `files_rewritten`, `files_added`,
        `bytes_rewritten`, `bytes_added`, `rows`, `snapshot_id` (of the last commit, `None` if there was nothing to do),
        `seconds`.

    Raises:
        SettingsError: an argument or a variable cannot be meant.
        TableError: the table does not exist or cannot be read.
        UnavailableError: catalog or store do not answer.
        CommitError: a commit did not land.
        NeedsDecisionError: the table's state needs a decision.
        CancelledError: `cancel` was cancelled.
    """

def rewrite_manifests(
    table: str,
    *,
    min_manifests: int = 16,
    env: Mapping[str, str] | None = None,
    progress: Callable[[Progress], object] | None = None,
    cancel: CancelToken | None = None,
) -> dict[str, Any]:
    """Rewrites the manifests of `table`, sorted by partition, so that readers of few days read few of them.

    Args:
        table: name of the table, without its namespace.
        min_manifests: a table with fewer manifests, and none far larger than the others, is left alone; at least 2.
        env: variables over those of `os.environ`.
        progress: is called now and then, on the calling thread; what it raises ends the call.
        cancel: ends the call.

    Returns:
        The report: `table`, manifests before and after, `snapshot_id` (`None` if nothing was to be done), `seconds`.

    Raises:
        SettingsError: an argument or a variable cannot be meant.
        TableError: the table does not exist or cannot be read.
        UnavailableError: catalog or store do not answer.
        CommitError: the catalog did not take the change.
        CancelledError: `cancel` was cancelled.
    """

def expire(
    table: str,
    *,
    older_than: timedelta | None = None,
    keep: int | None = None,
    refs_older_than: timedelta | None = None,
    stale_after: timedelta | None = None,
    ignore_stale: bool = False,
    dry_run: bool = False,
    env: Mapping[str, str] | None = None,
    progress: Callable[[Progress], object] | None = None,
    cancel: CancelToken | None = None,
) -> dict[str, Any]:
    """Removes old snapshots of `table`, and the files that only they needed. What a registered reader still needs stays.

    Args:
        table: name of the table, without its namespace.
        older_than: younger snapshots stay; the table's `history.expire.max-snapshot-age-ms`, else 5 days, if `None`.
        keep: so many snapshots of each branch stay at least; the table's `history.expire.min-snapshots-to-keep`, else 1,
            if `None`.
        refs_older_than: older tags and branches go, unless they say it themselves; the table's
            `history.expire.max-ref-age-ms`, else they stay, if `None`.
        stale_after: after how long without a word a registered reader is called stale; 30 days if `None`.
        ignore_stale: pass over stale readers; if they come back they have to read everything anew.
        dry_run: only say what would be done.
        env: variables over those of `os.environ`.
        progress: is called now and then, on the calling thread; what it raises ends the call.
        cancel: ends the call.

    Returns:
        The report: `table`, `dry_run`, `snapshots_before`, `snapshots_after`, `removed` (ids), `refs_removed`, `kept` (snapshots
        by reason), `consumers` (by name), `deleted` (files and bytes by kind), `outside` (files left alone because they lie
        outside the table's folders), `attempts`.

    Raises:
        SettingsError: an argument or a variable cannot be meant, or the table forbids it (`gc.enabled`, a property that is no
            number, folders shared with another table).
        TableError: the table does not exist or cannot be read.
        UnavailableError: catalog or store do not answer.
        CommitError: the catalog did not take the change.
        CancelledError: `cancel` was cancelled.
    """

def remove_orphans(
    table: str,
    *,
    older_than: timedelta | None = None,
    force: bool = False,
    stale_after: timedelta | None = None,
    ignore_stale: bool = False,
    delete: bool = False,
    env: Mapping[str, str] | None = None,
    progress: Callable[[Progress], object] | None = None,
    cancel: CancelToken | None = None,
) -> dict[str, Any]:
    """Finds files in the folders of `table` that no snapshot knows: what killed writers left behind. Deletes them if told to.

    Args:
        table: name of the table, without its namespace.
        older_than: younger files are left alone, because a writer may be about to commit them; 3 days if `None`, at least 1 hour.
        force: allow less than an hour; only where surely nobody writes.
        stale_after: after how long without a word a registered reader is called stale; 30 days if `None`.
        ignore_stale: pass over stale readers, so that files which only they need are orphans.
        delete: delete them; otherwise they are only listed.
        env: variables over those of `os.environ`.
        progress: is called now and then, on the calling thread; what it raises ends the call.
        cancel: ends the call.

    Returns:
        The report: `table`, `dry_run`, `folders` (listed), `listed`, `young`, `protected` and `alike` (files left alone) as
        `files` and `bytes`, `orphans` (the same by kind), `sample` (the first hundred).

    Raises:
        SettingsError: an argument or a variable cannot be meant, or the table forbids it (`gc.enabled`, a property that is no
            number, folders shared with another table).
        TableError: the table does not exist or cannot be read.
        UnavailableError: catalog or store do not answer.
        CommitError: the catalog did not take the change.
        CancelledError: `cancel` was cancelled.
    """

def swap(
    staging: str,
    *,
    accept_loss: bool = False,
    dry_run: bool = False,
    memory_limit: int | str | None = None,
    env: Mapping[str, str] | None = None,
    progress: Callable[[Progress], object] | None = None,
    cancel: CancelToken | None = None,
) -> dict[str, Any]:
    """Compares a staging table with the table it was read for, and puts its rows in the place of the others, in one commit.

    Args:
        staging: the table that `streamify-stream --replay-into` filled; it names its target and its range itself.
        accept_loss: let rows go that only the target has; otherwise they are a reason to refuse.
        dry_run: only compare.
        memory_limit: bytes that the job may hold, as a number or with a unit (`"256MB"`); at least 64 MB.
        env: variables over those of `os.environ`.
        progress: is called now and then, on the calling thread; what it raises ends the call.
        cancel: ends the call.

    Returns:
        The report: `table` and `target`, `total` and `partitions` (rows `equal`, `differing`, `missing`, `extra`), `snapshot_id`.

    Raises:
        SettingsError: an argument or a variable cannot be meant.
        TableError: a table does not exist or cannot be read.
        UnavailableError: catalog or store do not answer.
        CommitError: the catalog did not take the change.
        NeedsDecisionError: a person has to decide; the message says what.
        CancelledError: `cancel` was cancelled.
    """

def replay_dead_letters(
    *,
    topics: Sequence[str] | None = None,
    reasons: Sequence[str] | None = None,
    days: str | Sequence[date | str] | None = None,
    again: bool = False,
    max_event_time_ahead: timedelta | None = None,
    dry_run: bool = False,
    memory_limit: int | str | None = None,
    env: Mapping[str, str] | None = None,
    progress: Callable[[Progress], object] | None = None,
    cancel: CancelToken | None = None,
) -> dict[str, Any]:
    """Decodes dead letters again with the present contracts; what is good now lands under its original offset.

    Args:
        topics: only letters of these topics; all that have a contract if `None`.
        reasons: only letters with these reason codes; all if `None`.
        days: only letters of these days of their Kafka timestamps (UTC), `"2026-02-23..2026-02-25"` or a sequence.
        again: take replayed letters too, after a table was rolled back; rows that are there stay single.
        max_event_time_ahead: how far event times may lie after the Kafka timestamp; 1 day if `None`.
        dry_run: only count.
        memory_limit: bytes that the job may hold, as a number or with a unit (`"256MB"`); at least 64 MB.
        env: variables over those of `os.environ`.
        progress: is called now and then, on the calling thread; what it raises ends the call.
        cancel: ends the call.

    Returns:
        The report: `table`, `topics` (counts by topic and reason), `inserted`, `marked`, `already_there`, `pending`, `commits`.

    Raises:
        SettingsError: an argument or a variable cannot be meant.
        TableError: the dead-letter table does not exist or cannot be read.
        UnavailableError: catalog or store do not answer.
        CommitError: the catalog did not take the change.
        NeedsDecisionError: a person has to decide; the message says what.
        CancelledError: `cancel` was cancelled.
    """

@final
class Schema:
    """Columns of a scan, for all that take the Arrow C schema interface, such as `pyarrow.schema(...)`."""

    @property
    def names(self) -> list[str]:
        """Names of the columns, in their order."""

    def __arrow_c_schema__(self) -> object: ...
    def __len__(self) -> int: ...

@final
class Scan:
    """Rows and columns of one state of a table, for all that take the Arrow C stream interface.

    `pyarrow.table(scan)`, `pyarrow.RecordBatchReader.from_stream(scan)`, `polars.DataFrame(scan)`, and in DuckDB
    `SELECT ... FROM scan`. Nothing is copied. Reading begins anew each time, always at the same snapshot, and holds a few batches
    at once, however large the table is. An error while reading becomes an error of whoever reads.
    """

    @property
    def table(self) -> str:
        """The table's name."""

    @property
    def snapshot_id(self) -> int | None:
        """The snapshot that is read; `None` for a table without any."""

    @property
    def schema(self) -> Schema:
        """The columns."""

    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

def scan(
    table: str,
    columns: Sequence[str] | None = None,
    filter: Sequence[tuple[str, str, Any]] | None = None,
    snapshot: int | str | None = None,
    *,
    env: Mapping[str, str] | None = None,
) -> Scan:
    """Prepares reading `table`. Nothing but its metadata is read here.

    Args:
        table: name of the table, without its namespace.
        columns: columns to read, in this order; all if `None`.
        filter: conditions `(column, operator, value)`, all of which must hold. Operators: `=`, `==`, `!=`, `<`, `<=`, `>`, `>=`,
            `in`, `not in` (a list of values), `is`, `is not` (None), `starts with`. Values must be of the column's type: dates
            and datetimes as such or as ISO texts, the latter with a time zone where the column has one. A null fulfils
            no condition but `is None`. Files and row groups that cannot hold such rows are not read.
        snapshot: a snapshot's id, or the name of a tag or branch; as the table stands if `None`.
        env: variables over those of `os.environ`.

    Raises:
        SettingsError: no such column, a condition or a variable that cannot be meant.
        TableError: no such table or snapshot.
        UnavailableError: the catalog does not answer.
    """
