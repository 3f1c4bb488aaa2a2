"""When the always-on worker is started again: a pure function of what was seen before, the time, and what is seen now.

Guarantees: a worker that was stopped on purpose stays stopped; exit codes that need a person (2: settings, 3: a decision) are
never answered with a start; starts come with growing pauses, and never more of them in an hour than the limit; every verdict
says why.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import TypeAdapter, ValidationError

from dagster_project.lib.durations import seconds_of
from dagster_project.lib.rolling_runs import LastRun
from dagster_project.lib.worker_health import Health, Mode, Observation, Process
from dagster_project.lib.worker_wanted import Wanted
from dagster_project.resources.pipes.exit_codes import meaning_of

MS = 1000
HOUR_MS = 3600 * MS
MAX_DOUBLINGS = 30


@dataclass(frozen=True)
class Limits:
    """How patient and how eager the sensor is; all but the first in seconds.

    Attributes:
        per_hour: most restarts in any hour.
        first_pause: between the first restart and the second; each further pause is twice as long.
        longest_pause: where doubling ends.
        patience: how long a worker may be unhealthy before it counts as wedged; the broker may have been away.
        stall: how long it may commit nothing while its lag grows.
        calm: how long it must have been well before the pauses begin anew.
    """

    per_hour: int = 6
    first_pause: float = 15
    longest_pause: float = 900
    patience: float = 60
    stall: float = 300
    calm: float = 600


@dataclass(frozen=True)
class History:
    """Restarts so far: when, within the last hour, and how many in a row without a calm time between."""

    at_ms: tuple[int, ...] = ()
    in_a_row: int = 0


@dataclass(frozen=True)
class Progress:
    """How far a worker was when it last moved on, and its lag then."""

    writer_id: str
    position: int
    lag_records: int | None
    since_ms: int


@dataclass(frozen=True)
class State:
    """What the sensor remembers between two looks; its cursor.

    Attributes:
        worker: restarts of the always-on worker.
        runs: restarts of rolling runs.
        unwell_since_ms: when the present trouble was first seen.
        well_since_ms: since when there is none.
        progress: the worker's last step.
        answered_run: the failed run that was answered last.
    """

    worker: History = History()
    runs: History = History()
    unwell_since_ms: int | None = None
    well_since_ms: int | None = None
    progress: Progress | None = None
    answered_run: str | None = None


@dataclass(frozen=True)
class Decision:
    """What to do, why, and what to remember. `key` names a restart: the same trouble and attempt have the same one."""

    state: State
    restart: bool
    reason: str
    key: str = ""


@dataclass(frozen=True)
class _Trouble:
    """Something is wrong; `patience`: seconds that it may last before it counts."""

    text: str
    patience: float = 0


def load_state(cursor: str | None) -> State:
    """Returns what a cursor says; an unreadable one counts as none."""
    try:
        return TypeAdapter(State).validate_json(cursor) if cursor else State()
    except ValidationError:
        return State()


def dump_state(state: State) -> str:
    """Returns the cursor for `state`."""
    return TypeAdapter(State).dump_json(state).decode()


def limits_from(environ: Mapping[str, str]) -> Limits:
    """Returns the limits, with those the environment sets.

    Raises:
        ValueError: a setting cannot be meant.
    """
    limits = Limits()
    if text := environ.get("STREAMIFY_WORKER_RESTARTS_PER_HOUR"):
        if not text.isdecimal():
            raise ValueError(f"invalid `STREAMIFY_WORKER_RESTARTS_PER_HOUR`: `{text}` is no number of restarts")
        limits = replace(limits, per_hour=int(text))
    if text := environ.get("STREAMIFY_WORKER_STALL_LIMIT"):
        try:
            limits = replace(limits, stall=seconds_of(text))
        except ValueError as error:
            raise ValueError(f"invalid `STREAMIFY_WORKER_STALL_LIMIT`: {error}") from error
    return limits


def decide(state: State, now_ms: int, seen: Observation, limits: Limits) -> Decision:
    """Decides about the worker as it is seen now."""
    state = replace(state, progress=_progress(state.progress, now_ms, seen), worker=_within_hour(state.worker, now_ms))
    if hands_off := _hands_off(seen):
        return Decision(replace(state, unwell_since_ms=None, well_since_ms=None), False, hands_off)
    trouble = _trouble(state, now_ms, seen, limits)
    if trouble is None:
        return _well(state, now_ms, seen, limits)
    since = now_ms if state.unwell_since_ms is None else state.unwell_since_ms
    state = replace(state, unwell_since_ms=since, well_since_ms=None)
    lasted = (now_ms - since) / MS
    if lasted < trouble.patience:
        return Decision(state, False, f"{trouble.text}, for {lasted:.0f} s; restarted after {trouble.patience:.0f} s of it")
    allowed, history, why = admit(state.worker, now_ms, limits)
    key = f"worker-{since}-{history.in_a_row}"
    return Decision(replace(state, worker=history), allowed, f"{trouble.text}; {why}", key)


def answer_failed_run(state: State, now_ms: int, run: LastRun, limits: Limits) -> Decision:
    """Decides about the run that was launched last for `bronze_streaming_job`."""
    if run.ended_well:
        return Decision(replace(state, runs=replace(state.runs, in_a_row=0)), False, "the last one went well")
    if not run.is_over:
        return Decision(state, False, "one is under way")
    if run.refusal is not None:
        return Decision(state, False, f"run {run.run_id[:8]} is not run again: {run.refusal}")
    if run.run_id == state.answered_run:
        return Decision(state, False, f"run {run.run_id[:8]} failed, and another one was launched in its place")
    allowed, history, why = admit(state.runs, now_ms, limits)
    state = replace(state, runs=history, answered_run=run.run_id if allowed else state.answered_run)
    return Decision(state, allowed, f"run {run.run_id[:8]} failed; {why}", f"run-{run.run_id}")


def admit(history: History, now_ms: int, limits: Limits) -> tuple[bool, History, str]:
    """Says whether one more restart may come now, with the history it leaves and the reason."""
    history = _within_hour(history, now_ms)
    if limits.per_hour == 0:
        return False, history, "not restarted: restarts are switched off (STREAMIFY_WORKER_RESTARTS_PER_HOUR is 0)"
    if len(history.at_ms) >= limits.per_hour:
        again = (history.at_ms[0] + HOUR_MS - now_ms) / MS
        text = f"not restarted: {len(history.at_ms)} restarts within the hour did not help, the next may come in {again:.0f} s"
        return False, history, text
    left = (history.at_ms[-1] - now_ms) / MS + _pause(history.in_a_row, limits) if history.at_ms else 0
    if left > 0:
        return False, history, f"not restarted yet: restart {history.in_a_row + 1} in a row comes in {left:.0f} s"
    history = History((*history.at_ms, now_ms), history.in_a_row + 1)
    count = f"{len(history.at_ms)} of at most {limits.per_hour} within the hour"
    return True, history, f"restart {history.in_a_row} in a row, {count}"


def _pause(restarts: int, limits: Limits) -> float:
    """Seconds between restart number `restarts` in a row and the next."""
    if restarts == 0:
        return 0
    return float(min(limits.first_pause * 2 ** min(restarts - 1, MAX_DOUBLINGS), limits.longest_pause))


def _hands_off(seen: Observation) -> str | None:
    """Says why nothing is to be done whatever the worker's health, or None."""
    if seen.wanted is Wanted.STOPPED:
        return "the worker was stopped on purpose; `bronze_worker_start` starts it"
    if seen.mode is Mode.SERVICE:
        if seen.health is Health.ABSENT:
            return f"{seen.health_text}; starting it is up to its service manager, which leaves exit codes 2 and 3 to a person"
        return None
    if seen.process is Process.NEVER_STARTED:
        return "no worker was started from here; `bronze_worker_start` starts one"
    if seen.process is Process.ENDED and seen.status is not None:
        return f"the worker on record has ended, but one answers that was not started from here (pid {seen.status.pid})"
    if seen.process is Process.ENDED and seen.exit_code in (2, 3):
        words = f": {seen.last_words}" if seen.last_words else ""
        text = meaning_of(seen.exit_code).text
        return f"the worker exited with code {seen.exit_code} ({text}); `bronze_worker_start` starts it after that{words}"
    return None


