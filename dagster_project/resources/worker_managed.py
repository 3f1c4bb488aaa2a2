"""The always-on worker under a service manager (systemd, docker compose, Kubernetes), which Dagster tells what to do.

The commands are settings, such as `systemctl restart streamify-worker`, `docker compose restart worker`, or
`kubectl rollout restart deployment/streamify-worker`; they run without a shell.
"""

import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

from dagster_project.lib.worker_health import Mode, Observation, Process, ask_health
from dagster_project.lib.worker_process import DetachedProcess, becomes_true
from dagster_project.lib.worker_status import WorkerStatus, worker_folder, worker_url
from dagster_project.lib.worker_wanted import Wanted, set_wanted, wanted
from dagster_project.resources.worker_outcome import Done, Timing, WorkerServiceError, listens, stop_by_request, when_answering


@dataclass(frozen=True)
class ManagedWorker:
    """Tells the service manager what to do, and watches the worker through its endpoint.

    Attributes:
        environ: the environment with the commands and the address.
        timing: how long things may take.
    """

    environ: Mapping[str, str]
    timing: Timing

    def start(self) -> Done:
        """Has the worker started unless one answers; returns once it is ready.

        Raises:
            WorkerServiceError: there is no command for it, the command failed, or the worker did not get ready in time.
        """
        with self._alone():
            set_wanted(self.environ, Wanted.RUNNING)
            status = self._ask()
            if status is not None and status.is_always_on:
                return Done(f"the worker runs already (pid {status.pid} on {status.host}); nothing was done", False, status)
            command = _said(self.environ.get("STREAMIFY_WORKER_START_COMMAND"))
            if command is None:
                raise WorkerServiceError("no command starts the worker: set STREAMIFY_WORKER_START_COMMAND")
            self._run(command)
            return Done(f"started the worker by `{command}`", True, self._await_ready(lambda _status: True))

    def stop(self) -> Done:
        """Has the worker stopped: by the command, without one by asking itself; returns once it has gone."""
        set_wanted(self.environ, Wanted.STOPPED)
        with self._alone():
            command = _said(self.environ.get("STREAMIFY_WORKER_STOP_COMMAND"))
            if command is None:
                return stop_by_request(self.environ, self.timing)
            was_there = listens(self.environ, self.timing.ask_seconds)
            self._run(command)  # in any case: the manager may be about to start it
            if not becomes_true(lambda: not listens(self.environ, self.timing.ask_seconds), self.timing.stop_seconds):
                text = f"`{command}` ended well, but the worker is still there {self.timing.stop_seconds:g} s later"
                raise WorkerServiceError(text)
            return Done(f"stopped the worker by `{command}`", was_there, None)

    def restart(self) -> Done:
        """Has the worker started anew; returns once another one than before is ready."""
        command = _said(self.environ.get("STREAMIFY_WORKER_RESTART_COMMAND"))
        if command is None:
            if _said(self.environ.get("STREAMIFY_WORKER_START_COMMAND")) is None:  # do not stop what nobody can start
                text = "no command restarts the worker: set STREAMIFY_WORKER_RESTART_COMMAND, or the one that starts it"
                raise WorkerServiceError(text)
            stopped = self.stop()
            started = self.start()
            return Done(f"{stopped.did}; {started.did}", started.changed, started.status)
        with self._alone():
            set_wanted(self.environ, Wanted.RUNNING)
            before = self._ask()
            self._run(command)
            status = self._await_ready(lambda now: before is None or now.writer_id != before.writer_id)
            return Done(f"restarted the worker by `{command}`", True, status)

    def observe(self, timeout: float) -> Observation:
        """Looks at the worker, for at most `timeout` seconds."""
        health, text = ask_health(worker_url(self.environ), timeout / 2)
        status = when_answering(self.environ, timeout / 2)
        return Observation(Mode.SERVICE, wanted(self.environ), Process.NOT_OURS, health, text, status=status)

    def _await_ready(self, is_new: Callable[[WorkerStatus], bool]) -> WorkerStatus:
        answers: list[WorkerStatus] = []

        def new_and_ready() -> bool:
            status = self._ask()
            if status is None or not status.ready or not is_new(status):
                return False
            answers.append(status)
            return True

        if not becomes_true(new_and_ready, self.timing.start_seconds):
            url, seconds = worker_url(self.environ), self.timing.start_seconds
            raise WorkerServiceError(f"no new worker was ready at {url} after {seconds:g} s; its service manager has its log")
        return answers[0]

    def _run(self, command: str) -> None:
        seconds = self.timing.command_seconds
        try:
            process = subprocess.Popen(
                shlex.split(command),
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise WorkerServiceError(f"failed to run `{command}`: {error}") from error
        with process:
            try:
                said, _ = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                raise WorkerServiceError(f"`{command}` did not end within {seconds:g} s") from None
            finally:
                if process.returncode is None:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
        if process.returncode != 0:
            raise WorkerServiceError(f"`{command}` exited with code {process.returncode}: {said.strip()[-2000:]}")

    def _alone(self) -> AbstractContextManager[None]:
        return DetachedProcess(worker_folder(self.environ)).locked(self.timing.lock_seconds)

    def _ask(self) -> WorkerStatus | None:
        return when_answering(self.environ, self.timing.ask_seconds)


def _said(command: str | None) -> str | None:
    return command.strip() or None if command else None
