"""The probe, which `cargo build --release -p streamify-pipes` builds, and an S3 store for it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_project.lib.paths import find_binary
from dagster_project.resources.pipes.s3_reader import build_client
from tests.pipes.probe.launcher import BUCKET, Launcher


@pytest.fixture(scope="session")
def program() -> str:
    """Path of the probe. Found before a test cleans its environment."""
    return str(find_binary("streamify-pipes-probe", os.environ))


@pytest.fixture
def probe(program: str, tmp_path: Path, clean_environment: pytest.MonkeyPatch) -> Iterator[Launcher]:
    """Launches the probe, in runs of an instance of their own."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield Launcher(program, tmp_path, instance)


@pytest.fixture
def store(s3_server: str) -> Iterator[Any]:
    """A client of an S3 server with the bucket."""
    client = build_client(s3_server)
    client.create_bucket(Bucket=BUCKET)
    yield client
    client.close()
