"""What the two ways of running the always-on worker share: how long things may take, what was done, and asking it to stop."""

from collections.abc import Mapping
from dataclasses import dataclass

from dagster_project.lib.worker_http import WorkerNotListeningError, WorkerUnreachableError, ask
from dagster_project.lib.worker_process import becomes_true
from dagster_project.lib.worker_status import WorkerStatus, ask_worker, worker_url


class WorkerServiceError(RuntimeError):
    """The worker could not be started or stopped.

    Attributes:
        exit_code: of a worker that ended, if that is known.
    """

    def __init__(self, text: str, exit_code: int | None = None) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Timing:
    """How long things may take, in seconds.

    Attributes:
        start_seconds: until it is ready; it waits a minute for brokers and catalog by itself.
        stop_seconds: after SIGTERM or a request; it needs at most 9 s.
        command_seconds: a command of the service manager.
        lock_seconds: another start or stop.
        ask_seconds: one question to its endpoint.
    """

    start_seconds: float = 90
    stop_seconds: float = 20
    command_seconds: float = 120
    lock_seconds: float = 150
    ask_seconds: float = 2


@dataclass(frozen=True)
class Done:
    """What was done.

    Attributes:
        did: one sentence.
        changed: whether anything was changed at all.
        status: the worker after it, if it answers.
    """

    did: str
    changed: bool
    status: WorkerStatus | None


def when_answering(environ: Mapping[str, str], timeout: float) -> WorkerStatus | None:
    """Returns the worker's status, or None if it does not answer."""
    try:
        return ask_worker(environ, timeout)
    except WorkerUnreachableError:
        return None


def stop_by_request(environ: Mapping[str, str], timing: Timing) -> Done:
    """Asks the worker at its endpoint to stop, and waits until it has gone.

    Raises:
        WorkerServiceError: it refuses, or is still there after `timing.stop_seconds`.
    """
    url = worker_url(environ)
    try:
        answer = ask(url, "/v1/stop", timing.ask_seconds, post=True, token=environ.get("STREAMIFY_CONTROL_TOKEN"))
    except WorkerNotListeningError:
        return Done("no worker runs; nothing was done", False, None)
    except WorkerUnreachableError as error:
        raise WorkerServiceError(f"failed to ask the worker to stop: {error}") from error
    if answer.code in (401, 403):
        text = f"{url} refuses to stop ({answer.brief}): set the STREAMIFY_CONTROL_TOKEN that the worker was started with"
        raise WorkerServiceError(text)
    if not answer.says_yes:
        raise WorkerServiceError(f"{url} refuses to stop: {answer.brief}")
    if not becomes_true(lambda: not listens(environ, timing.ask_seconds), timing.stop_seconds):
        raise WorkerServiceError(f"the worker at {url} is still there {timing.stop_seconds:g} s after it was asked to stop")
    return Done(f"asked the worker at {url} to stop, and it has gone", True, None)


def listens(environ: Mapping[str, str], timeout: float) -> bool:
    """Returns whether anything listens at the worker's address."""
    try:
        ask(worker_url(environ), "/healthz", timeout)
    except WorkerNotListeningError:
        return False
    except WorkerUnreachableError:
        return True
    return True
