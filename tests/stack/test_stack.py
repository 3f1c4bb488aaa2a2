"""The stack itself: components come back on the same port with their data, and nothing foreign is ever signalled."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.stack import Stack, StackOptions
from tools.stack.errors import StackError
from tools.stack.http import request
from tools.stack.ports import free_ports, is_listening
from tools.stack.processes import ProcessId, is_alive, kill, start_time, stop
from tools.stack.s3 import S3Endpoint, ensure_bucket


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of Kafka alone."""
    with Stack(tmp_path_factory.mktemp("broker"), StackOptions(only=("kafka",))) as running:
        yield running


def produce(servers: str, topic: str, values: list[bytes]) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(30) == 0


def consume(servers: str, topic: str, count: int) -> list[bytes]:
    from confluent_kafka import Consumer

    consumer = Consumer({"bootstrap.servers": servers, "group.id": os.urandom(4).hex(), "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    found: list[bytes] = []
    while len(found) < count:
        messages = consumer.consume(count - len(found), timeout=30)
        assert messages, f"{len(found)} of {count} messages"
        found += [message.value() for message in messages if message.error() is None]
    consumer.close()
    return found


@pytest.mark.integration
def test_killed_broker_comes_back_on_its_port_with_its_data(broker: Stack) -> None:
    servers = broker.kafka.bootstrap_servers
    broker.kafka.tool(
        "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", servers, "--create", "--topic", "t", "--partitions", "1"
    )
    produce(servers, "t", [b"1", b"2", b"3"])

    broker.kafka.kill()
    assert not is_listening(broker.kafka.port)
    broker.kafka.start()

    assert broker.kafka.bootstrap_servers == servers
    assert consume(servers, "t", 3) == [b"1", b"2", b"3"]


@pytest.mark.integration
def test_store_keeps_its_objects_and_checks_keys(stack: Stack) -> None:
    endpoint = stack.minio.endpoint
    ensure_bucket(endpoint, "mine")

    stack.minio.stop()
    assert not is_listening(stack.minio.port)
    stack.minio.start()

    assert (stack.minio.data / "mine").is_dir()
    with pytest.raises(StackError, match="403"):
        ensure_bucket(S3Endpoint(endpoint.url, endpoint.access_key, "wrong", endpoint.region), "other")
    assert request("GET", f"{endpoint.url}/lakehouse").status == 403


@pytest.mark.integration
def test_second_process_finds_the_running_stack_by_its_state_file(stack: Stack) -> None:
    program = [sys.executable, "-m", "tools.stack"]
    state = ["--state", str(stack.paths.root)]
    before = {part.name: part.process for part in stack.all()}

    again = subprocess.run([*program, "up", "--only", "gateway", *state], capture_output=True, text=True, check=False)
    status = subprocess.run([*program, "status", *state], capture_output=True, text=True, check=False)
    env = subprocess.run([*program, "env", *state], capture_output=True, text=True, check=True)

    assert again.returncode == 0, again.stderr
    assert status.returncode == 0
    assert status.stderr.count("pid ") == 3
    assert {part.name: part.process for part in Stack(stack.paths.root).all()} == before
    exported = dict(shlex.split(line)[1].split("=", 1) for line in env.stdout.splitlines())
    assert exported == stack.environment()
    assert set(exported) >= {"POLARIS_URI", "POLARIS_CLIENT_SECRET", "AWS_ENDPOINT_URL", "DAGSTER_PIPES_BUCKET"}


@pytest.mark.integration
def test_secrets_stand_in_no_command_line_and_no_log(stack: Stack) -> None:
    secrets = [stack.minio.endpoint.secret_key, stack.gateway.root[1], stack.gateway.credentials("worker")[1]]
    assert stack.paths.file.stat().st_mode & 0o777 == 0o600

    for part in (stack.minio, stack.rest, stack.gateway):
        text = " ".join(part.command()) + stack.paths.log(part.name).read_text(encoding="utf-8")
        assert not [secret for secret in secrets if secret in text], part.name


@pytest.mark.integration
def test_taken_port_is_a_clear_error_and_nothing_is_left_running(stack: Stack, tmp_path: Path) -> None:
    other = Stack(tmp_path, StackOptions(only=("minio",), ports={"minio": stack.minio.port}))

    with pytest.raises(StackError, match=f"port {stack.minio.port} for `minio` is taken"):
        other.start()

    assert stack.minio.is_alive()
    assert not other.minio.is_alive()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A foreign process."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def test_process_with_a_reused_pid_is_never_signalled(sleeper: subprocess.Popen[bytes]) -> None:
    remembered = ProcessId(sleeper.pid, "the start time of another process")

    assert not is_alive(remembered)
    kill(remembered)
    stop(remembered)

    assert sleeper.poll() is None


def test_stop_kills_a_process_that_ignores_sigterm(wait_until: Callable[..., None], tmp_path: Path) -> None:
    marker = tmp_path / "ready"
    program = (
        f"import signal, pathlib, time; signal.signal(15, signal.SIG_IGN); pathlib.Path({str(marker)!r}).touch(); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    wait_until(marker.exists, "the process to ignore SIGTERM")
    identity = ProcessId(process.pid, start_time(process.pid) or "")

    stop(identity, grace_seconds=0.2)

    assert not is_alive(identity)
    process.returncode = -9


def test_free_ports_are_distinct() -> None:
    ports = free_ports(50)

    assert len(set(ports)) == 50


def test_unknown_component_is_named(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="unknown component `zookeeper`"):
        Stack(tmp_path, StackOptions(only=("zookeeper",)))


def test_secure_listeners_keep_their_ports_and_password_and_leave_those_of_the_plain_one(tmp_path: Path) -> None:
    def described(*, secure_kafka: bool) -> Stack:
        stack = Stack(tmp_path, StackOptions(only=("kafka",), secure_kafka=secure_kafka))
        stack.save()
        return stack

    plain, first, second = described(secure_kafka=False), described(secure_kafka=True), described(secure_kafka=True)

    assert plain.kafka.secure is None
    assert first.kafka.secure is not None
    assert first.kafka.secure == second.kafka.secure
    assert first.kafka.ports[:2] == plain.kafka.ports
    assert len(set(first.kafka.ports)) == 6


def test_state_file_is_not_needed_to_ask_for_the_status(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.stack", "--state", str(tmp_path / "none"), "status"]
    status: Any = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (status.returncode, status.stderr) == (0, "stack: nothing runs\n")
    assert json.dumps(os.listdir(tmp_path)) == "[]"  # noqa: PTH208 - a listing of one empty folder
