"""The checks of bronze and the sensors around them, on tables that the real worker filled from a real topic."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from pyiceberg.table import Table

from dagster_project.definitions import defs
from dagster_project.defs.sensors.alerts import alert_on_bad_data
from dagster_project.defs.sensors.kafka_lag import kafka_lag_sensor
from dagster_project.defs.sensors.silver_updates import silver_updates_sensor
from dagster_project.lib.lag import lag_of_tables
from dagster_project.lib.lake import STATE_PROPERTY, load_table
from dagster_project.lib.paths import find_binary
from dagster_project.lib.worker_status import ask_tables
from tests.receivers import Webhook

TABLE = "bronze_listen_events"
NUM_TABLES = 4
NAMES = {
    "ledger_closes",
    "offsets_are_contiguous",
    "kafka_equals_table",
    "lag_is_below_limit",
    "table_is_fresh",
    "dead_letters_are_rare",
    "schema_equals_contract",
}


@dataclass(frozen=True)
class Broker:
    """The embedded broker, and the generator that fills it."""

    home: Path

    def call(self, *arguments: str) -> Any:
        """Calls `streamify-generate`; returns its answer, if it is JSON."""
        command = [str(find_binary("streamify-generate", os.environ)), *arguments]
        environment = {**os.environ, "STREAMIFY_HOME": str(self.home)}
        ended = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(ended.stdout) if "--json" in arguments else None

    def fill(self, seed: int) -> None:
        """Lets a few people listen to music."""
        self.call("run", "--users", "50", "--seed", str(seed), "--follow-timeout", "30s", "--json")


@pytest.fixture(scope="module")
def address_and_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Broker]]:
    """A broker with some events."""
    broker = Broker(tmp_path_factory.mktemp("broker"))
    address = broker.call("broker", "start", "--json")["bootstrap_servers"]
    try:
        broker.fill(seed=1)
        yield address, broker
    finally:
        broker.call("broker", "stop")


@pytest.fixture
def land(clean_environment, address_and_broker, tmp_path: Path) -> Callable[[], None]:
    """`land()`: the worker takes in everything new; the environment leads to its tables."""
    folder = find_binary("streamify-stream", os.environ).parent
    clean_environment.setenv("STREAMIFY_BIN_DIR", str(folder))
    clean_environment.setenv("KAFKA_BOOTSTRAP_SERVERS", address_and_broker[0])
    clean_environment.setenv("STREAMIFY_HOME", str(tmp_path))
    clean_environment.setenv("STREAMIFY_WORKER_URL", "http://127.0.0.1:1")

    def run() -> None:
        subprocess.run([str(folder / "streamify-stream"), "--until", "caught-up"], check=True, capture_output=True)

    return run


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance of this test alone."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def checked(instance: dg.DagsterInstance) -> Sequence[dg.AssetCheckEvaluation]:
    """Runs the job of the checks."""
    result = defs().resolve_job_def("bronze_checks_job").execute_in_process(instance=instance)
    assert result.success, "no check of bronze fails a run"
    return result.get_asset_check_evaluations()


def failed(evaluations: Sequence[dg.AssetCheckEvaluation]) -> set[str]:
    """Names of those that did not pass, all of one table."""
    assert {one.asset_key.to_user_string() for one in evaluations if not one.passed} <= {TABLE}, evaluations
    return {one.check_name for one in evaluations if not one.passed}


def append_again(table: Table, count: int) -> None:
    """Adds rows that are there already, as a second pipeline would."""
    rows = table.scan(limit=count).to_arrow()
    table.append(pa.Table.from_batches(rows.to_batches(), schema=rows.schema))


def test_the_tables_of_the_worker_pass_every_check_and_damage_is_found(land, instance, clean_environment):
    land()
    good = checked(instance)
    assert failed(good) == set()
    assert {one.check_name for one in good} == NAMES
    assert len(good) == NUM_TABLES * len(NAMES)
    for one in good:
        assert {"value", "limit"} <= set(one.metadata), one
    [counts] = [one for one in good if (one.asset_key.to_user_string(), one.check_name) == (TABLE, "kafka_equals_table")]
    assert counts.metadata["rows"].value == load_table(os.environ, TABLE).scan().count() > 0

    append_again(load_table(os.environ, TABLE), 3)
    assert failed(checked(instance)) == {"ledger_closes", "kafka_equals_table"}

    with Webhook() as webhook:
        clean_environment.setenv("STREAMIFY_ALERT_WEBHOOK", webhook.url)
        repository = defs().get_repository_def()
        alert_on_bad_data.evaluate_tick(dg.build_sensor_context(instance=instance, repository_def=repository))
        assert len(webhook.texts) == 1
        assert f"check `ledger_closes` of `{TABLE}` failed" in webhook.texts[0]
        assert "another program" not in webhook.texts[0].splitlines()[0]


def test_a_state_that_somebody_edited_is_found(land, instance):
    land()
    table = load_table(os.environ, TABLE)
    state = json.loads(table.properties[STATE_PROPERTY])
    offsets = state["topics"]["listen_events"]["current"]["next"]
    offsets["0"] = offsets["0"] - 1
    with table.transaction() as transaction:
        transaction.set_properties({STATE_PROPERTY: json.dumps(state)})

    errors = [one for one in checked(instance) if not one.passed and one.severity is dg.AssetCheckSeverity.ERROR]

    assert (TABLE, "offsets_are_contiguous") in {(one.asset_key.to_user_string(), one.check_name) for one in errors}
    assert {one.asset_key.to_user_string() for one in errors} == {TABLE}


def test_a_column_that_somebody_dropped_is_found(land, instance):
    land()
    with load_table(os.environ, TABLE).update_schema(allow_incompatible_changes=True) as update:
        update.delete_column("artist")

    assert failed(checked(instance)) == {"schema_equals_contract"}


def test_lag_is_read_from_tables_and_broker(land, address_and_broker, instance, wait_until):
    land()
    assert lags()[TABLE] == 0
    address_and_broker[1].fill(seed=2)
    behind = lags()[TABLE]
    assert behind > 0
    observed = []

    def tick():
        """A tick that had no time for the answer leaves it to the next one."""
        observed.extend(kafka_lag_sensor.evaluate_tick(dg.build_sensor_context(instance=instance)).asset_events)
        return observed

    wait_until(tick, "an observation of the lag", 120)

    assert {event.asset_key.to_user_string(): event.metadata["lag_records"].value for event in observed}[TABLE] == behind
    land()
    assert lags()[TABLE] == 0


def test_silver_is_asked_for_once(land, instance):
    land()
    first = silver_updates_sensor.evaluate_tick(dg.build_sensor_context(instance=instance))
    assert len(first.run_requests) == 1

    land()

    second = silver_updates_sensor.evaluate_tick(dg.build_sensor_context(instance=instance, cursor=first.cursor))
    assert second.run_requests == [], "a run of the worker that found nothing is no news"


def lags() -> dict[str, int | None]:
    """Lag in records by table, as the real program says."""
    return {of.table: of.lag_records for of in lag_of_tables(ask_tables(os.environ, 60)).tables}
