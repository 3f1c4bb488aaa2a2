"""How the always-on worker looks from outside, as facts; what follows from them is decided in `restart_policy`."""

from dataclasses import dataclass
from enum import StrEnum

from dagster_project.lib.worker_http import WorkerNotListeningError, WorkerSilentError, WorkerUnreachableError, ask
from dagster_project.lib.worker_status import WorkerStatus
from dagster_project.lib.worker_wanted import Wanted


class Mode(StrEnum):
    """Who runs the worker."""

    DETACHED = "detached"
    SERVICE = "service"


class Process(StrEnum):
    """What is known of the worker's process."""

    RUNNING = "running"
    ENDED = "ended"
    NEVER_STARTED = "never started"
    NOT_OURS = "run by a service manager"


class Health(StrEnum):
    """What `/healthz` says."""

    GOOD = "good"
    BAD = "bad"
    SILENT = "silent"
    ABSENT = "absent"


@dataclass(frozen=True)
class Observation:
    """The always-on worker at one instant.

    Attributes:
        exit_code: of a process that ended, if it is known (negative: the signal).
        health_text: what `/healthz` said, or why it said nothing.
        status: what it says of itself, if it does.
        last_words: end of the log of a process that ended.
    """

    mode: Mode
    wanted: Wanted | None
    process: Process
    health: Health
    health_text: str = ""
    exit_code: int | None = None
    status: WorkerStatus | None = None
    last_words: str = ""


def ask_health(url: str, timeout: float) -> tuple[Health, str]:
    """Asks `/healthz`; returns what it says, or why it says nothing."""
    try:
        answer = ask(url, "/healthz", timeout)
    except WorkerNotListeningError as error:
        return Health.ABSENT, str(error)
    except (WorkerSilentError, WorkerUnreachableError) as error:
        return Health.SILENT, str(error)
    return (Health.GOOD if answer.says_yes else Health.BAD), answer.brief
