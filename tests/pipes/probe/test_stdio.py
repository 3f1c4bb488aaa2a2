"""The process's own streams as a channel, its output as messages, and parameters on the command line."""

import base64
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pytest
from dagster._core.pipes.client import PipesClientCompletedInvocation
from dagster._core.pipes.utils import extract_message_or_forward_to_stdout
from dagster_aws.pipes import PipesLambdaLogsMessageReader

from tests.pipes.probe.launcher import Launcher, known_values

LAMBDA_TAIL_BYTES = 4096
OUTPUT = [
    {"do": "print", "stream": "stdout", "text": "to stdout\n"},
    {"do": "print", "stream": "stderr", "text": "to stderr: \u00e9\U0001f3b5\n"},
    {"do": "run", "command": ["sh", "-c", "echo of a child; echo of a child >&2"]},
    {"do": "print", "stream": "stdout", "text": "no newline"},
]
Ended = subprocess.CompletedProcess[bytes]


class StreamReader(dg.PipesMessageReader):
    """Takes messages out of a stream of the process, as Dagster's readers of pod and container logs do."""

    def __init__(self, stream: str):
        self.stream = stream
        self.handler: Any = None

    @contextmanager
    def read_messages(self, handler: Any) -> Iterator[dict[str, str]]:
        self.handler = handler
        yield {"stdio": self.stream}

    def consume(self, ended: Ended) -> None:
        for line in getattr(ended, self.stream).decode("utf-8").splitlines():
            extract_message_or_forward_to_stdout(self.handler, line)

    def no_messages_debug_text(self) -> str:
        return "Attempted to read a stream."


class LogClient(dg.PipesClient):
    """Runs the process to its end and hands its output on; parameters go by environment or by arguments."""

    def __init__(self, reader: dg.PipesMessageReader, consume: Callable[[Ended], None], *, by_arguments: bool = False):
        self.reader = reader
        self.consume = consume
        self.by_arguments = by_arguments

    def run(self, *, context: Any, command: list[str], extras: Any = None) -> PipesClientCompletedInvocation:  # type: ignore[override]
        with dg.open_pipes_session(context, dg.PipesEnvContextInjector(), self.reader, extras) as session:
            environment = dict(os.environ)
            if self.by_arguments:
                # Before and after the program's own, which it must find all the same.
                [first, second] = [[flag, value] for flag, value in session.get_bootstrap_cli_arguments().items()]
                command = [command[0], *first, *command[1:], *second]
            else:
                environment |= session.get_bootstrap_env_vars()
            self.consume(subprocess.run(command, env=environment, capture_output=True, check=True))
        return PipesClientCompletedInvocation(session)


@pytest.mark.parametrize("by_arguments", [False, True], ids=["environment", "command line"])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_messages_on_a_stream_are_found_among_other_lines(
    probe: Launcher, capsys: pytest.CaptureFixture[str], stream: str, by_arguments: bool
):
    reader = StreamReader(stream)
    client = LogClient(reader, reader.consume, by_arguments=by_arguments)
    other = {"do": "print", "stream": stream, "text": "another line\n"}
    script = [other, {"do": "context"}, {"do": "materialize", "values": "known"}]

    heard = probe.run(*probe.command(test_name="test_message_log", script=script), client=client, extras={"a": [1, None]})

    assert heard.success, heard.failure
    assert heard.warnings == []
    assert len(heard.own_logs) == 5
    assert [context["extras"] for context in heard.custom] == [{"a": [1, None]}]
    [materialization] = heard.materializations
    assert {name: materialization.metadata[name] for name in known_values()} == known_values()
    assert capsys.readouterr().out == "another line\n"


def test_messages_come_last_where_only_the_end_of_a_log_is_read(probe: Launcher):
    reader = PipesLambdaLogsMessageReader()

    def read_the_tail(ended: Ended) -> None:
        assert len(ended.stderr) > 2 * LAMBDA_TAIL_BYTES
        tail = ended.stderr[-LAMBDA_TAIL_BYTES:]
        reader.consume_lambda_logs({"LogResult": base64.b64encode(tail).decode("ascii")})

    noise = {"do": "print", "stream": "stderr", "text": "noise\n" * 2000}
    script = [{"do": "custom", "payload": "early"}, noise, {"do": "materialize"}]

    heard = probe.run(*probe.command(script=script), client=LogClient(reader, read_the_tail))

    assert heard.success, heard.failure
    assert heard.warnings == []
    assert heard.custom == ["early"]
    assert len(heard.materializations) == 1


def test_the_process_output_arrives_where_dagster_keeps_it(probe: Launcher, capsys: pytest.CaptureFixture[str]):
    client = dg.PipesSubprocessClient(message_reader=dg.PipesTempFileMessageReader(include_stdio_in_messages=True))

    heard = probe.run(*probe.command(script=OUTPUT), client=client)

    assert heard.success, heard.failure
    assert heard.warnings == []
    shown = capsys.readouterr()
    assert shown.out == "to stdout\nof a child\nno newline"
    # Dagster shows its own log there as well.
    assert "to stderr: \u00e9\U0001f3b5\n" in shown.err
    assert "of a child\n" in shown.err


def test_the_process_output_goes_where_it_went_as_well(probe: Launcher, capfd: pytest.CaptureFixture[str]):
    client = dg.PipesSubprocessClient(message_reader=dg.PipesTempFileMessageReader(include_stdio_in_messages=True))

    heard = probe.run(*probe.command(script=OUTPUT), client=client)

    assert heard.success, heard.failure
    # Once by the process itself, once by Dagster.
    assert capfd.readouterr().out.count("of a child\n") == 2


def test_without_being_asked_the_output_stays_out_of_the_messages(probe: Launcher, capsys: pytest.CaptureFixture[str]):
    heard = probe.run(*probe.command(script=OUTPUT))

    assert heard.success, heard.failure
    assert capsys.readouterr().out == ""


def test_what_a_panic_prints_arrives_before_the_end(probe: Launcher, capsys: pytest.CaptureFixture[str]):
    client = dg.PipesSubprocessClient(message_reader=dg.PipesTempFileMessageReader(include_stdio_in_messages=True))

    heard = probe.run(*probe.command(script=[{"do": "panic", "message": "disk is on fire"}]), client=client)

    assert not heard.success
    assert "disk is on fire" in capsys.readouterr().err
    assert [told.message for told in heard.told] == ["disk is on fire"]
