"""Runs one program and tells what it cost: wall time, user and system CPU, peak memory."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
#: Between two looks at the memory of a running process, in seconds.
LOOK_EVERY = 0.02


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
        peak_mib, is_asked = 0.0, False
        while True:
            peak_mib = max(peak_mib, _peak_of(process.pid))
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            wall = time.time() - started
            if ended:
                break
            if stop_after is not None and wall > stop_after and not is_asked:
                process.terminate()
                is_asked = True
            time.sleep(LOOK_EVERY)
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    if stop_after is not None and not is_asked:
        raise RuntimeError(f"{command[0]} ended before it was stopped, see {log}")
    return Cost(code, started, wall, usage.ru_utime + usage.ru_stime, peak_mib)


def _peak_of(pid: int) -> float:
    """Returns the largest resident set of a running process so far, MiB; 0 before it has one.

    Not `ru_maxrss`: that begins with the memory of the process that starts the other, until it has become another program.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return 0.0
    peak = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")), "0")
    return int(peak) / 1024


def cpu_of(pid: int) -> float:
    """Returns the user and system CPU seconds that a running process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cpu_with_children(pid: int) -> float:
    """Returns the user and system CPU seconds that a running process and all below it have used."""
    children = [task.read_text(encoding="utf-8").split() for task in Path(f"/proc/{pid}/task").glob("*/children")]
    return cpu_of(pid) + sum(cpu_with_children(int(child)) for some in children for child in some)
