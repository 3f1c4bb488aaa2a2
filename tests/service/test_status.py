"""Asking a running worker and the tables: what comes back, and what is said when nothing does."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dagster_project.lib.worker_http import WorkerNotListeningError, WorkerSilentError, WorkerUnreachableError, ask
from dagster_project.lib.worker_status import TablesUnknownError, ask_tables, ask_worker, worker_url
from tests.service.endpoint import STATUS, TABLES, Endpoint


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def program(folder: Path, script: str) -> dict[str, str]:
    """Puts a `streamify-stream` into `folder`; returns the environment that finds it."""
    made = folder / "streamify-stream"
    made.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    made.chmod(0o755)
    return {"STREAMIFY_BIN_DIR": str(folder), "STREAMIFY_HOME": str(folder), "PATH": "/usr/bin:/bin"}


def test_a_status_has_every_field(asked: Endpoint) -> None:
    asked.says("/v1/status", (200, STATUS))

    status = ask_worker({"STREAMIFY_WORKER_URL": asked.url + "/"}, 5)

    assert (status.host, status.pid, status.is_always_on, status.lag_records) == ("stream-1", 4711, True, 12)
    [table] = status.tables
    assert (table.snapshot_id, table.partitions[0].end_offset, status.position) == (9_007_199_254_740_993, 113, 101)


def test_fields_of_a_newer_worker_are_passed_over_and_missing_ones_are_named(asked: Endpoint) -> None:
    asked.says("/v1/status", (200, {**STATUS, "new": 1}), (200, {**STATUS, "tables": [{"topic": "listen_events"}]}))
    environ = {"STREAMIFY_WORKER_URL": asked.url}

    assert ask_worker(environ, 5).pid == 4711
    with pytest.raises(WorkerUnreachableError, match=r"what is no status: `tables\.0\.table`: Field required"):
        ask_worker(environ, 5)


@pytest.mark.parametrize(
    ("answer", "words"), [((404, "not found"), "answered 404 not found"), ((200, "<html>"), "what is no status")]
)
def test_another_server_at_that_address_is_not_taken_for_a_worker(asked: Endpoint, answer, words) -> None:
    asked.says("/v1/status", answer)

    with pytest.raises(WorkerUnreachableError, match=words):
        ask_worker({"STREAMIFY_WORKER_URL": asked.url}, 5)


def test_where_nothing_listens_this_is_said(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"

    with pytest.raises(WorkerNotListeningError, match=f"nothing listens at {url}"):
        ask_worker({"STREAMIFY_WORKER_URL": url}, 5)


@pytest.fixture
def mute() -> Iterator[tuple[str, threading.Event]]:
    """A server that takes a connection, says the beginning of an answer byte by byte, and never comes to its end."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def talk() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not over.wait(0.01):
                connection.sendall(b"x")

    thread = threading.Thread(target=talk)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", over
    over.set()
    thread.join()
    listener.close()


def test_an_answer_without_end_is_given_up_in_time(mute: tuple[str, threading.Event]) -> None:
    url, over = mute

    with pytest.raises(WorkerSilentError, match=r"did not answer within 0\.2 s"):
        ask(url, "/healthz", 0.2)

    assert not over.is_set(), "the server was still talking"


def test_a_proxy_of_the_environment_is_not_asked(asked: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    asked.says("/healthz", (200, "ok"))

    assert ask(asked.url, "/healthz", 5).says_yes


@pytest.mark.parametrize("url", ["localhost:9464", "ftp://127.0.0.1", "http://127.0.0.1:many"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(WorkerUnreachableError, match="is no address of a worker"):
        ask(url, "/healthz", 5)


def test_the_address_is_the_configured_one_else_the_noted_one_else_the_usual_one(tmp_path: Path) -> None:
    environ = {"STREAMIFY_HOME": str(tmp_path)}
    assert worker_url(environ) == "http://127.0.0.1:9464"

    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "address").write_text("http://127.0.0.1:7\n", encoding="utf-8")
    assert worker_url(environ) == "http://127.0.0.1:7"
    assert worker_url({**environ, "STREAMIFY_WORKER_URL": "http://stream-1:1"}) == "http://stream-1:1"


def test_the_tables_are_asked_with_the_settings_of_a_run_but_not_those_of_one(tmp_path: Path) -> None:
    (tmp_path / "tables.json").write_text(json.dumps(TABLES), encoding="utf-8")
    environ = program(tmp_path, f'env > {tmp_path}/seen; [ "$*" = status ] && cat {tmp_path}/tables.json')

    tables = ask_tables({**environ, "STREAMIFY_UNTIL": "caught-up", "POLARIS_CATALOG": "lake"}, 30)

    [topic] = tables.topics
    assert (tables.lag_records, tables.lag_seconds, topic.partitions[1].next_offset) == (12, None, None)
    assert topic.leases[0].host == "stream-2"
    seen = (tmp_path / "seen").read_text(encoding="utf-8")
    assert "POLARIS_CATALOG=lake" in seen
    assert "STREAMIFY_UNTIL" not in seen


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo no broker answers >&2; exit 1", "exited with code 1: no broker answers"),
        ("echo hello", "printed what is no status"),
        ('echo \'{"at_ms": "x"}\'', "printed what is no status: `at_ms`"),
    ],
)
def test_what_goes_wrong_with_the_question_is_said(tmp_path: Path, script: str, words: str) -> None:
    with pytest.raises(TablesUnknownError, match=words):
        ask_tables(program(tmp_path, script), 30)


def test_a_question_that_takes_too_long_is_ended_with_all_it_started(tmp_path: Path, process_is_gone, wait_until) -> None:
    environ = program(tmp_path, f"sleep 60 & echo $! > {tmp_path}/child.new; mv {tmp_path}/child.new {tmp_path}/child; wait")

    with pytest.raises(TablesUnknownError, match=r"did not end within 0\.5 s; are Kafka and catalog there"):
        ask_tables(environ, 0.5)

    child = tmp_path / "child"
    if child.exists():  # the machine may have been too slow to get that far
        wait_until(lambda: process_is_gone(int(child.read_text(encoding="utf-8"))), "its child to be gone")
