"""Our Pipes client with assets of other shapes than bronze: partitions, checks, several assets."""

from contextlib import contextmanager

import dagster as dg
import pytest

from dagster_project.resources.pipes.client import StreamifyPipesClient
from dagster_project.resources.pipes.file_reader import FileMessageReader

OPENED = ("opened", None)
CLOSED = ("closed", None)
DAYS = dg.DailyPartitionsDefinition(start_date="2026-01-01")
RANGE_TAGS = {"dagster/asset_partition_range_start": "2026-01-03", "dagster/asset_partition_range_end": "2026-01-05"}


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def client() -> StreamifyPipesClient:
    return StreamifyPipesClient(new_reader=lambda context: FileMessageReader(context.log, poll_seconds=0.01))


def _run(instance, client, worker, tags=None, **asset_arguments):
    """Materializes an asset `rebuilt` made by `worker`; returns the result and the custom messages of the session."""
    messages = []

    @dg.asset(name="rebuilt", **asset_arguments)
    def rebuilt(context: dg.AssetExecutionContext):
        invocation = client.run(context=context, command=worker.command, extras={"mode": "test"})
        messages.extend(invocation.get_custom_messages())
        return invocation.get_materialize_result(implicit_materialization=False)

    # A range of partitions is asked for by tags, as Dagster's own backfills do it.
    result = dg.materialize([rebuilt], instance=instance, tags=tags, raise_on_error=False)
    return result, messages


def test_a_range_run_tells_the_worker_its_range(instance, client, fake_worker):
    fake_worker.does(OPENED, ("custom", "CONTEXT"), ("report", {}), CLOSED)

    result, [context] = _run(
        instance, client, fake_worker, RANGE_TAGS, partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run()
    )

    assert result.success
    assert context["partition_key_range"] is None  # Dagster's own field, which is why ours exists
    assert context["extras"] == {
        "mode": "test",
        "partition_key_range": {"start": "2026-01-03", "end": "2026-01-05"},
        "partition_time_window": {"start": "2026-01-03T00:00:00+00:00", "end": "2026-01-06T00:00:00+00:00"},
    }


def test_an_unpartitioned_run_has_no_range(instance, client, fake_worker):
    fake_worker.does(OPENED, ("custom", "CONTEXT"), ("report", {}), CLOSED)

    _, [context] = _run(instance, client, fake_worker)

    assert context["extras"] == {"mode": "test"}


def test_what_a_failed_range_run_reported_is_kept_for_each_of_its_partitions(instance, client, fake_worker):
    fake_worker.does(OPENED, ("report", {"rows": {"type": "int", "raw_value": 1}}), CLOSED, exits_with=1)

    result, _ = _run(
        instance, client, fake_worker, RANGE_TAGS, partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run()
    )

    assert not result.success
    records = instance.fetch_materializations(dg.AssetKey("rebuilt"), limit=10).records
    assert sorted(record.partition_key for record in records) == ["2026-01-03", "2026-01-04", "2026-01-05"]


def test_checks_and_data_versions_of_a_failed_run_are_kept(instance, client, fake_worker):
    materialization = {"asset_key": "rebuilt", "data_version": "alpha", "metadata": {}}
    check = {"asset_key": "rebuilt", "check_name": "closes", "passed": False, "severity": "WARN", "metadata": {}}
    fake_worker.does(
        OPENED,
        ("message", ["report_asset_materialization", materialization]),
        ("message", ["report_asset_check", check]),
        CLOSED,
        exits_with=1,
    )

    result, _ = _run(instance, client, fake_worker, check_specs=[dg.AssetCheckSpec("closes", asset="rebuilt")])

    assert not result.success
    logged = [entry.dagster_event for entry in instance.all_logs(result.run_id) if entry.dagster_event]
    [evaluation] = [event.asset_check_evaluation_data for event in logged if event.event_type_value == "ASSET_CHECK_EVALUATION"]
    assert (evaluation.check_name, evaluation.passed, evaluation.severity) == ("closes", False, dg.AssetCheckSeverity.WARN)
    [record] = instance.fetch_materializations(dg.AssetKey("rebuilt"), limit=10).records
    assert record.asset_materialization.tags["dagster/data_version"] == "alpha"


def test_one_of_two_selected_assets_without_a_report_fails_the_step(instance, client, fake_worker):
    report = {"asset_key": "first", "data_version": None, "metadata": {}}
    fake_worker.does(OPENED, ("message", ["report_asset_materialization", report]), CLOSED)

    @dg.multi_asset(specs=[dg.AssetSpec("first"), dg.AssetSpec("second")])
    def both(context: dg.AssetExecutionContext):
        yield from client.run(context=context, command=fake_worker.command).get_results(implicit_materializations=False)

    result = dg.materialize([both], instance=instance, raise_on_error=False)

    assert not result.success
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_failure_data.user_failure_data.description.endswith("reported nothing for `second`")
    assert len(instance.fetch_materializations(dg.AssetKey("first"), limit=10).records) == 1


def test_a_run_that_needs_a_decision_is_not_retried(instance, client, fake_worker):
    fake_worker.does(OPENED, CLOSED, exits_with=3)

    result, _ = _run(instance, client, fake_worker, retry_policy=dg.RetryPolicy(max_retries=2))

    assert not [event for event in result.all_events if event.is_step_up_for_retry]


def test_a_failure_that_may_pass_is_retried(instance, client, fake_worker, tmp_path):
    fake_worker.does(OPENED, CLOSED, exits_with=1)

    result, _ = _run(instance, client, fake_worker, retry_policy=dg.RetryPolicy(max_retries=1))

    assert len([event for event in result.all_events if event.is_step_up_for_retry]) == 1


def test_a_worker_that_cannot_be_started_fails_the_step(instance, client, fake_worker, monkeypatch):
    monkeypatch.setattr(type(fake_worker), "command", property(lambda _: ["/nowhere/streamify-stream"]))

    result, _ = _run(instance, client, fake_worker)

    assert not result.success


def test_a_session_that_lost_messages_fails_the_step(instance, fake_worker):
    class ForgetfulReader(FileMessageReader):
        def read_all(self, sink):
            super().read_all(sink)
            self.journal.losses.append("chunk 2 is missing")

    fake_worker.does(OPENED, ("report", {}), CLOSED)
    forgetful = StreamifyPipesClient(new_reader=lambda context: ForgetfulReader(context.log))

    result, _ = _run(instance, forgetful, fake_worker)

    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert "may be lost: chunk 2 is missing" in failure.step_failure_data.user_failure_data.description
    assert len(instance.fetch_materializations(dg.AssetKey("rebuilt"), limit=10).records) == 1


def test_a_program_that_never_closes_its_session_may_do_so_by_option(instance, fake_worker):
    fake_worker.does(OPENED, ("report", {}))
    lenient = StreamifyPipesClient(new_reader=lambda context: FileMessageReader(context.log), require_closed=False)

    result, _ = _run(instance, lenient, fake_worker)

    assert result.success


@pytest.mark.parametrize("exits_with", [0, 1])
def test_a_companion_begins_before_the_worker_and_ends_after_its_last_message(instance, fake_worker, exits_with):
    seen = []

    @contextmanager
    def companion(_context, journal):
        seen.append(journal.opened)
        yield
        seen.append(journal.closed)

    fake_worker.does(OPENED, ("report", {}), CLOSED, exits_with=exits_with)
    accompanied = StreamifyPipesClient(new_reader=lambda context: FileMessageReader(context.log), companion=companion)

    _run(instance, accompanied, fake_worker)

    assert seen == [False, True]
