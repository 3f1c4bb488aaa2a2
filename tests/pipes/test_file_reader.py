"""Our reader of the file channel."""

import json
import random
from pathlib import Path

import pytest

from dagster_project.resources.pipes.file_reader import FileMessageReader, LineBuffer


@pytest.fixture
def reader(log):
    return FileMessageReader(log, poll_seconds=0.01)


def _append(params: dict[str, object], data: str) -> None:
    with Path(str(params["path"])).open("a", encoding="utf-8") as file:
        file.write(data)


def test_messages_arrive_while_the_worker_runs(reader, handler, message, custom, wait_until):
    with reader.read_messages(handler) as params:
        _append(params, message("opened", extras={}) + "\n" + custom(1) + "\n")
        wait_until(lambda: handler.payloads == [1], "the first message, before the session ends")
        _append(params, custom(2) + "\n" + message("closed") + "\n")

    assert handler.payloads == [1, 2]
    assert handler.methods[-1] == "closed"
    assert (reader.journal.opened, reader.journal.closed, reader.journal.losses) == (True, True, [])


def test_half_a_line_waits_for_its_other_half(reader, handler, custom, wait_until):
    with reader.read_messages(handler) as params:
        line = custom("whole")
        _append(params, custom("first") + "\n" + line[:20])
        wait_until(lambda: handler.payloads == ["first"], "the line before")
        _append(params, line[20:])
        _append(params, "\n")

    assert handler.payloads == ["first", "whole"]
    assert reader.journal.num_refused == 0


def test_a_last_line_without_newline_is_read_at_the_end(reader, handler, custom):
    with reader.read_messages(handler) as params:
        _append(params, custom(1))

    assert handler.payloads == [1]


def test_a_worker_killed_in_the_middle_of_a_line_costs_one_warning(reader, handler, custom, log):
    with reader.read_messages(handler) as params:
        _append(params, custom(1) + "\n" + custom(2)[:30])

    assert handler.payloads == [1]
    assert len(log.warnings) == 1


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param("not json", id="garbage"),
        pytest.param("[1, 2]", id="json but no object"),
        pytest.param('{"method": "log"}', id="no version"),
        pytest.param('{"__dagster_pipes_version": "0.1"}', id="no method"),
        pytest.param('{"__dagster_pipes_version": "0.1", "method": "x", "params": 7}', id="params are a number"),
        pytest.param(
            '{"__dagster_pipes_version": "0.1", "method": "x", "params": {"payload": "POISON"}}', id="refused by Dagster"
        ),
        pytest.param("\udcff\udcfe", id="not UTF-8"),
    ],
)
def test_a_bad_message_costs_one_warning_and_nothing_else(reader, handler, custom, log, bad):
    with reader.read_messages(handler) as params, Path(str(params["path"])).open("ab") as file:
        file.write(f"{custom(1)}\n{bad}\n\n{custom(2)}\n".encode(errors="surrogateescape"))

    assert handler.payloads == [1, 2]
    assert reader.journal.num_refused == 1
    assert len(log.warnings) == 1
    assert reader.journal.losses == []


def test_the_exception_the_worker_closed_with_is_kept_with_its_causes(reader, handler, message):
    exception = {"message": "commit failed", "stack": [], "name": "E", "context": None}
    exception["cause"] = {"message": "catalog is away", "stack": [], "name": "E", "cause": None, "context": None}

    with reader.read_messages(handler) as params:
        _append(params, message("log", level="ERROR", message="first sign") + "\n")
        _append(params, message("closed", exception=exception) + "\n")

    assert reader.journal.error == "commit failed\n  caused by: catalog is away"
    assert reader.journal.last_error == "first sign"


def _numbered(line: str, seq: int, writer: str = "w") -> str:
    return json.dumps({**json.loads(line), "seq": seq, "writer": writer})


def test_a_repeated_message_is_passed_over_and_a_restarted_writer_is_not(reader, handler, custom):
    lines = [_numbered(custom("a"), 1), _numbered(custom("b"), 2), _numbered(custom("b"), 2), _numbered(custom("c"), 1, "w2")]

    with reader.read_messages(handler) as params:
        _append(params, "\n".join(lines))

    assert handler.payloads == ["a", "b", "c"]
    assert reader.journal.losses == []


def test_a_missing_number_is_a_loss(reader, handler, custom):
    with reader.read_messages(handler) as params:
        _append(params, _numbered(custom("a"), 1) + "\n" + _numbered(custom("d"), 4))

    assert handler.payloads == ["a", "d"]
    assert reader.journal.losses == ["2 messages before number 4 of writer w are missing"]


def test_an_unreadable_line_accounts_for_its_number(reader, handler, custom):
    with reader.read_messages(handler) as params:
        _append(params, _numbered(custom("a"), 1) + "\ngarbage\n" + _numbered(custom("c"), 3))

    assert handler.payloads == ["a", "c"]
    assert (reader.journal.num_refused, reader.journal.losses) == (1, [])


def test_the_death_of_the_reader_is_a_loss(log, handler):
    class BrokenReader(FileMessageReader):
        def read_all(self, sink):
            raise OSError("disk is gone")

    reader = BrokenReader(log)

    with reader.read_messages(handler):
        pass

    assert reader.journal.losses == ["the message reader died: OSError: disk is gone"]


def test_a_reader_reads_one_session_only(reader, handler):
    with reader.read_messages(handler):
        pass

    with pytest.raises(RuntimeError, match="one session only"), reader.read_messages(handler):
        pass


def test_the_file_goes_with_the_session(reader, handler):
    with reader.read_messages(handler) as params:
        path = Path(str(params["path"]))
        assert path.exists()

    assert not path.parent.exists()


def test_lines_are_the_same_however_the_bytes_are_cut():
    seeded = random.Random(7)
    lines = [bytes(seeded.choices(b"abc", k=seeded.randrange(40))) for _ in range(200)]
    data = b"\n".join(lines)
    for _ in range(50):
        buffer = LineBuffer()
        seen = []
        rest = data
        while rest:
            size = seeded.randrange(1, 60)
            seen += buffer.feed(rest[:size])
            rest = rest[size:]

        assert [*seen, buffer.rest()] == lines
