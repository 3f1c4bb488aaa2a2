"""A worker process cannot outlive its step, at whatever moment the step's own process is killed."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

STEP = """
    import os, queue, signal, sys
    from dagster_project.resources.pipes import process

    {fault}
    command = [sys.executable, "-c", "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"]
    with process.running_worker([*command, {running!r}], os.environ, queue.SimpleQueue(), guard_seconds_per_step=1) as worker:
        open({pid!r}, "w").write(str(worker.pid))
        worker.wait()
"""
# Where the step's process is killed by itself: after the worker's process was made, before its guard was.
BEFORE_THE_GUARD = """
    start = process.WorkerProcess.__init__
    def tell_and_die(self, popen, events):
        open({pid!r}, "w").write(str(popen.pid))
        os.kill(os.getpid(), signal.SIGKILL)
    process.WorkerProcess.__init__ = tell_and_die
"""


@pytest.fixture
def start(tmp_path: Path):
    """`start(fault)`: a process that runs a worker; returns it with the files that will name the worker's id."""
    started = []

    def run(fault: str) -> tuple[subprocess.Popen, Path, Path]:
        pid, running = tmp_path / "pid", tmp_path / "running"
        fault = textwrap.dedent(fault.format(pid=str(pid)))
        script = textwrap.dedent(STEP).format(fault=fault, pid=str(pid), running=str(running))
        process = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY)
        started.append(process)
        return process, pid, running

    yield run
    for process in started:
        process.kill()
        process.wait()


def _number_in(path: Path) -> int:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return int(text) if text else 0


def test_a_worker_ends_when_its_step_s_process_is_killed(start, wait_until, process_is_gone):
    process, _, running = start("")
    wait_until(lambda: _number_in(running), "the worker to run")
    worker = _number_in(running)
    assert not process_is_gone(worker)

    process.kill()

    wait_until(lambda: process_is_gone(worker), "the guard to stop the worker")


def test_a_worker_without_a_guard_never_begins(start, wait_until, process_is_gone):
    process, pid, running = start(BEFORE_THE_GUARD)
    process.wait(30)
    worker = _number_in(pid)

    wait_until(lambda: process_is_gone(worker), "the worker's process to end by itself")

    assert worker > 0
    assert not running.exists()
