"""Batch jobs with stand-ins for the program and the module: what a run shows when they misbehave."""

import json
import os
import signal
from types import SimpleNamespace

import dagster as dg
import pytest

from dagster_project.lib.batch_jobs import BatchJob, Execution
from dagster_project.lib.batch_reports import metadata_of_all
from dagster_project.resources import in_process
from dagster_project.resources.batch_runner import BatchRunner

OPENED, CLOSED = ("opened", None), ("closed", None)
REPORTED = ("report", {"rows_in": {"type": "int", "raw_value": 3}})


class NativeError(Exception):
    """What the module's errors have in common."""

    hint: str | None = None


class Module(SimpleNamespace):
    """A module whose functions behave as the test says."""

    StreamifyError = NativeError
    SettingsError = type("SettingsError", (NativeError,), {})
    NeedsDecisionError = type("NeedsDecisionError", (NativeError,), {})
    CancelledError = type("CancelledError", (NativeError,), {})

    class CancelToken:
        """Remembers that it was cancelled."""

        cancelled = False

        def cancel(self):
            self.cancelled = True


@pytest.fixture
def run(clean_environment, fake_worker, instance, monkeypatch, tmp_path):
    """`run(jobs, execution, module={})`: materializes an asset that runs the jobs."""
    clean_environment.setenv("STREAMIFY_HOME", str(tmp_path / "home"))
    clean_environment.setenv("STREAMIFY_BIN_DIR", str(fake_worker.install("streamify-batch")))

    def materialize(*jobs, execution=Execution.binary, **functions):
        monkeypatch.setattr(in_process, "native", lambda: Module(**functions))

        @dg.asset
        def made(context: dg.AssetExecutionContext):
            reports = BatchRunner(seconds_per_stop_step=1).run(context, jobs, execution)
            return dg.MaterializeResult(metadata=metadata_of_all(reports))

        result = dg.materialize([made], instance=instance, raise_on_error=False)
        records = instance.fetch_materializations(dg.AssetKey("made"), limit=10).records
        return result, [record.asset_materialization.metadata for record in records]

    return materialize


def job(table="t", **options):
    """A job."""
    return BatchJob(table, ["compact", "--tables", table], "compact", {"table": table}, **options)


def failure(result):
    """What a run failed with."""
    [event] = [event for event in result.all_events if event.is_step_failure]
    return event.step_failure_data.user_failure_data


def summary(fake_worker, tables):
    """Lets the stand-in write a summary where it is told to."""
    program = fake_worker.folder / "bin" / "streamify-batch"
    text = json.dumps({"tables": tables})
    script = program.read_text(encoding="utf-8").replace("exec", f"for last; do :; done; printf '%s' '{text}' > \"$last\"\nexec")
    program.write_text(script, encoding="utf-8")


def test_the_report_of_the_program_is_what_the_run_shows(run, fake_worker):
    fake_worker.does(OPENED, REPORTED, CLOSED)
    summary(fake_worker, [{"table": "t", "rows_in": 3}])

    result, [metadata] = run(job())

    assert result.success
    assert metadata["rows_in"] == dg.MetadataValue.int(3)


def test_a_program_without_a_word_about_the_table_fails_the_run(run, fake_worker):
    fake_worker.does(OPENED, REPORTED, CLOSED)
    summary(fake_worker, [{"table": "other"}])

    result, _ = run(job())

    assert failure(result).description == (
        "`streamify-batch compact --tables t` ended with code 0 but its summary says nothing of `t`"
    )


def test_only_a_dry_run_may_report_nothing(run, fake_worker):
    fake_worker.does(OPENED, CLOSED)
    summary(fake_worker, [{"table": "t", "dry_run": True}])

    assert run(job(is_dry_run=True))[0].success
    assert "reported nothing for `made`" in failure(run(job())[0]).description


def test_a_missing_program_is_told_with_the_remedy(run, fake_worker, monkeypatch, tmp_path):
    monkeypatch.setenv("STREAMIFY_BIN_DIR", str(tmp_path))

    assert "build it with `make build`" in failure(run(job())[0]).description


def test_a_failing_call_shows_its_words_and_its_hint(run):
    def compact(**_):
        error = Module.NeedsDecisionError("the table was rolled back")
        error.hint = "say which state holds"
        raise error

    data = failure(run(job(), execution=Execution.in_process, compact=compact)[0])

    assert data.description == "`compact` of `t` failed: the table was rolled back"
    assert data.metadata["hint"].value == "say which state holds"


def test_what_jobs_before_a_failure_did_is_recorded(run):
    def compact(table, **_):
        if table == "b":
            raise Module.StreamifyError("no")
        return {"table": table, "rows_in": 7}

    result, [metadata] = run(job("a"), job("b"), job("c"), execution=Execution.in_process, compact=compact)

    assert not result.success
    assert metadata["rows_in"] == dg.MetadataValue.int(7)


def stop_run(instance):
    """Does what Dagster does when somebody terminates the run."""
    instance.report_run_canceling(instance.get_runs(limit=1)[0])
    os.kill(os.getpid(), signal.SIGINT)


def test_a_run_that_is_terminated_cancels_the_call_and_is_canceled(run, instance):
    def compact(cancel, **_):
        stop_run(instance)
        assert cancel.cancelled
        raise Module.CancelledError("stopped before the end")

    run(job(), execution=Execution.in_process, compact=compact)

    assert instance.get_runs(limit=1)[0].status is dg.DagsterRunStatus.CANCELED


def test_a_job_that_was_done_when_the_run_was_terminated_is_recorded(run, instance):
    def compact(table, **_):
        stop_run(instance)
        return {"table": table, "rows_in": 7}

    _, [metadata] = run(job(), execution=Execution.in_process, compact=compact)

    assert instance.get_runs(limit=1)[0].status is dg.DagsterRunStatus.CANCELED
    assert metadata["rows_in"] == dg.MetadataValue.int(7)


def test_progress_goes_to_the_log_now_and_then(run, instance):
    def compact(table, progress, **_):
        for done in range(100):
            progress(SimpleNamespace(what="compacting", done=done, total=100, rows=1000 * done))
        return {"table": table}

    result, _ = run(job(), execution=Execution.in_process, compact=compact)

    lines = [entry.user_message for entry in instance.all_logs(result.run_id) if "compacting" in entry.user_message]
    assert lines == ["compacting (0 of 100, 0 rows)"]
