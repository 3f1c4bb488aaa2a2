"""The asset `bronze_streaming_job` with the real worker, on the local warehouse and on broker, S3 store and REST catalog."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from dagster_project.defs.assets.bronze import bronze_streaming_job
from dagster_project.lib.contracts import DEAD_LETTER_COLUMNS, DEAD_LETTER_TABLE, Column, load_contracts
from dagster_project.lib.paths import contracts_folder, find_binary
from dagster_project.resources.stream_worker import StreamWorker
from dagster_project.resources.worker_service import WorkerService
from tests.integration.conftest import SECONDS, TOPIC, Pipeline, event, send
from tools.prove.feed import TOPICS
from tools.prove.tables import open_catalog
from tools.stack import Stack

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Broker, S3 store, REST catalog behind the strict gateway; topics exist."""
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        admin = AdminClient({"bootstrap.servers": running.kafka.bootstrap_servers})
        for future in admin.create_topics([NewTopic(topic, 2, 1) for topic in TOPICS]).values():
            future.result(SECONDS)
        yield running


@pytest.fixture
def binaries(clean_environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Where the worker is, without anything else of the developer's shell."""
    folder = find_binary("streamify-stream", os.environ).parent
    clean_environment.setenv("STREAMIFY_BIN_DIR", str(folder))
    clean_environment.setenv("STREAMIFY_WORKER_URL", "http://127.0.0.1:1")  # no always-on worker listens there
    return clean_environment


def materialize(
    environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, **config: object
) -> Mapping[str, dg.MetadataValue]:
    """Materializes the asset and returns the metadata of its one materialization."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [bronze_streaming_job],
            resources={"stream_worker": StreamWorker(), "worker_service": WorkerService()},
            instance=instance,
            run_config={"ops": {"bronze_streaming_job": {"config": config}}},
        )
        assert result.success
        recorded = result.asset_materializations_for_node("bronze_streaming_job")
        [of_the_run] = [one for one in recorded if one.asset_key == bronze_streaming_job.key]
        return of_the_run.metadata


def test_a_run_on_the_local_warehouse_reports_what_stands_in_the_table(
    pipeline: Pipeline, binaries: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pipeline.create_topic(partitions=2)
    for partition in range(2):
        send(pipeline.producer(), [event(number + 100 * partition) for number in range(20)], partition)
    send(pipeline.producer(), [event(999, sessionId="broken")])

    metadata = materialize(pipeline.environment, binaries, topics=[TOPIC])

    numbers = {name: metadata[name].value for name in ("rows", "dead_letters", "received", "skipped_by_broker", "unaccounted")}
    assert numbers == {"rows": 40, "dead_letters": 1, "received": 41, "skipped_by_broker": 0, "unaccounted": 0}
    assert len(pipeline.sessions()) == 40
    [topic] = [record.data for record in metadata["topics"].records]
    [commit] = [
        one for one in pipeline.table().snapshots() if one.summary and "streamify.ledger" in one.summary.additional_properties
    ]
    assert topic["snapshot_id"] == str(commit.snapshot_id)
    offsets = {record.data["partition"]: (record.data["from"], record.data["to"]) for record in metadata["offsets"].records}
    assert offsets == {0: (0, 21), 1: (0, 20)}


def test_a_run_on_real_components_goes_over_s3_messages(stack: Stack, binaries: pytest.MonkeyPatch, tmp_path: Path) -> None:
    producer = Producer({"bootstrap.servers": stack.kafka.bootstrap_servers})
    send(producer, [event(number) for number in range(30)])
    environment = stack.environment() | {"STREAMIFY_HOME": str(tmp_path)}
    assert environment["DAGSTER_PIPES_BUCKET"]

    metadata = materialize(environment, binaries)

    assert metadata["rows"].value == 30
    assert metadata["unaccounted"].value == 0
    table = open_catalog(environment).load_table(f"streamify.bronze_{TOPIC}")
    assert table.scan().to_arrow().num_rows == 30
    assert materialize(environment, binaries)["rows"].value == 0, "a second run finds nothing new"


def test_the_columns_that_dagster_shows_are_those_of_the_tables(
    stack: Stack, binaries: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment = stack.environment() | {"STREAMIFY_HOME": str(tmp_path)}
    materialize(environment, binaries)
    catalog = open_catalog(environment)

    shown: dict[str, tuple[Column, ...]] = {
        contract.table: contract.columns for contract in load_contracts(contracts_folder(os.environ))
    }
    shown[DEAD_LETTER_TABLE] = tuple(DEAD_LETTER_COLUMNS)
    for name, columns in shown.items():
        fields = catalog.load_table(f"streamify.{name}").schema().fields
        assert [(f.name, str(f.field_type), not f.required) for f in fields] == [(c.name, c.type, c.nullable) for c in columns], (
            name
        )
