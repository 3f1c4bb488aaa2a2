"""Lag behind Kafka as observations, and alerts about it."""

import os
import time
from collections.abc import Collection, Mapping, Sequence

import dagster as dg

from dagster_project.lib.alerts import Problem, decide
from dagster_project.lib.checks.limits import limit
from dagster_project.lib.lag import LagUnknownError, Reading, lag_problems, observation, read_lag
from dagster_project.lib.links import asset_link
from dagster_project.lib.outbox import Memory, deliver
from dagster_project.lib.patience import Deadline

UNKNOWN = "lag_unknown"
UNKNOWN_SINCE = "unknown_since"
#: A lag that does not change is observed again after this time.
OBSERVE_SECONDS = 600


@dg.sensor(
    name="kafka_lag_sensor",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Every minute: how far each bronze table is behind its topic, as observations (`lag_records`, `lag_seconds`, "
    "`headroom_seconds` = time to data loss), and alerts beyond the limits of `lib/checks/limits.toml`. Asks the worker, else "
    "Kafka and the catalog, for two seconds at most, and holds no consumer.",
)
def kafka_lag_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """See the description."""
    deadline = Deadline()
    memory = Memory.from_json(context.cursor)
    now = time.time()
    figures = dict(memory.figures)
    told = {key for key, known in memory.known.items() if known.since is not None}
    try:
        reading = read_lag(os.environ, deadline)
    except LagUnknownError as error:
        context.log.warning("the lag is unknown: %s", error)
        since = figures.setdefault(UNKNOWN_SINCE, now)
        problems: Sequence[Problem] = _unknown(str(error), since, now)
        unjudged: Collection[str] = told - {UNKNOWN}
        events, skip = [], f"the lag is unknown: {error}"
    else:
        figures.pop(UNKNOWN_SINCE, None)
        links = {of.table: asset_link(os.environ, of.table) for of in reading.tables}
        problems, unjudged = lag_problems(reading, told, links)
        events, skip = _observations(reading, figures, now), f"no news of the lag, by the {reading.source}"
    alerts, known = decide(memory.known, problems, now, limit("repeat_seconds").value, unjudged)
    waiting = deliver(alerts, memory.waiting, os.environ, context.log, deadline)
    cursor = Memory(known, waiting, figures).to_json()
    return dg.SensorResult(asset_events=events, skip_reason=None if events else dg.SkipReason(skip), cursor=cursor)


def _unknown(reason: str, since: float, now: float) -> list[Problem]:
    bound = limit("unknown_seconds").value
    if now - since <= bound:
        return []
    what = f"the lag behind Kafka is unknown for more than {bound:,.0f} s"
    next_step = "see which of worker, Kafka and catalog is down; the worker's address is STREAMIFY_WORKER_URL"
    return [Problem(UNKNOWN, what, reason, next_step, since)]


def _observations(reading: Reading, figures: dict[str, float], now: float) -> list[dg.AssetObservation]:
    """Returns the observations that tell something: of what lags or changed, and of everything now and then."""
    events = []
    for of in reading.tables:
        if of.figures and _is_news(of.table, of.lag_records, figures, now):
            events.append(observation(of, reading))
            figures[f"observed_at/{of.table}"] = now
            figures[f"observed_lag/{of.table}"] = -1 if of.lag_records is None else of.lag_records
    return events


def _is_news(table: str, lag_records: int | None, figures: Mapping[str, float], now: float) -> bool:
    if lag_records or now - figures.get(f"observed_at/{table}", 0) >= OBSERVE_SECONDS:
        return True
    return figures.get(f"observed_lag/{table}") != (-1 if lag_records is None else lag_records)
