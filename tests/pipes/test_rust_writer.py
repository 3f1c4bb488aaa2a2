"""Our Rust writer against every reader that may sit at the other end, in real runs: all messages arrive, in order."""

import os

import dagster as dg
import pytest
from dagster_aws.pipes import PipesS3MessageReader

from dagster_project.lib.paths import find_binary
from dagster_project.resources.pipes.client import StreamifyPipesClient
from dagster_project.resources.pipes.file_reader import FileMessageReader
from dagster_project.resources.pipes.s3_reader import S3MessageReader, build_client

BUCKET = "pipes"
STOCK_CLIENT_USES_ITS_OWN_DEPRECATED_CALLS = pytest.mark.filterwarnings(
    "ignore:AssetExecutionContext:DeprecationWarning", "ignore:Function .PipesMessageReader.expected_writer_count"
)


@pytest.fixture(scope="session")
def writer() -> str:
    """Path of the example program, which `cargo build --release -p streamify-pipes --examples` builds."""
    return str(find_binary("examples/pipes_messages", os.environ))


@pytest.fixture
def store(s3_server):
    client = build_client(s3_server)
    client.create_bucket(Bucket=BUCKET)
    yield client
    client.close()


def _run(client: dg.PipesClient, command: list[str]) -> tuple[list[int], list[str], object]:
    """Runs an asset; returns the numbers of the custom messages, the log lines of the worker, and what was reported."""
    numbers = []

    @dg.asset
    def numbered(context: dg.AssetExecutionContext):
        invocation = client.run(context=context, command=command)
        numbers.extend(message["number"] for message in invocation.get_custom_messages())
        return invocation.get_materialize_result(implicit_materialization=False)

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([numbered], instance=instance)
        lines = [entry.user_message for entry in instance.all_logs(result.run_id)]
        [record] = instance.fetch_materializations(dg.AssetKey("numbered"), limit=2).records
    reported = record.asset_materialization.metadata["messages"].value
    return numbers, [line for line in lines if line.startswith("message ")], reported


def _assert_complete(outcome: tuple[list[int], list[str], object], count: int) -> None:
    numbers, lines, reported = outcome
    assert numbers == list(range(1, count + 1))
    assert lines == [f"message {number}" for number in range(1, count + 1)]
    assert reported == count


def test_our_file_reader_sees_every_message(writer):
    client = StreamifyPipesClient(new_reader=lambda context: FileMessageReader(context.log))

    _assert_complete(_run(client, [writer, "500", "1"]), 500)


def test_our_s3_reader_sees_every_message(writer, store):
    client = StreamifyPipesClient(new_reader=lambda context: S3MessageReader(context.log, store, BUCKET, "base"))

    _assert_complete(_run(client, [writer, "500", "4"]), 500)


@STOCK_CLIENT_USES_ITS_OWN_DEPRECATED_CALLS
@pytest.mark.timeout(180)
def test_the_stock_s3_reader_sees_every_message_of_several_chunks(writer, store):
    # Its thread looks for one chunk in eleven seconds, so a run must be this long to have more than one.
    reader = PipesS3MessageReader(bucket=BUCKET, client=store)

    _assert_complete(_run(dg.PipesSubprocessClient(message_reader=reader), [writer, "200", "35"]), 200)

    chunks = store.list_objects_v2(Bucket=BUCKET)["KeyCount"]
    assert chunks >= 3


@STOCK_CLIENT_USES_ITS_OWN_DEPRECATED_CALLS
def test_the_stock_file_reader_sees_every_message(writer):
    _assert_complete(_run(dg.PipesSubprocessClient(), [writer, "200", "1"]), 200)
