"""A worker process that cannot outlive its step.

Guarantees: the worker leads a process group of its own, so a terminal's Ctrl-C reaches it only through us; on the way out of
`running_worker` the whole group is gone, however the block is left. Should this process be killed without a chance to clean up
(`kill -9`, out of memory), a small guard beside it, whose standard input ends with us, takes the group down by the same steps:
SIGINT, SIGTERM, SIGKILL, with time to finish in between. The worker begins only once its guard stands, so there is no moment
without one.
"""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
TAIL_LINES = 50
MAX_LINE_CHARS = 65_536

# $1: process group, $2: seconds per step. Ends quietly at a line on standard input, acts at its end.
GUARD_SCRIPT = """
trap '' HUP INT TERM
read -r _ && exit 0
for name in INT TERM; do
    kill -s "$name" -- "-$1" 2>/dev/null || exit 0
    left=$(( $2 * 10 ))
    while [ "$left" -gt 0 ]; do
        kill -s 0 -- "-$1" 2>/dev/null || exit 0
        sleep 0.1
        left=$(( left - 1 ))
    done
done
kill -s KILL -- "-$1" 2>/dev/null
"""

# Becomes the program given as arguments at a line on standard input; if that ends without one, we are gone, and so is it.
GATE_SCRIPT = 'read -r _ || exit 1; exec "$@" </dev/null'


@dataclass(frozen=True)
class WorkerExited:
    """The worker has ended; `WorkerProcess.reap` tells how."""


@dataclass(frozen=True)
class Interrupted:
    """This process got a signal that asks the step to stop."""

    signal_number: int


ProcessEvent = WorkerExited | Interrupted
EventQueue = queue.SimpleQueue[ProcessEvent]


class WorkerProcess:
    """A started worker; make it with `running_worker`."""

    def __init__(self, process: subprocess.Popen[str], events: EventQueue) -> None:
        self._process = process
        self._events = events
        self._exit_code: int | None = None
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._forwarders = [
            threading.Thread(target=self._forward, args=(process.stdout, sys.stdout), daemon=True),
            threading.Thread(target=self._forward, args=(process.stderr, sys.stderr), daemon=True),
        ]
        self._waiter = threading.Thread(target=self._await_exit, daemon=True)
        for thread in (*self._forwarders, self._waiter):
            thread.start()

    @property
    def pid(self) -> int:
        """Process id, which is the id of its group too."""
        return self._process.pid

    def begin(self) -> None:
        """Lets the program begin."""
        if self._process.stdin is not None:
            with suppress(OSError), self._process.stdin as gate:
                gate.write("begin\n")

    def wait(self) -> bool:
        """Waits for the worker's end or an interrupt; returns True if it was an interrupt."""
        return isinstance(self._events.get(), Interrupted)

    def stop(self, seconds_per_step: float) -> str:
        """Asks the worker to stop, then makes it: SIGINT, SIGTERM, SIGKILL.

        Returns:
            Name of the signal after which it ended.
        """
        for number in STOP_SIGNALS:
            self._signal_group(number)
            if self._exited_within(seconds_per_step):
                return number.name
        self._signal_group(signal.SIGKILL)
        return signal.SIGKILL.name

    def reap(self) -> int:
        """Waits for the worker and its output, and kills what it left behind. Returns its exit code (negative: a signal)."""
        if self._exit_code is None:
            self._waiter.join()
            self._signal_group(signal.SIGKILL)  # the worker is a zombie until `wait`, so its id cannot have a new owner
            self._exit_code = self._process.wait()
            for thread in self._forwarders:
                thread.join()
        return self._exit_code

    def kill(self) -> None:
        """Kills the group; does nothing once it is reaped."""
        if self._exit_code is None:
            self._signal_group(signal.SIGKILL)

    def _exited_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                event = self._events.get(timeout=left)
            except queue.Empty:
                return False
            if isinstance(event, WorkerExited):
                return True
        return False

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _await_exit(self) -> None:
        # Waits without reaping: until `reap` the id stays ours, so no signal can hit a stranger.
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        self._events.put(WorkerExited())

    def _forward(self, source: IO[str] | None, target: IO[str]) -> None:
        if source is None:
            return
        with source:
            while line := source.readline(MAX_LINE_CHARS):
                self.tail.append(line.rstrip("\n"))
                with suppress(OSError, ValueError):  # our own output is closed: the worker must not notice
                    target.write(line)
                    target.flush()


@contextmanager
def running_worker(
    command: Sequence[str], env: Mapping[str, str], events: EventQueue, guard_seconds_per_step: int = 10
) -> Iterator[WorkerProcess]:
    """Starts `command` and its guard. Interrupts must be deferred around it (`deferred_interrupts`).

    Args:
        command: program and arguments.
        env: the whole environment of the worker.
        events: where the worker's end is announced, and where interrupts come from.
        guard_seconds_per_step: time the guard gives the worker after each signal.
    """
    process = subprocess.Popen(
        ["/bin/sh", "-c", GATE_SCRIPT, "gate", *command],
        env=dict(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    worker = WorkerProcess(process, events)
    try:
        with _guarded(worker.pid, guard_seconds_per_step):
            worker.begin()
            yield worker
    finally:
        worker.kill()
        worker.reap()


@contextmanager
def _guarded(process_group: int, seconds_per_step: int) -> Iterator[None]:
    guard = subprocess.Popen(
        ["/bin/sh", "-c", GUARD_SCRIPT, "guard", str(process_group), str(seconds_per_step)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,  # it must not keep the step's own output open
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        if guard.stdin is not None:
            with suppress(OSError):
                guard.stdin.write(b"done\n")
                guard.stdin.close()
        guard.wait()
