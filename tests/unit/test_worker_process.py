"""The detached process: real processes, and what must never happen to strangers."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from dagster_project.lib.worker_process import MAX_LOG_BYTES, DetachedProcess, LockedError, Record, becomes_true, start_time_of

SECONDS = 30
ENV = {"PATH": "/usr/bin:/bin"}
SLEEPER = ["/bin/sh", "-c", 'echo "pid $$"; exec sleep 60']
DEAF = ["/bin/sh", "-c", "trap '' TERM; echo \"pid $$\"; while :; do sleep 0.05; done"]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[DetachedProcess]:
    made = DetachedProcess(tmp_path / "worker")
    yield made
    record = made.record()
    if record is not None and made.is_alive(record):
        os.killpg(record.pid, signal.SIGKILL)


def pid_of_worker(process: DetachedProcess, record: Record) -> int:
    """Waits until the worker has said its process id, so that it runs."""
    assert becomes_true(lambda: bool(process.tail(record, 1)), SECONDS)
    return int(process.tail(record, 1)[0].split()[1])


def test_it_runs_on_record_and_ends_by_sigterm(process: DetachedProcess) -> None:
    record = process.start(SLEEPER, ENV)

    assert process.record() == record
    assert process.is_alive(record)
    assert process.exit_code(record) is None
    assert start_time_of(pid_of_worker(process, record)) is not None
    assert process.stop(record, SECONDS) == "SIGTERM"
    assert process.exit_code(record) == -signal.SIGTERM
    assert process.stop(record, SECONDS) is None


def test_it_leads_a_session_of_its_own(process: DetachedProcess) -> None:
    record = process.start(SLEEPER, ENV)

    assert os.getsid(record.pid) == record.pid != os.getsid(0)


@pytest.mark.parametrize("code", [0, 1, 3])
def test_its_exit_code_is_kept_for_who_looks_later(process: DetachedProcess, tmp_path: Path, code: int) -> None:
    record = process.start(["/bin/sh", "-c", f"exit {code}"], ENV)

    assert becomes_true(lambda: not process.is_alive(record), SECONDS)
    assert DetachedProcess(tmp_path / "worker").exit_code(record) == code


def test_a_worker_that_is_killed_is_told_from_one_that_exits(process: DetachedProcess) -> None:
    record = process.start(SLEEPER, ENV)

    os.kill(pid_of_worker(process, record), signal.SIGKILL)

    assert becomes_true(lambda: not process.is_alive(record), SECONDS)
    assert process.exit_code(record) == -signal.SIGKILL


def test_a_deaf_one_is_killed_with_all_it_started(process: DetachedProcess) -> None:
    record = process.start(DEAF, ENV)
    worker = pid_of_worker(process, record)

    assert process.stop(record, 0.2) == "SIGKILL"

    assert becomes_true(lambda: start_time_of(worker) is None, SECONDS)


def test_a_reused_pid_gets_no_signal(process: DetachedProcess) -> None:
    record = process.start(SLEEPER, ENV)
    pid_of_worker(process, record)
    process.stop(record, SECONDS)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        reused = replace(record, pid=stranger.pid)

        assert not process.is_alive(reused)
        assert process.stop(reused, SECONDS) is None
        assert stranger.poll() is None, "the stranger lives"
        stranger.kill()


def test_a_zombie_counts_as_gone(wait_until) -> None:
    child = subprocess.Popen(["true"])
    with suppress(ChildProcessError):
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert start_time_of(child.pid) is None
    child.wait()


def test_an_exit_code_of_an_earlier_process_is_not_this_one_s(process: DetachedProcess) -> None:
    record = process.start(["/bin/sh", "-c", "exit 3"], ENV)
    assert becomes_true(lambda: process.exit_code(record) == 3, SECONDS)

    assert process.exit_code(replace(record, pid=record.pid + 1)) is None
    again = process.start(SLEEPER, ENV)
    assert process.exit_code(again) is None


def test_a_worker_outlives_who_started_it(tmp_path: Path, process: DetachedProcess) -> None:
    code = (
        "import sys; from pathlib import Path; from dagster_project.lib.worker_process import DetachedProcess; "
        f"DetachedProcess(Path({str(tmp_path / 'worker')!r})).start({SLEEPER!r}, {ENV!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])

    record = process.record()
    assert record is not None
    assert process.is_alive(record)


def test_a_start_that_is_broken_off_before_it_is_on_record_starts_nothing(
    process: DetachedProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keepers: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def remembered(*args: object, **kwargs: object) -> subprocess.Popen[bytes]:
        keepers.append(real(*args, **kwargs))  # type: ignore[call-overload]
        return keepers[0]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dagster_project.lib.worker_process.subprocess.Popen", remembered)
    monkeypatch.setattr("dagster_project.lib.worker_process.write_atomically", interrupt)

    with pytest.raises(KeyboardInterrupt):
        process.start(["/bin/sh", "-c", f"touch {tmp_path}/started"], ENV)

    assert keepers[0].wait(SECONDS) == 0
    assert not (tmp_path / "started").exists()
    assert process.record() is None


def test_the_log_shows_this_process_alone_and_is_put_aside_when_it_is_large(process: DetachedProcess) -> None:
    process.folder.mkdir(parents=True)
    process.log.write_bytes(b"of an earlier one\n")
    record = process.start(["/bin/sh", "-c", "echo one; echo two >&2; echo three"], ENV)
    assert becomes_true(lambda: not process.is_alive(record), SECONDS)

    assert list(process.tail(record, 2)) == ["two", "three"]
    assert process.tail(None, 9)[0] == "of an earlier one"
    process.log.write_bytes(b"x" * (MAX_LOG_BYTES + 1))
    again = process.start(["/bin/sh", "-c", "echo new"], ENV)
    assert becomes_true(lambda: list(process.tail(again, 9)) == ["new"], SECONDS)
    assert process.log.stat().st_size == 4


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("2026-01-01T10:36:11Z  INFO metrics endpoint listens address=127.0.0.1:40123", "127.0.0.1:40123"),
        ("\x1b[2m2026-01-01T10:36:11Z\x1b[0m metrics endpoint listens \x1b[3maddress\x1b[0m=[::1]:9464", "[::1]:9464"),
        (
            '{"time":"10:36:11Z","fields":{"message":"metrics endpoint listens","address":"0.0.0.0:1"}}',
            "0.0.0.0:1",
        ),
        ("2026-01-01T10:36:11Z  INFO connected to 127.0.0.1:9092", None),
    ],
)
def test_the_address_is_found_in_every_form_of_the_log(process: DetachedProcess, line: str, address: str | None) -> None:
    record = process.start(["/bin/sh", "-c", 'printf "%s\\n" "$0"', line], ENV)
    assert becomes_true(lambda: not process.is_alive(record), SECONDS)

    assert process.address(record) == address


def test_a_broken_record_is_told_instead_of_guessed(process: DetachedProcess) -> None:
    process.folder.mkdir(parents=True)
    (process.folder / "process.json").write_text('{"pid": 1}', encoding="utf-8")

    with pytest.raises(RuntimeError, match="is broken"):
        process.record()
    (process.folder / "process.json").unlink()


def test_one_start_or_stop_at_a_time(process: DetachedProcess) -> None:
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with process.locked(SECONDS):
            inside.set()
            leave.wait(SECONDS)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(SECONDS)
    with pytest.raises(LockedError, match="another start or stop of the worker"), process.locked(0.1):
        pass
    leave.set()
    holder.join()
    with process.locked(SECONDS):
        pass
