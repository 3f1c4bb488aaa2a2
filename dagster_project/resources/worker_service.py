"""How the always-on worker is run, as a resource: by Dagster itself, or by a service manager that Dagster tells what to do."""

import os
import shlex
from collections.abc import Mapping, Sequence

import dagster as dg

from dagster_project.lib.worker_health import Mode, Observation
from dagster_project.lib.worker_wanted import Wanted, wanted
from dagster_project.resources.worker_detached import DetachedWorker
from dagster_project.resources.worker_managed import ManagedWorker
from dagster_project.resources.worker_outcome import Done, Timing, WorkerServiceError


class WorkerService(dg.ConfigurableResource[object]):
    """Starts, stops and watches the always-on worker; `STREAMIFY_WORKER_MODE` says how it is run.

    Attributes:
        start_seconds: until it is ready; it waits a minute for brokers and catalog by itself.
        stop_seconds: from the request to stop until it is killed; it needs at most 9 s.
    """

    start_seconds: float = 90.0
    stop_seconds: float = 20.0

    def start(self, args: Sequence[str] = ()) -> Done:
        """Starts the worker unless one runs, and waits until it is ready.

        Args:
            args: further arguments of the worker, for decisions that hold for one start.

        Raises:
            WorkerServiceError: tells why, with the end of the worker's log where there is one.
        """
        match self._worker():
            case DetachedWorker() as worker:
                return worker.start(args)
            case ManagedWorker() as worker:
                self._refuse(args)
                return worker.start()

    def stop(self) -> Done:
        """Stops the worker, and remembers that this was on purpose.

        Raises:
            WorkerServiceError: it is still there.
        """
        return self._worker().stop()

    def restart(self, args: Sequence[str] = ()) -> Done:
        """Stops the worker if it runs, starts it, and waits until it is ready.

        Raises:
            WorkerServiceError: as `start` and `stop`.
        """
        match self._worker():
            case DetachedWorker() as worker:
                return worker.restart(args)
            case ManagedWorker() as worker:
                self._refuse(args)
                return worker.restart()

    def observe(self, timeout: float = 10.0) -> Observation:
        """Looks at the worker, for at most `timeout` seconds."""
        return self._worker().observe(timeout)

    def wanted(self) -> Wanted | None:
        """Returns what was asked for last."""
        return wanted(os.environ)

    def _worker(self) -> DetachedWorker | ManagedWorker:
        timing = Timing(start_seconds=self.start_seconds, stop_seconds=self.stop_seconds)
        if mode_of(os.environ) is Mode.SERVICE:
            return ManagedWorker(os.environ, timing)
        return DetachedWorker(os.environ, timing)

    def _refuse(self, args: Sequence[str]) -> None:
        if args:
            raise WorkerServiceError(f"a service manager starts the worker: give it `{shlex.join(args)}` there")


def mode_of(environ: Mapping[str, str]) -> Mode:
    """Returns who runs the worker.

    Raises:
        WorkerServiceError: the setting names no mode.
    """
    text = environ.get("STREAMIFY_WORKER_MODE") or Mode.DETACHED.value
    try:
        return Mode(text)
    except ValueError:
        modes = " or ".join(f"`{mode.value}`" for mode in Mode)
        raise WorkerServiceError(f"invalid `STREAMIFY_WORKER_MODE`: `{text}` is not {modes}") from None
