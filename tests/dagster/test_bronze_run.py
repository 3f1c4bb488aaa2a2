"""Runs of bronze_streaming_job with a stand-in for the worker: what the run shows, and what it must never do."""

import os
import signal
import threading
import tracemalloc
from pathlib import Path

import dagster as dg
import pytest

from dagster_project.resources.stream_worker import StreamWorker

OPENED = ("opened", None)
CLOSED = ("closed", None)


def test_a_run_shows_what_the_worker_reported(bronze, report):
    run = bronze(OPENED, report, CLOSED)

    assert run.result.success
    [record] = run.events_of("bronze_streaming_job")
    materialization = record.asset_materialization
    assert materialization.metadata["rows"] == dg.MetadataValue.int(3)
    assert materialization.metadata["seconds"] == dg.MetadataValue.float(0.25)
    assert materialization.metadata["snapshot_ids"] == dg.MetadataValue.json({"bronze_listen_events": [81]})
    assert materialization.metadata["topics"].records[0].data["snapshot_id"] == "81"


def test_logs_of_the_worker_appear_in_the_run_at_their_level(bronze, report):
    run = bronze(OPENED, ("log", ["WARNING", "topic has a gap"]), report, CLOSED)

    levels = {entry.user_message: entry.level for entry in run.instance.all_logs(run.result.run_id)}
    assert levels["topic has a gap"] == 30


def test_output_of_the_worker_goes_to_the_step_s_output(bronze, report, capfd):
    bronze(OPENED, ("stdout", "to standard output"), ("stderr", "to standard error"), report, CLOSED)

    captured = capfd.readouterr()
    assert "to standard output\n" in captured.out
    assert "to standard error\n" in captured.err


def test_a_worker_that_reports_nothing_fails_the_run(bronze):
    run = bronze(OPENED, CLOSED)

    assert not run.result.success
    assert run.failure == "streamify-stream exited with code 0 but reported nothing for `bronze_streaming_job`"
    assert run.events_of("bronze_streaming_job") == []


def test_a_worker_that_does_not_close_its_session_fails_the_run(bronze, report):
    run = bronze(OPENED, report)

    assert "never closed its Pipes session" in run.failure
    assert len(run.events_of("bronze_streaming_job")) == 1


@pytest.mark.parametrize(
    ("exit_code", "meaning"),
    [(1, "failure"), (2, "bad settings; nothing was read or written"), (3, "it needs a decision by a person")],
)
def test_a_failed_worker_fails_the_run_with_its_own_words_and_keeps_what_it_reported(bronze, report, exit_code, meaning):
    words = {"message": "offset gap in partition 7", "stack": [], "name": "Gap", "cause": None, "context": None}

    run = bronze(OPENED, report, ("closed", words), exits_with=exit_code)

    assert run.failure.startswith(f"streamify-stream exited with code {exit_code} ({meaning}")
    assert run.failure.endswith("offset gap in partition 7")
    assert len(run.events_of("bronze_streaming_job")) == 1


def test_a_worker_that_fails_before_it_opens_shows_its_standard_error(bronze):
    run = bronze(("stderr", "invalid `STREAMIFY_FRESHNESS`: `10` has no unit"), exits_with=2)

    assert run.failure.endswith("invalid `STREAMIFY_FRESHNESS`: `10` has no unit")


def test_a_worker_killed_from_outside_fails_the_run_and_keeps_what_it_reported(bronze, report):
    run = bronze(OPENED, report, ("suicide", "SIGKILL"))

    assert "killed by SIGKILL" in run.failure
    assert len(run.events_of("bronze_streaming_job")) == 1


def test_a_bad_message_between_good_ones_is_survived(bronze, report):
    bad = '{"__dagster_pipes_version": "0.1", "method": "log", "params": {"message": "x", "level": "TRACE"}}\n'

    run = bronze(OPENED, ("raw", bad), report, CLOSED)

    assert run.result.success
    assert [message for message in run.logs if "ignored a broken message" in message]


def test_a_missing_binary_is_told_with_the_remedy(bronze, report, monkeypatch, tmp_path):
    monkeypatch.setenv("STREAMIFY_BIN_DIR", str(tmp_path))

    run = bronze(OPENED, report, CLOSED)

    assert run.failure == (f"streamify-stream not found in STREAMIFY_BIN_DIR=`{tmp_path}`; build it with `make build`")


def test_config_reaches_the_worker_as_arguments_and_a_wrong_one_is_refused(bronze, report, fake_worker, tmp_path):
    program = fake_worker.folder / "bin" / "streamify-stream"
    seen = tmp_path / "arguments"
    program.write_text(program.read_text(encoding="utf-8").replace("exec", f'echo "$@" > {seen}\nexec'), encoding="utf-8")

    run = bronze(OPENED, report, CLOSED, config={"topics": ["listen_events"], "on_gap": "ACCEPT"})

    assert run.result.success
    assert seen.read_text(encoding="utf-8") == "--until caught-up --topics listen_events --on-gap accept\n"
    with pytest.raises(dg.DagsterInvalidConfigError, match="on_gap"):
        bronze(OPENED, report, CLOSED, config={"on_gap": "PERHAPS"})


