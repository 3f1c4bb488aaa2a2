"""What a run of the stream worker shows while it goes on, and what it leaves behind however it ends.

In a thread beside the worker, at the start, every half minute, and once more at the end:
* commits become materializations of the bronze tables (`lib/commit_events.py`), those of earlier runs that nobody reported
  included;
* the worker's progress becomes observations of the tables: lag, freshness, rows of this run;
* a worker that used to tell its progress and fell silent is told in the run's log.

Guarantees: nothing here fails a run. A catalog that is away costs one warning per outage; what is not reported now is reported
later, by this run, the next one, or the sensor.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from pyiceberg.table import Table

from dagster_project.lib.commit_events import report_new_commits
from dagster_project.lib.lake import Environ, load_table_within
from dagster_project.lib.patience import Background
from dagster_project.resources.pipes.session import Progress, RunLog, SessionJournal

PROGRESS_FIGURES = ("rows", "lag_records", "lag_seconds", "headroom_seconds", "freshness_seconds")


@dataclass(frozen=True)
class ReportTiming:
    """Times of the reports, all in seconds.

    Attributes:
        interval: between two reports of a table during a run.
        silence: without progress for so long, the worker is called silent; it tells its progress every 10 s.
        answer: how long the catalog may take to give a table.
        end: how long the last report may hold up the end of the run.
    """

    interval: float = 30.0
    silence: float = 60.0
    answer: float = 20.0
    end: float = 15.0


@dataclass
class LiveReports:
    """The reports of one run.

    Args:
        instance: gets the events.
        log: the run's log.
        journal: what the worker said.
        environ: where the lake is.
        tables: names of the bronze tables.
        timing: how often, and how long.
    """

    instance: dg.DagsterInstance
    log: RunLog
    journal: SessionJournal
    environ: Environ
    tables: Sequence[str]
    timing: ReportTiming = field(default_factory=ReportTiming)
    ended: threading.Event = field(default_factory=threading.Event)
    _background: Background = field(default_factory=Background)
    _is_away: bool = False
    _observed: Progress | None = None
    _silent_after: Progress | None = None

    def run(self) -> None:
        """Reports until `ended` is set, and once more then."""
        self.report_commits()
        while not self.ended.wait(self.timing.interval):
            self.report_commits()
            self.observe_progress()
            self.look_for_silence()
        self.report_commits()

    def report_commits(self) -> None:
        """Reports the new commits of all tables, as far as the catalog answers."""
        obstacles: list[Exception] = []
        for table in self.tables:
            try:
                report_new_commits(self.instance, self.environ, table, load=self._load)
            except Exception as error:  # noqa: BLE001  # catalogs, stores and databases raise anything; the run must go on
                obstacles.append(error)
                if isinstance(error, TimeoutError):
                    break
        if obstacles and not self._is_away:
            self.log.warning("cannot report commits now, trying on: %s: %s", type(obstacles[0]).__name__, obstacles[0])
        if self._is_away and not obstacles:
            self.log.info("commits are reported again")
        self._is_away = bool(obstacles)

    def observe_progress(self) -> None:
        """Makes observations of the last progress, if it is new."""
        progress = self.journal.progress
        if progress is None or progress is self._observed:
            return
        self._observed = progress
        try:
            for event in progress_observations(progress.payload, self.tables):
                self.instance.report_runless_asset_event(event)
        except Exception as error:  # noqa: BLE001  # as above
            self.log.warning("cannot record the worker's progress: %s: %s", type(error).__name__, error)

    def look_for_silence(self) -> None:
        """Warns once when progress stays away, and tells when it comes back."""
        progress = self.journal.progress
        if self._silent_after is not None and progress is not self._silent_after:
            self.log.info("the worker tells its progress again")
            self._silent_after = None
        if progress is None or self._silent_after is not None:
            return
        seconds = time.monotonic() - progress.heard_at
        if seconds > self.timing.silence:
            self._silent_after = progress
            since = datetime.now(UTC) - timedelta(seconds=seconds)
            self.log.warning(
                "no sign of life from the worker since %s (%.0f s): it hangs, or its messages do not get through",
                since.isoformat(timespec="seconds"),
                seconds,
            )

    def _load(self, environ: Environ, table: str) -> Table:
        return load_table_within(self._background, environ, table, self.timing.answer)


@contextmanager
def reporting(reports: LiveReports) -> Iterator[None]:
    """Reports while the block runs, and once more at its end, for which it waits no longer than `timing.end`."""
    thread = threading.Thread(target=reports.run, name="live reports", daemon=True)
    thread.start()
    try:
        yield
    finally:
        reports.ended.set()
        thread.join(reports.timing.end)
        if thread.is_alive():
            reports.log.warning("the last commits are not reported yet; the next run or `bronze_commits_sensor` does it")


def progress_observations(payload: Mapping[str, Any], tables: Sequence[str]) -> Sequence[dg.AssetObservation]:
    """Returns an observation for each table a progress message speaks of; figures it does not know are left out.

    What the message tells of the whole worker only (such as `lag_seconds`) stands at each table.
    """
    observations = []
    for told in payload.get("tables") or []:
        if told.get("table") not in tables:
            continue
        figures = {name: told.get(name, payload.get(name)) for name in PROGRESS_FIGURES}
        metadata = {name: value for name, value in figures.items() if isinstance(value, int | float)}
        observations.append(dg.AssetObservation(told["table"], metadata=metadata))
    return observations
