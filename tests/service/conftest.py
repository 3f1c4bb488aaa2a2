"""What the tests of the always-on worker share."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from tests.service.endpoint import Endpoint, endpoint

PROGRAM = Path(__file__).with_name("fake_service.py")
WELL = {"exits_with": None, "says": "", "ready": True, "healthy": True, "deaf": False}


@dataclass(frozen=True)
class FakeService:
    """The folder of the stand-in for the always-on worker."""

    folder: Path

    def behaves(self, **changes: object) -> None:
        """Says how it behaves from now on; everything else is well."""
        (self.folder / "behaviour.json").write_text(json.dumps(WELL | changes), encoding="utf-8")

    @property
    def starts(self) -> list[tuple[int, list[str]]]:
        """Process id and arguments of every start."""
        with suppress(FileNotFoundError):
            lines = (self.folder / "starts").read_text(encoding="utf-8").splitlines()
            return [(pid, arguments) for pid, arguments in map(json.loads, lines)]
        return []

    @property
    def pid(self) -> int:
        """Process id of the last start."""
        return self.starts[-1][0]


@pytest.fixture
def asked() -> Iterator[Endpoint]:
    """An endpoint that answers as the test says."""
    with endpoint() as made:
        yield made


@pytest.fixture
def service(
    clean_environment: pytest.MonkeyPatch, tmp_path: Path, process_is_gone: Callable[[int], bool]
) -> Iterator[FakeService]:
    """The stand-in as `streamify-stream`, on a port of the system's choice; what it started is gone after the test."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "streamify-stream"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {PROGRAM} {folder} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    clean_environment.setenv("STREAMIFY_HOME", str(tmp_path / "home"))
    clean_environment.setenv("STREAMIFY_BIN_DIR", str(folder))
    clean_environment.setenv("STREAMIFY_METRICS_LISTEN", "127.0.0.1:0")
    made = FakeService(folder)
    made.behaves()
    yield made
    for pid, _ in made.starts:
        if not process_is_gone(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance of this test alone."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance
