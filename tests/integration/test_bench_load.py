"""The bench's loader: what is in the topics is what its file of truth says, however often it is run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from tests.conftest import REPOSITORY
from tests.integration.conftest import SECONDS
from tools.prove.tables import end_offsets
from tools.stack import Stack

pytestmark = pytest.mark.integration

LOADED = "auth_events"


def bench(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    environment = os.environ | variables
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)


@pytest.fixture
def servers(kafka: Stack) -> Iterator[str]:
    """A broker without the topic, before and after."""
    servers = kafka.kafka.bootstrap_servers
    yield servers
    admin = AdminClient({"bootstrap.servers": servers})
    admin.delete_topics([LOADED], operation_timeout=SECONDS)[LOADED].result(SECONDS)


def test_a_second_load_says_that_the_topics_exist_and_fresh_ones_can_be_asked_for(servers: str, tmp_path: Path) -> None:
    assert bench("bench.gen", "make", str(tmp_path), "--listens", "3000", "--users", "100").returncode == 0
    count = len((tmp_path / f"{LOADED}.kv").read_bytes().splitlines())
    load = ("bench.load", str(tmp_path), LOADED)

    first = bench(*load, KAFKA=servers)
    second = bench(*load, KAFKA=servers)
    after_second = sum(end_offsets(servers, LOADED).values())
    fresh = bench(*load, "--fresh", KAFKA=servers)

    assert first.returncode == 0, first.stderr
    assert f"{LOADED}: {count:,} records" in first.stdout
    assert second.returncode == 1
    assert f"topics that exist already at {servers}: {LOADED}\n" in second.stderr
    assert "--fresh" in second.stderr
    assert "Traceback" not in second.stderr
    assert fresh.returncode == 0, fresh.stderr
    assert (after_second, sum(end_offsets(servers, LOADED).values())) == (count, count)
