"""Runs one program and tells what it cost: wall time, user and system CPU, peak memory."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What one process, with all its threads, took."""

    #: exit code
    code: int
    #: moment of the start, seconds since the epoch
    started: float
    #: seconds from start to end
    wall: float
    #: user and system CPU, seconds
    cpu: float
    #: largest resident set, MiB
    peak_mib: float


def run(command: Sequence[str], environment: Mapping[str, str], log: Path, stop_after: float | None = None) -> Cost:
    """Runs a program to its end, or sends SIGTERM after `stop_after` seconds."""
    with log.open("ab") as output:
        started = time.time()
        process = subprocess.Popen(command, env=os.environ | dict(environment), stdout=output, stderr=output)
        if stop_after is not None:
            try:
                process.wait(stop_after)
            except subprocess.TimeoutExpired:
                process.terminate()
        _, status, usage = os.wait4(process.pid, 0) if process.returncode is None else (0, 0, None)
    wall = time.time() - started
    if usage is None:
        raise RuntimeError(f"{command[0]} ended before it was stopped, see {log}")
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    return Cost(code, started, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def cpu_of(pid: int) -> float:
    """Returns the user and system CPU seconds that a running process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
