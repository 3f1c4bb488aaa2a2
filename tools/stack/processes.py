"""Processes by PID *and* start time, so that a PID which the system has given to another process is never signalled."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.stack.errors import StackError

POLL_SECONDS = 0.02


@dataclass(frozen=True)
class ProcessId:
    """A process as the state file remembers it."""

    pid: int
    started: str


def start_time(pid: int) -> str | None:
    """Returns a mark that two processes with the same PID never share, or None if no such process lives."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else _start_time_by_ps(pid)
    return None if fields[0] in {"Z", "X"} and not _has_threads(pid) else fields[19]


def _has_threads(pid: int) -> bool:
    """Returns whether threads of an ended process still run: until they are gone, so are its sockets not."""
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def _start_time_by_ps(pid: int) -> str | None:
    answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def is_alive(process: ProcessId) -> bool:
    """Returns whether the very process that was started still runs; reaps it if it was our child."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    return start_time(process.pid) == process.started


def spawn(command: Sequence[str], *, log: Path, environment: Mapping[str, str], cwd: Path) -> ProcessId:
    """Starts a process in a session of its own, its output appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=cwd,
            start_new_session=True,
        )
    child.returncode = 0  # it outlives this interpreter on purpose: no warning when the object goes
    return ProcessId(child.pid, start_time(child.pid) or "gone")


def _signal(process: ProcessId, number: signal.Signals) -> None:
    if is_alive(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def kill(process: ProcessId) -> None:
    """Sends SIGKILL and waits until the process is gone."""
    _signal(process, signal.SIGKILL)
    wait_until(lambda: not is_alive(process), 10.0, f"process {process.pid} survived SIGKILL")


def stop(process: ProcessId, grace_seconds: float = 20.0) -> None:
    """Sends SIGTERM, after the grace SIGKILL, and waits until the process is gone."""
    _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while is_alive(process) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    kill(process)


def wait_until(condition: Callable[[], bool], seconds: float, failure: str) -> None:
    """Waits for a condition.

    Raises:
        StackError: with `failure` as text, if the condition does not hold within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise StackError(f"{failure} (waited {seconds:.0f} s)")
        time.sleep(POLL_SECONDS)


def tail(log: Path, lines: int = 15) -> str:
    """Returns the last lines of a log, for error messages."""
    if not log.exists():
        return "(no log)"
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
