"""The always-on worker as a process that Dagster starts and that outlives it.

Guarantees:
* it leads a session of its own, so neither the end of the step that started it nor a terminal's Ctrl-C reaches it;
* it does not begin before it is on record, so a start that is broken off leaves nothing behind that nobody knows of;
* a signal goes only to the process on record: pid and start time together, so a pid that was given away again is left alone;
* its exit code is kept, by a small keeper beside it, so that who looks later knows whether it may be started again.
"""

import fcntl
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

MAX_LOG_BYTES = 16 * 1024 * 1024
TAIL_BYTES = 64 * 1024
SECONDS_BETWEEN_LOOKS = 0.05
LISTENS = "metrics endpoint listens"
ADDRESS = re.compile(r"(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-fA-F:.]+\]):\d+")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")

# $1: folder for the exit code; the rest: the program. A line on standard input says that we are on record, its end that we never
# will be. Signals to the group are the worker's business; the keeper waits until the worker is gone and writes how it ended.
KEEPER_SCRIPT = """
trap : HUP INT TERM
read -r _ || exit 0
folder=$1
shift
"$@" </dev/null &
worker=$!
while :; do
    wait "$worker"
    code=$?
    kill -s 0 "$worker" 2>/dev/null || break
done
echo "$$ $code" >"$folder/exit.new" && mv "$folder/exit.new" "$folder/exit"
"""


class LockedError(RuntimeError):
    """Somebody else is starting or stopping the worker."""


@dataclass(frozen=True)
class Record:
    """The process that was started last.

    Attributes:
        pid: of the keeper, which is the id of the worker's process group too.
        start_time: when the kernel started it; together with the pid this names one process.
        started_at_ms: the same for people.
        log_offset: where its part of the log begins.
    """

    pid: int
    start_time: str
    started_at_ms: int
    log_offset: int


class DetachedProcess:
    """The worker's process, by its folder: record, log and exit code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "worker.log"
        self._record = folder / "process.json"
        self._exit = folder / "exit"

    def record(self) -> Record | None:
        """Returns what was started last, or None."""
        try:
            return Record(**json.loads(self._record.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise RuntimeError(f"`{self._record}` is broken: {error}; end the worker by hand, then remove the file") from error

    def is_alive(self, record: Record) -> bool:
        """Returns whether that very process runs."""
        return start_time_of(record.pid) == record.start_time

    def exit_code(self, record: Record) -> int | None:
        """Returns how the worker of `record` ended (negative: the signal), or None if that is not known."""
        try:
            pid, code = (int(part) for part in self._exit.read_text(encoding="utf-8").split())
        except (FileNotFoundError, ValueError):
            return None
        if pid != record.pid:
            return None
        return 128 - code if code > 128 else code

    def start(self, command: Sequence[str], env: Mapping[str, str]) -> Record:
        """Starts `command` with its output going to the log, and returns at once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._exit.unlink(missing_ok=True)
        if self.log.exists() and self.log.stat().st_size > MAX_LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            offset = log.tell()
            keeper = subprocess.Popen(
                ["/bin/sh", "-c", KEEPER_SCRIPT, "keeper", str(self.folder), *command],
                env=dict(env),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # Collects it when it ends while this process still lives.
        threading.Thread(target=keeper.wait, daemon=True).start()
        assert keeper.stdin is not None
        with keeper.stdin as go:
            record = Record(keeper.pid, start_time_of(keeper.pid) or "gone", round(time.time() * 1000), offset)
            write_atomically(self._record, json.dumps(asdict(record)))
            go.write(b"go\n")
        return record

    def stop(self, record: Record, seconds: float) -> str | None:
        """Ends the process: SIGTERM, and SIGKILL after `seconds`.

        Returns:
            Name of the signal after which it was gone; None if it was gone before.
        """
        for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 10.0)):
            if not self.is_alive(record):
                return None
            with suppress(ProcessLookupError):
                os.killpg(record.pid, number)
            if becomes_true(lambda: not self.is_alive(record), patience):
                return number.name
        raise RuntimeError(
            f"process {record.pid} is still there after SIGKILL: it waits for the kernel, look at its disk or network"
        )

    def tail(self, record: Record | None, lines: int) -> Sequence[str]:
        """Returns the last lines of its log; with a record, only of that process."""
        return self._log_text(record, from_start=False).splitlines()[-lines:]

    def address(self, record: Record) -> str | None:
        """Returns the address that its endpoint listens on, if its log says so."""
        for line in self._log_text(record, from_start=True).splitlines():
            if LISTENS in line and (found := ADDRESS.search(COLOUR.sub("", line))):
                return found[0]
        return None

    @contextmanager
    def locked(self, seconds: float) -> Iterator[None]:
        """Lets one start or stop at a time in.

        Raises:
            LockedError: another one did not end within `seconds`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            if not becomes_true(lambda: _try_lock(lock.fileno()), seconds):
                raise LockedError(f"another start or stop of the worker did not end within {seconds:g} s (lock: `{lock.name}`)")
            yield

    def _log_text(self, record: Record | None, from_start: bool) -> str:
        begin = record.log_offset if record else 0
        try:
            with self.log.open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(begin if from_start else max(begin, end - TAIL_BYTES))
                return log.read(TAIL_BYTES).decode("utf-8", errors="replace")
        except FileNotFoundError:
            return ""


def start_time_of(pid: int) -> str | None:
    """Returns when the kernel started process `pid`, in words of its own; None if there is none, or only its zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self").exists() else _start_time_by_ps(pid)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return None if fields[0] in "ZX" else f"{fields[19]} ticks after boot {boot}"


def becomes_true(condition: Callable[[], bool], seconds: float, pause: float = SECONDS_BETWEEN_LOOKS) -> bool:
    """Returns True as soon as `condition` holds, False if it does not within `seconds`; looks every `pause` seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
    return True


def write_atomically(target: Path, content: str) -> None:
    """Replaces a file so that a reader sees the old content or the new."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    temporary.write_text(content, encoding="utf-8")
    temporary.replace(target)


def _start_time_by_ps(pid: int) -> str | None:
    """For systems without `/proc`."""
    printed = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    state, _, started = printed.strip().partition(" ")
    return None if not started or state.startswith("Z") else started.strip()


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
