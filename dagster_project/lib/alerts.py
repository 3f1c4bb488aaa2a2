"""What is worth telling people, and when: decided from values alone, so that every rule has a test.

Guarantees: a problem is told once when it begins, again only after the repeat time while it lasts, and once when it is over; one
that comes and goes is told at most once per repeat time. What is not known in a tick changes nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from dagster_project.lib.notify import Message


@dataclass(frozen=True)
class Problem:
    """Something that is wrong.

    Attributes:
        key: what it is, the same as long as it lasts.
        what: what is wrong, with the number and the limit.
        where: the table, job or run.
        next_step: what to do.
        since: seconds since 1970; where unknown, when it was first seen.
        link: a page about it.
    """

    key: str
    what: str
    where: str
    next_step: str
    since: float | None = None
    link: str | None = None


class Stage(StrEnum):
    """Where a problem is in its life."""

    NEW = "new"
    LASTS = "lasts"
    OVER = "over"


@dataclass(frozen=True)
class Alert:
    """A problem to be told."""

    problem: Problem
    stage: Stage = Stage.NEW

    @property
    def headline(self) -> str:
        """One line."""
        lead = {Stage.NEW: "", Stage.LASTS: "still: ", Stage.OVER: "over: "}[self.stage]
        return lead + self.problem.what

    @property
    def text(self) -> str:
        """What, where, since when, where to look, what to do."""
        problem = self.problem
        lines = [f"What: {self.headline}", f"Where: {problem.where}"]
        if problem.since is not None:
            lines.append(f"Since: {datetime.fromtimestamp(problem.since, UTC):%Y-%m-%d %H:%M:%S} UTC")
        if problem.link:
            lines.append(f"Link: {problem.link}")
        if self.stage is not Stage.OVER:
            lines.append(f"Next: {problem.next_step}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Known:
    """What a sensor remembers of a problem.

    Attributes:
        what: as it was told.
        where: as it was told.
        since: since when it lasts; `None`: it is over, and kept only so that its return is not told too soon.
        told_at: when it was told last.
        is_announced: whether the last that people heard is that it lasts.
    """

    what: str
    where: str
    since: float | None
    told_at: float
    is_announced: bool = True


def decide(
    known: Mapping[str, Known],
    problems: Sequence[Problem],
    now: float,
    repeat_seconds: float,
    unjudged: Collection[str] = (),
) -> tuple[Sequence[Alert], Mapping[str, Known]]:
    """Returns what is to be told, and what to remember.

    Args:
        known: what was remembered.
        problems: what is wrong now.
        now: seconds since 1970.
        repeat_seconds: a problem that lasts, or comes again, is told after this time at the earliest.
        unjudged: keys of which nothing is known in this tick: they stay as they are.
    """
    alerts: list[Alert] = []
    remembered: dict[str, Known] = {key: before for key, before in known.items() if key in unjudged}
    for problem in problems:
        alert, remembered[problem.key] = _present(known.get(problem.key), problem, now, repeat_seconds)
        alerts += [alert] if alert else []
    for key, before in known.items():
        if key in remembered:
            continue
        if before.is_announced:
            gone = Problem(key, before.what, before.where, next_step="", since=before.since)
            alerts.append(Alert(gone, Stage.OVER))
        if now - before.told_at < repeat_seconds:
            remembered[key] = replace(before, since=None, is_announced=False)
    return alerts, remembered


def _present(before: Known | None, problem: Problem, now: float, repeat_seconds: float) -> tuple[Alert | None, Known]:
    lasting = before.since if before else None
    since = lasting or problem.since or now
    dated = replace(problem, since=since)
    if before and now - before.told_at < repeat_seconds:
        return None, replace(before, since=since)
    stage = Stage.LASTS if before and before.is_announced else Stage.NEW
    return Alert(dated, stage), Known(problem.what, problem.where, since, told_at=now)


def is_beyond(value: float, limit: float, *, was_beyond: bool, back_at: float) -> bool:
    """Returns whether a value is beyond its limit, from where it comes back only at `back_at`: what wavers does not flap.

    A limit below its `back_at` is a least value, one above it a most value.
    """
    bound = back_at if was_beyond else limit
    return value < bound if back_at > limit else value > bound


def message_of(alerts: Sequence[Alert]) -> Message:
    """Returns one message that tells of all alerts."""
    more = f" (and {len(alerts) - 1} more)" if len(alerts) > 1 else ""
    return Message(f"[Streamify] {alerts[0].headline}{more}", "\n\n".join(alert.text for alert in alerts))