def _trouble(state: State, now_ms: int, seen: Observation, limits: Limits) -> _Trouble | None:
    if seen.process is Process.ENDED:
        if seen.exit_code is None:
            return _Trouble("the worker has gone, nobody saw how")
        return _Trouble(f"the worker exited with code {seen.exit_code} ({meaning_of(seen.exit_code).text})")
    if seen.health is Health.BAD:
        return _Trouble(f"the worker says that it cannot work ({seen.health_text})", limits.patience)
    if seen.health in (Health.SILENT, Health.ABSENT):
        return _Trouble(f"the worker's process is there but {seen.health_text}", limits.patience)
    return _stall(state.progress, now_ms, seen, limits)


def _stall(step: Progress | None, now_ms: int, seen: Observation, limits: Limits) -> _Trouble | None:
    """A worker that looks well but stores nothing. Without new records it rightly stores nothing; its lag says which it is."""
    lag = None if seen.status is None else seen.status.lag_records
    if step is None or step.lag_records is None or lag is None or lag <= step.lag_records:
        return None
    standing = (now_ms - step.since_ms) / MS
    if standing < limits.stall:
        return None
    grown = f"its lag grew from {step.lag_records} to {lag} records"
    return _Trouble(f"the worker has committed nothing for {standing:.0f} s while {grown}")


def _well(state: State, now_ms: int, seen: Observation, limits: Limits) -> Decision:
    since = now_ms if state.well_since_ms is None else state.well_since_ms
    calm = now_ms - since >= limits.calm * MS
    history = replace(state.worker, in_a_row=0) if calm else state.worker
    known = seen.status is not None and seen.status.lag_records is not None
    lag = f", {seen.status.lag_records} records behind" if known and seen.status else ""
    state = replace(state, worker=history, unwell_since_ms=None, well_since_ms=since)
    return Decision(state, False, f"the worker is well{lag}")


def _progress(last: Progress | None, now_ms: int, seen: Observation) -> Progress | None:
    """Returns the last step of the worker: a new one if it moved on, was started anew, or has nothing to do."""
    status = seen.status
    if status is None:
        return last
    has_moved = last is None or last.writer_id != status.writer_id or last.position != status.position
    if has_moved or status.lag_records == 0 or (last is not None and last.lag_records is None):
        return Progress(status.writer_id, status.position, status.lag_records, now_ms)
    return last


def _within_hour(history: History, now_ms: int) -> History:
    return replace(history, at_ms=tuple(at for at in history.at_ms if at > now_ms - HOUR_MS))
