"""`silver_updates_sensor` and what it goes by: new rows in the tables, and nothing else."""

import json
import threading
import uuid

import dagster as dg
import pytest
from dagster._core.storage.dagster_run import FINISHED_STATUSES

from dagster_project.defs.sensors import silver_updates
from dagster_project.defs.sensors.silver_updates import silver_updates_sensor
from dagster_project.lib.bronze_news import IN_PROGRESS, data_state, data_states, news, run_key
from dagster_project.lib.patience import Background

from .bronze_stream import Stream

#: Of runs outside of Dagster, and of those that wait for a person.
OTHERS = {dg.DagsterRunStatus.MANAGED, dg.DagsterRunStatus.SUSPENDED}


@pytest.fixture
def stream(lake, tmp_path) -> Stream:
    return Stream(lake, tmp_path / "bin")


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def tick(instance):
    """`tick(cursor)`: one tick of the sensor."""

    def evaluate(cursor=None):
        return silver_updates_sensor.evaluate_tick(dg.build_sensor_context(instance=instance, cursor=cursor))

    return evaluate


def put_run(instance, status, job="silver_batch_job"):
    """A run that the instance knows of."""
    instance.add_run(dg.DagsterRun(job_name=job, run_id=str(uuid.uuid4()), status=status))


def test_new_rows_start_one_run_and_the_same_rows_no_other(tick, stream):
    stream.land(3)

    first = tick()
    [request] = first.run_requests
    assert request.tags["streamify/new_rows_in"] == stream.contract.table
    assert json.loads(first.cursor) == {stream.contract.table: data_state(stream.table)}

    second = tick(first.cursor)
    assert (second.run_requests, second.skip_message) == ([], "no new rows in bronze")

    stream.land(3)
    [again] = tick(first.cursor).run_requests
    assert again.run_key != request.run_key
    assert again.run_key == tick(first.cursor).run_requests[0].run_key, "a state has one key"


def test_leases_and_commits_of_dead_letters_are_no_news(tick, stream):
    stream.land(3)
    cursor = tick().cursor
    stream.lease()
    stream.land(0, letters=4)

    assert tick(cursor).skip_message == "no new rows in bronze"


def test_deleted_and_replaced_rows_are_news(tick, stream):
    stream.land(3)
    cursor = tick().cursor
    stream.table.delete("_kafka_offset = 1")

    assert len(tick(cursor).run_requests) == 1


def test_without_any_table_there_is_nothing_to_do(tick, lake):
    assert tick().skip_message == "no new rows in bronze"


def test_a_table_of_which_nothing_is_known_now_is_no_news():
    assert news({}, {"a": "1"}) == []
    assert news({"a": "1", "b": "2"}, {"a": "1"}) == ["b"]
    assert run_key({"a": "1", "b": "2"}) == run_key({"b": "2", "a": "1"})


@pytest.mark.parametrize("status", ["NOT_STARTED", "STARTING", "STARTED", "CANCELING"])
def test_at_most_one_run_is_in_flight(tick, stream, instance, status):
    stream.land(3)
    put_run(instance, dg.DagsterRunStatus[status])

    skipped = tick()

    assert skipped.run_requests == []
    assert "is not over" in skipped.skip_message
    assert skipped.cursor is None, "what is new now is for the tick after that run"


def test_a_run_in_the_queue_is_in_flight_too():
    assert set(IN_PROGRESS) == {status for status in dg.DagsterRunStatus if status not in FINISHED_STATUSES} - OTHERS


@pytest.mark.parametrize("status", ["SUCCESS", "FAILURE", "CANCELED"])
def test_a_run_that_is_over_or_another_job_holds_nothing_up(tick, stream, instance, status):
    stream.land(3)
    put_run(instance, dg.DagsterRunStatus[status])
    put_run(instance, dg.DagsterRunStatus.STARTED, job="maintenance_job")

    assert len(tick().run_requests) == 1


def test_a_broken_cursor_begins_anew(tick, stream):
    stream.land(3)

    assert len(tick("{").run_requests) == 1
    assert len(tick("[]").run_requests) == 1


def test_a_catalog_that_hangs_holds_no_tick_and_its_answer_is_for_the_next(tick, stream, monkeypatch):
    stream.land(3)
    answer = threading.Event()
    monkeypatch.setattr(silver_updates, "BACKGROUND", Background())
    monkeypatch.setattr(silver_updates, "data_states", lambda *of: answer.wait(60) and data_states(*of))

    assert tick().skip_message.startswith("the catalog takes its time: `states of bronze` did not end within")

    answer.set()
    assert len(tick().run_requests) == 1