@pytest.fixture
def bucket(s3_server, monkeypatch):
    """Keys of the messages in the bucket that runs use."""
    import boto3

    store = boto3.client("s3", endpoint_url=s3_server)
    store.create_bucket(Bucket="pipes")
    monkeypatch.setenv("DAGSTER_PIPES_BUCKET", "pipes")
    yield lambda: [item["Key"] for item in store.list_objects_v2(Bucket="pipes").get("Contents", [])]
    store.close()


def test_through_s3_nothing_of_a_run_is_lost(bronze, report, bucket, monkeypatch):
    monkeypatch.setenv("STREAMIFY_PIPES_KEEP", "true")

    runs = [bronze(OPENED, ("log", ["INFO", f"line of run {n}"]), report, CLOSED) for n in range(2)]

    for number, run in enumerate(runs):
        assert run.result.success
        assert f"line of run {number}" in run.logs
    keys = bucket()
    assert len(keys) == 8
    for run in runs:
        assert sum(key.startswith(f"dagster-pipes/{run.result.run_id}/bronze_streaming_job/0/") for key in keys) == 4


def test_messages_that_were_read_go_with_success_and_stay_with_failure(bronze, report, bucket):
    succeeded = bronze(OPENED, report, CLOSED)
    assert succeeded.result.success
    assert bucket() == []

    failed = bronze(OPENED, report, CLOSED, exits_with=1)

    assert not failed.result.success
    assert len(bucket()) == 3


class Interrupter:
    """Sends a signal to this process as soon as the worker says it is running."""

    def __init__(self, folder: Path, wait_until, number: signal.Signals = signal.SIGINT):
        self.running = folder / "running"
        self.worker_pid = 0
        self._wait_until = wait_until
        self._number = number
        self._thread = threading.Thread(target=self._interrupt)

    def _interrupt(self):
        self._wait_until(self.running.exists, "the worker to run")
        self.worker_pid = int(self.running.read_text(encoding="utf-8"))
        os.kill(os.getpid(), self._number)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cancelled_run_stops_the_worker_and_keeps_what_it_reported(
    bronze, report, tmp_path, instance, wait_until, process_is_gone, number
):
    with Interrupter(tmp_path, wait_until, number) as interrupter:
        run = bronze(OPENED, ("catch", None), ("touch", str(interrupter.running)), ("until_stopped", None), report, CLOSED)

    assert not run.result.success
    assert "DagsterExecutionInterruptedError" in str(run.result.all_events)
    assert process_is_gone(interrupter.worker_pid)
    [record] = instance.fetch_materializations(dg.AssetKey("bronze_streaming_job"), limit=5).records
    assert record.asset_materialization.metadata["rows"] == dg.MetadataValue.int(3)


@pytest.mark.parametrize(("deaf_to", "ended_by"), [(["SIGINT"], "SIGTERM"), (["SIGINT", "SIGTERM"], "SIGKILL")])
def test_a_deaf_worker_is_made_to_stop(bronze, tmp_path, wait_until, process_is_gone, deaf_to, ended_by):
    with Interrupter(tmp_path, wait_until) as interrupter:
        run = bronze(OPENED, ("ignore", deaf_to), ("touch", str(interrupter.running)), ("until_stopped", None))

    assert process_is_gone(interrupter.worker_pid)
    assert not run.result.success
    assert f"[pipes] the worker stopped after {ended_by}" in run.logs


@pytest.mark.parametrize("exits_with", [0, 1])
def test_what_the_worker_reports_of_a_staging_table_is_no_event_of_the_asset(
    clean_environment, fake_worker, instance, report, exits_with
):
    clean_environment.setenv("STREAMIFY_BIN_DIR", str(fake_worker.install("streamify-stream")))
    fake_worker.does(OPENED, report, CLOSED, exits_with=exits_with)

    @dg.asset(output_required=False)
    def replayed(context: dg.AssetExecutionContext):
        StreamWorker(seconds_per_stop_step=1).run_into_staging(context, [])
        yield from ()

    result = dg.materialize([replayed], instance=instance, raise_on_error=False)

    assert result.success is (exits_with == 0)
    assert not instance.fetch_materializations(dg.AssetKey("replayed"), limit=1).records


def test_what_the_worker_leaves_behind_ends_with_it(bronze, report, tmp_path, process_is_gone, wait_until):
    child = tmp_path / "child"

    run = bronze(OPENED, ("child", str(child)), report, CLOSED)

    assert run.result.success
    pid = int(child.read_text(encoding="utf-8"))
    wait_until(lambda: process_is_gone(pid), "the worker's child to be gone")


def test_a_talkative_worker_fills_neither_the_event_log_nor_the_memory(bronze, report):
    flood = ("flood", [["log", {"level": "INFO", "message": "chatter"}], 100_000])
    pings = ("flood", [["report_custom_message", {"payload": {"number": 1}}], 20_000])
    progress = ("flood", [["report_custom_message", {"payload": {"streamify": "progress", "version": 1}}], 20_000])
    tracemalloc.start()

    run = bronze(OPENED, flood, pings, progress, report, CLOSED)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert run.result.success
    assert sum(line == "chatter" for line in run.logs) < 2_500
    assert len(run.logs) < 3_000
    told = [line for line in run.logs if "too many for the event log" in line]
    assert sum(int(line.split()[3]) for line in told) + sum(line == "chatter" for line in run.logs) == 100_000
    assert peak < 64 << 20, f"{peak >> 20} MB"
