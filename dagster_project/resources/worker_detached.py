"""The always-on worker as a process that Dagster starts, see `lib/worker_process.py` for what holds of it.

For machines where Dagster itself runs for longer than a run. Where it does not (a container per run), or where a service
manager ends everything that Dagster started together with Dagster (systemd does), use `worker_managed.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dagster_project.lib.paths import find_binary, streamify_home
from dagster_project.lib.worker_health import Mode, Observation, Process, ask_health
from dagster_project.lib.worker_http import WorkerUnreachableError, ask
from dagster_project.lib.worker_process import DetachedProcess, Record, becomes_true, write_atomically
from dagster_project.lib.worker_status import (
    ADDRESS_FILE,
    BINARY,
    DEFAULT_URL,
    OF_ONE_RUN,
    WorkerStatus,
    worker_folder,
    worker_url,
)
from dagster_project.lib.worker_wanted import Wanted, set_wanted, wanted
from dagster_project.resources.pipes.exit_codes import meaning_of
from dagster_project.resources.worker_outcome import Done, Timing, WorkerServiceError, stop_by_request, when_answering

PIPES_PREFIX = "DAGSTER_PIPES_"
TAIL_LINES = 30
ANY_PORT = ":0"  # the system chooses; the worker logs which


@dataclass(frozen=True)
class DetachedWorker:
    """Starts, stops and watches the worker on this machine.

    Attributes:
        environ: the environment; the worker gets it too.
        timing: how long things may take.
    """

    environ: Mapping[str, str]
    timing: Timing

    def start(self, args: Sequence[str]) -> Done:
        """Starts the worker unless one runs; returns once it is ready.

        Raises:
            WorkerServiceError: it ended again, or did not get ready in time.
        """
        with self._process.locked(self.timing.lock_seconds):
            set_wanted(self.environ, Wanted.RUNNING)
            return self._start(args)

    def stop(self) -> Done:
        """Ends the worker, also one that was not started from here; does nothing if there is none."""
        set_wanted(self.environ, Wanted.STOPPED)
        with self._process.locked(self.timing.lock_seconds):
            return self._stop() or stop_by_request(self.environ, self.timing)

    def restart(self, args: Sequence[str]) -> Done:
        """Ends the worker if it runs, and starts it."""
        with self._process.locked(self.timing.lock_seconds):
            set_wanted(self.environ, Wanted.RUNNING)
            stopped = self._stop()
            started = self._start(args)
            return Done(f"{stopped.did}; {started.did}", started.changed, started.status) if stopped else started

    def observe(self, timeout: float) -> Observation:
        """Looks at the worker, for at most `timeout` seconds."""
        health, text = ask_health(worker_url(self.environ), timeout / 2)
        status = when_answering(self.environ, timeout / 2)
        record = self._process.record()
        if record is None:
            return Observation(Mode.DETACHED, wanted(self.environ), Process.NEVER_STARTED, health, text, status=status)
        if self._process.is_alive(record):
            return Observation(Mode.DETACHED, wanted(self.environ), Process.RUNNING, health, text, status=status)
        code, words = self._process.exit_code(record), "\n".join(self._process.tail(record, 5))
        return Observation(Mode.DETACHED, wanted(self.environ), Process.ENDED, health, text, code, status, words)

    @property
    def _process(self) -> DetachedProcess:
        return DetachedProcess(worker_folder(self.environ))

    def _start(self, args: Sequence[str]) -> Done:
        record = self._process.record()
        if record is not None and self._process.is_alive(record):
            return Done(f"the worker runs already, since process {record.pid} was started; nothing was done", False, self._ask())
        self._note_address(_reachable(self._listen()))
        if (other := self._ask()) is not None:
            if not other.is_always_on:
                text = f"run {other.dagster_run_id} is using {worker_url(self.environ)}; wait for its end, or cancel it"
                raise WorkerServiceError(text)
            text = f"a worker runs already that was not started from here (pid {other.pid} on {other.host}); nothing was done"
            return Done(text, False, other)
        command = [str(find_binary(BINARY, self.environ)), *args]
        record = self._process.start(command, self._worker_environment())
        self._await_ready(record)
        return Done(f"started the worker as process {record.pid}; its log is `{self._process.log}`", True, self._ask())

    def _await_ready(self, record: Record) -> None:
        def ready_or_gone() -> bool:
            return not self._process.is_alive(record) or self._is_ready(record)

        in_time = becomes_true(ready_or_gone, self.timing.start_seconds)
        if in_time and self._process.is_alive(record):
            return
        log = "\n".join(self._process.tail(record, TAIL_LINES)) or "(it said nothing)"
        if in_time:
            code = self._process.exit_code(record)
            how = f"with code {code} ({meaning_of(code).text})" if code is not None else "and nobody saw how"
            raise WorkerServiceError(f"the worker ended while it was starting, {how}; end of its log:\n{log}", exit_code=code)
        text = f"the worker was not ready after {self.timing.start_seconds:g} s; it goes on trying. End of its log:\n{log}"
        raise WorkerServiceError(text)

    def _is_ready(self, record: Record) -> bool:
        if self._listen().endswith(ANY_PORT):
            listens = self._process.address(record)
            if listens is None:
                return False
            self._note_address(_reachable(listens))
        try:
            return ask(worker_url(self.environ), "/readyz", self.timing.ask_seconds).says_yes
        except WorkerUnreachableError:
            return False

    def _stop(self) -> Done | None:
        """Ends the process on record; None if there is none."""
        record = self._process.record()
        if record is None or not self._process.is_alive(record):
            return None
        signal_name = self._process.stop(record, self.timing.stop_seconds)
        self._address_file.unlink(missing_ok=True)
        if signal_name is None:
            return None
        if signal_name == "SIGKILL":
            return Done(f"killed the worker: it did not end within {self.timing.stop_seconds:g} s of SIGTERM", True, None)
        code = self._process.exit_code(record)
        if code == 0:
            return Done("stopped the worker; what it had read is committed", True, None)
        how = "nobody saw how it ended" if code is None else f"it exited with code {code} ({meaning_of(code).text})"
        return Done(f"stopped the worker; {how}", True, None)

    def _worker_environment(self) -> dict[str, str]:
        env = {
            name: value for name, value in self.environ.items() if name not in OF_ONE_RUN and not name.startswith(PIPES_PREFIX)
        }
        env["STREAMIFY_HOME"] = str(streamify_home(self.environ))
        env["STREAMIFY_METRICS_LISTEN"] = self._listen()
        return env

    def _listen(self) -> str:
        """Where the worker is told to listen: as configured, else at the address it is asked at."""
        if configured := self.environ.get("STREAMIFY_METRICS_LISTEN"):
            return configured
        address = urlsplit(self.environ.get("STREAMIFY_WORKER_URL") or DEFAULT_URL)
        host = "127.0.0.1" if address.hostname == "localhost" else address.hostname
        return f"{host}:{address.port or 80}"

    def _note_address(self, address: str) -> None:
        """Leaves the address to those who ask the worker later, unless it is not known yet."""
        if address.endswith(ANY_PORT):
            self._address_file.unlink(missing_ok=True)
        else:
            write_atomically(self._address_file, f"http://{address}\n")

    def _ask(self) -> WorkerStatus | None:
        return when_answering(self.environ, self.timing.ask_seconds)

    @property
    def _address_file(self) -> Path:
        return worker_folder(self.environ) / ADDRESS_FILE


def _reachable(address: str) -> str:
    """An address to ask: a worker that listens on every one is asked on this machine's own."""
    host, _, port = address.rpartition(":")
    return f"127.0.0.1:{port}" if host == "0.0.0.0" else f"[::1]:{port}" if host == "[::]" else address
