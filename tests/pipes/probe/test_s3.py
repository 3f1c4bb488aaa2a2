"""The S3 channel against Dagster's own S3 reader, which takes one chunk at a time and never looks beyond a missing one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_aws.pipes import PipesS3MessageReader

from tests.pipes.probe.launcher import BUCKET, Heard, Launcher

PAYLOAD_BYTES = 1_000_000


@pytest.fixture
def client(store: Any) -> dg.PipesSubprocessClient:
    """Dagster's client with its S3 reader. The reader's counter is never reset, so it serves one run."""
    return dg.PipesSubprocessClient(message_reader=PipesS3MessageReader(bucket=BUCKET, client=store))


def _chunks(store: Any) -> list[str]:
    """Names of the chunks in the bucket, without their random folder, in the order of their numbers."""
    listed = store.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    names = [entry["Key"].partition("/")[2] for entry in listed]
    return sorted(names, key=lambda name: int(name.removesuffix(".json")))


def _assert_sound(heard: Heard) -> None:
    assert heard.success, heard.failure
    assert heard.warnings == []


def test_several_chunks_arrive_complete_and_in_order(
    probe: Launcher, client: dg.PipesSubprocessClient, store: Any, tmp_path: Path, wait_until: Callable[..., None]
):
    # An error is worth a chunk before its time; each is awaited in the store, so that each has its own.
    early = 3
    script: list[dict[str, object]] = []
    for number in range(early):
        script += [
            {"do": "until_file", "path": str(tmp_path / f"stored-{number + 1}")},
            {"do": "numbers", "from": 1000 * number, "to": 1000 * (number + 1)},
            {"do": "log", "level": "ERROR", "message": f"error {number}"},
        ]
    script += [{"do": "until_file", "path": str(tmp_path / f"stored-{early + 1}")}, {"do": "materialize", "values": "known"}]

    def follow() -> None:
        for count in range(1, early + 2):
            wait_until(lambda count=count: len(_chunks(store)) >= count, f"chunk {count}")
            (tmp_path / f"stored-{count}").touch()

    heard = probe.run(*probe.command(script=script), client=client, meanwhile=follow)

    _assert_sound(heard)
    assert _chunks(store) == [f"{number}.json" for number in range(1, early + 3)]
    assert heard.custom == list(range(1000 * early))
    assert [text for _, text in heard.own_logs] == [f"error {number}" for number in range(early)]
    assert len(heard.materializations) == 1


def test_a_process_restarted_on_its_prefix_goes_on_where_the_first_ended(
    probe: Launcher, client: dg.PipesSubprocessClient, store: Any, tmp_path: Path, wait_until: Callable[..., None]
):
    go = tmp_path / "go"
    first = [
        {"do": "custom", "payload": "first"},
        {"do": "log", "level": "ERROR", "message": "about to die"},
        {"do": "until_file", "path": str(go)},
        {"do": "abort"},
    ]
    second = [{"do": "custom", "payload": "second"}, {"do": "materialize"}]
    lines = [" ".join(probe.command(script=script)) for script in (first, second)]

    def let_it_die() -> None:
        wait_until(lambda: b"about to die" in b"".join(_bodies(store)), "the first process's messages")
        go.touch()

    heard = probe.run("sh", "-c", f"{lines[0]}; exec {lines[1]}", client=client, meanwhile=let_it_die)

    _assert_sound(heard)
    assert heard.custom == ["first", "second"]
    assert len(heard.materializations) == 1
    chunks = _chunks(store)
    assert chunks == [f"{number + 1}.json" for number in range(len(chunks))]
    assert len(chunks) >= 2


def _bodies(store: Any) -> list[bytes]:
    listed = store.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return [store.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read() for entry in listed]


def test_large_payloads_arrive_and_too_large_ones_are_refused(probe: Launcher, client: dg.PipesSubprocessClient):
    payload = {"text": "x" * PAYLOAD_BYTES, "unicode": "\U0001f3b5" * 1000}
    too_large = "y" * (1 << 20)
    size_bytes = len('{"payload":""}') + len(too_large)
    refused = f"message `report_custom_message` of {size_bytes} bytes is larger than {1 << 20} bytes"
    script = [{"do": "custom", "payload": payload}, {"do": "custom", "payload": too_large, "refused": refused}]

    heard = probe.run(*probe.command(script=script), client=client)

    _assert_sound(heard)
    assert heard.custom == [payload]


def test_the_process_output_arrives_in_chunks_too(probe: Launcher, store: Any, capsys: pytest.CaptureFixture[str]):
    reader = PipesS3MessageReader(bucket=BUCKET, client=store, include_stdio_in_messages=True)
    script = [{"do": "print", "stream": "stdout", "text": "to stdout\n"}, {"do": "run", "command": ["echo", "of a child"]}]

    heard = probe.run(*probe.command(script=script), client=dg.PipesSubprocessClient(message_reader=reader))

    _assert_sound(heard)
    assert "to stdout\nof a child\n" in capsys.readouterr().out


def test_an_error_is_told_through_chunks_too(probe: Launcher, client: dg.PipesSubprocessClient):
    heard = probe.run(*probe.command(test_name="test_error_reporting"), client=client)

    assert not heard.success
    assert [told.message for told in heard.told] == ["Very bad error has happened!"]
    assert heard.warnings == []


def test_a_bucket_that_is_not_there_ends_the_process_at_once(probe: Launcher, store: Any, capfd: pytest.CaptureFixture[str]):
    class OtherBucket(PipesS3MessageReader):
        def messages_are_readable(self, params):
            return False

    reader = OtherBucket(bucket="other", client=store)

    heard = probe.run(*probe.command(test_name="test_message_log"), client=dg.PipesSubprocessClient(message_reader=reader))

    assert not heard.success
    assert "failed with code 1" in heard.failure
    assert "s3://other/" in capfd.readouterr().err
