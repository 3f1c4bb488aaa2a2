"""Delivers alerts within the time of a tick, and keeps what was not delivered for the next ones.

Guarantees: no notifier breaks a sensor or holds it beyond the deadline; every failure is logged; a message is tried
`MAX_ATTEMPTS` times and then given up with its text in the log. At least once: one that a server took without saying so comes
twice.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from dagster_project.lib.alerts import Alert, Known, message_of
from dagster_project.lib.notify import Log, Message, Notifier, notifiers_of
from dagster_project.lib.patience import BACKGROUND, Background, Deadline, NotYetError

MAX_ATTEMPTS = 3
#: What waits at most; more is dropped, with its text in the log.
MAX_WAITING = 50


@dataclass(frozen=True)
class Undelivered:
    """A message that waits for one notifier. `attempts` counts the ones so far."""

    id: str
    notifier: str
    subject: str
    text: str
    attempts: int = 0

    @property
    def message(self) -> Message:
        """What to deliver."""
        return Message(self.subject, self.text)


@dataclass(frozen=True)
class Memory:
    """What a sensor keeps in its cursor: problems it has told of, messages that wait, and figures of its own."""

    known: Mapping[str, Known] = field(default_factory=dict)
    waiting: Sequence[Undelivered] = ()
    figures: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """The cursor."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | None) -> "Memory":
        """Reads a cursor; one that cannot be read begins anew."""
        try:
            found = json.loads(text or "{}")
            return cls(
                known={key: Known(**of) for key, of in found.get("known", {}).items()},
                waiting=tuple(Undelivered(**of) for of in found.get("waiting", [])),
                figures={str(key): float(of) for key, of in found.get("figures", {}).items()},
            )
        except (ValueError, TypeError, AttributeError):
            return cls()


def deliver(
    alerts: Sequence[Alert],
    waiting: Sequence[Undelivered],
    environ: Mapping[str, str],
    log: Log,
    deadline: Deadline,
    background: Background = BACKGROUND,
    name: str | None = None,
) -> Sequence[Undelivered]:
    """Tells of alerts, in one message per notifier, and tries again what waits; returns what waits now.

    Args:
        alerts: what is new.
        waiting: what earlier ticks left.
        environ: names the notifiers.
        log: log of the tick.
        deadline: how long the tick may take.
        background: where deliveries go on that take longer.
        name: what makes the message one of its own, if its text does not.
    """
    notifiers, problems = notifiers_of(environ, log)
    if alerts:
        for problem in problems:
            log.error("an alert cannot be sent everywhere: %s", problem)
    by_name = {notifier.name: notifier for notifier in notifiers}
    new = addressed(message_of(alerts), [one.name for one in notifiers], name) if alerts else []
    known = {one.id for one in waiting}
    under_way = []
    for one in [*waiting, *(one for one in new if one.id not in known)]:
        if one.notifier in by_name:  # else it is no longer wanted
            _begin(one, by_name[one.notifier], background)
            under_way.append(one)
    left = [again for one in under_way if (again := _outcome(one, log, deadline, background))]
    for dropped in left[:-MAX_WAITING]:
        log.error("too many alerts wait; this one is dropped: %s\n%s", dropped.subject, dropped.text)
    return left[-MAX_WAITING:]


def addressed(message: Message, notifiers: Sequence[str], name: str | None = None, attempts: int = 0) -> list[Undelivered]:
    """Returns a message for each notifier; the same name, or else text, is the same message."""
    name = name or hashlib.sha256(f"{message.subject}\n{message.text}".encode()).hexdigest()[:12]
    return [Undelivered(f"{one}-{name}", one, message.subject, message.text, attempts) for one in notifiers]


def _begin(one: Undelivered, notifier: Notifier, background: Background) -> None:
    background.begin(one.id, lambda: notifier.send(one.message))


def _outcome(one: Undelivered, log: Log, deadline: Deadline, background: Background) -> Undelivered | None:
    """Returns what is left to do after an attempt."""
    tried = replace(one, attempts=one.attempts + 1)
    try:
        background.outcome(one.id, deadline.left())
    except NotYetError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001  # whatever a notifier does, the sensor goes on
        reason = str(error) or type(error).__name__
    else:
        return None
    if tried.attempts < MAX_ATTEMPTS:
        log.warning("alert not delivered by %s (attempt %d of %d): %s", one.notifier, tried.attempts, MAX_ATTEMPTS, reason)
        return tried
    background.forget(one.id)
    log.error("alert given up after %d attempts by %s: %s\n%s\n%s", MAX_ATTEMPTS, one.notifier, reason, one.subject, one.text)
    return None
