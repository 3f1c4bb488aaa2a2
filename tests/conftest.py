"""Fixtures for every test. Servers are started by the tests that need them, on free ports."""

import json
import os
import signal
import stat
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FAKE_WORKER = REPOSITORY / "tests" / "pipes" / "fake_worker.py"
# Settings of the developer's own shell must not change what a test sees.
FOREIGN_PREFIXES = ("STREAMIFY_", "POLARIS_", "DAGSTER_", "AWS_", "KAFKA_")


def pytest_configure() -> None:
    """A shell lets its background jobs ignore SIGINT; Dagster treats SIGTERM alike, and all servers of tests would inherit it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass
class FakeWorker:
    """A program that behaves as the test says; see `fake_worker.py` for the steps."""

    folder: Path
    steps: list[tuple[str, object]] = field(default_factory=list)

    def does(self, *steps: tuple[str, object], exits_with: int = 0) -> "FakeWorker":
        """Sets what the worker does; `("opened", None)` and so on."""
        scenario = {"steps": [list(step) for step in steps], "exit": exits_with}
        (self.folder / "scenario.json").write_text(json.dumps(scenario), encoding="utf-8")
        return self

    @property
    def command(self) -> list[str]:
        """Program and arguments."""
        return [sys.executable, str(FAKE_WORKER), str(self.folder / "scenario.json")]

    def install(self, name: str) -> Path:
        """Puts an executable `name` into a folder of its own and returns the folder."""
        folder = self.folder / "bin"
        folder.mkdir(exist_ok=True)
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {" ".join(self.command)} "$@"\n', encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return folder


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without any setting of this project; further changes go away with the test."""
    for name in list(os.environ):
        if name.startswith(FOREIGN_PREFIXES) and name != "AWS_CA_BUNDLE":
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def fake_worker(tmp_path: Path) -> FakeWorker:
    """A worker that does what the test tells it."""
    folder = tmp_path / "worker"
    folder.mkdir()
    return FakeWorker(folder)


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """`wait_until(condition, "what it is", deadline_seconds=30)`: polls, and fails with that text at the deadline."""

    def wait(condition: Callable[[], object], what: str, deadline_seconds: float = 30) -> None:
        deadline = time.monotonic() + deadline_seconds
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"waited {deadline_seconds} s for: {what}")
            time.sleep(0.02)

    return wait


@pytest.fixture
def process_is_gone() -> Callable[[int], bool]:
    """`process_is_gone(pid)`: True if there is no such process, or only its zombie."""

    def gone(pid: int) -> bool:
        status = Path(f"/proc/{pid}/stat")
        try:
            return status.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    return gone


@pytest.fixture
def s3_server(clean_environment: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server in this process, on a free port; the environment names it. Returns its address."""
    from moto.server import ThreadedMotoServer

    clean_environment.setenv("AWS_ACCESS_KEY_ID", "test")
    clean_environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
    clean_environment.setenv("AWS_REGION", "us-east-1")
    clean_environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    clean_environment.setenv("AWS_ENDPOINT_URL", address)
    # What it stores belongs to this process, not to the server: it would outlive the test.
    urllib.request.urlopen(urllib.request.Request(f"{address}/moto-api/reset", method="POST")).close()
    yield address
    server.stop()
