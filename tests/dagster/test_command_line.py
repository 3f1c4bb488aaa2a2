"""The commands people type, each in a process of its own, with a stand-in for the worker."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from dagster_project.home import prepare_home

REPOSITORY = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
BY_NAME = {
    "DAGSTER_CLI_ASSET_MATERIALIZE_MODULE_NAME": "dagster_project.by_name",
    "DAGSTER_CLI_ASSET_MATERIALIZE_SELECT": "*",
}


@pytest.fixture
def start(clean_environment, fake_worker, tmp_path) -> Callable[..., subprocess.Popen[str]]:
    """`start(arguments, **environment)`: starts a program of the environment's bin folder in the checkout."""
    home = prepare_home(tmp_path / "home")

    def start(arguments: list[str], **environment: str) -> subprocess.Popen[str]:
        env = {
            **os.environ,
            "STREAMIFY_HOME": str(tmp_path / "home"),
            "STREAMIFY_BIN_DIR": str(fake_worker.install("streamify-stream")),
            "DAGSTER_HOME": str(home),
            **environment,
        }
        return subprocess.Popen(
            [str(BIN / arguments[0]), *arguments[1:]],
            cwd=REPOSITORY,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start


def _rows(tmp_path: Path) -> list[object]:
    with dg.DagsterInstance.from_config(str(tmp_path / "home" / "dagster")) as instance:
        records = instance.fetch_materializations(dg.AssetKey("bronze_streaming_job"), limit=5).records
        return [record.asset_materialization.metadata["rows"].value for record in records]


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        pytest.param(["dg", "launch", "--assets", "bronze_streaming_job"], {}, id="dg launch"),
        pytest.param(
            ["dagster", "asset", "materialize", "-m", "dagster_project.definitions", "--select", "bronze_streaming_job"],
            {},
            id="dagster asset materialize --select",
        ),
        pytest.param(
            ["dagster", "asset", "materialize", "-a", "bronze_streaming_job"], BY_NAME, id="dagster asset materialize -a"
        ),
    ],
)
def test_each_form_of_launching_the_asset_succeeds(start, fake_worker, report, tmp_path, arguments, environment):
    fake_worker.does(("opened", None), report, ("closed", None))

    process = start(arguments, **environment)
    output, _ = process.communicate(timeout=120)

    assert process.returncode == 0, output
    assert _rows(tmp_path) == [3]


def test_an_unknown_name_is_answered_with_the_names(start):
    process = start(["dagster", "asset", "materialize", "-a", "bronze_streeming_job"], **BY_NAME)
    output, _ = process.communicate(timeout=120)

    assert process.returncode != 0
    names = output.rpartition("dir: [")[2]
    assert "'bronze_streaming_job'" in names
    assert "'silver_user_sessions'" in names


def test_the_definitions_pass_dagster_s_own_check(start):
    process = start(["dg", "check", "defs"])
    output, _ = process.communicate(timeout=120)

    assert process.returncode == 0, output
    assert "All definitions loaded successfully" in output
    assert "Warning" not in output


def test_ctrl_c_stops_the_worker_and_keeps_what_it_reported(start, fake_worker, report, tmp_path, wait_until, process_is_gone):
    running = tmp_path / "running"
    fake_worker.does(
        ("opened", None), ("catch", None), ("touch", str(running)), ("until_stopped", None), report, ("closed", None)
    )

    process = start(["dg", "launch", "--assets", "bronze_streaming_job"])
    wait_until(running.exists, "the worker to run", 120)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    output, _ = process.communicate(timeout=60)

    assert process_is_gone(int(running.read_text(encoding="utf-8")))
    assert _rows(tmp_path) == [3], output


def test_a_worker_does_not_outlive_a_run_that_was_killed(start, fake_worker, tmp_path, wait_until, process_is_gone):
    running = tmp_path / "running"
    fake_worker.does(("opened", None), ("catch", None), ("touch", str(running)), ("until_stopped", None), ("closed", None))

    process = start(["dg", "launch", "--assets", "bronze_streaming_job"])
    wait_until(running.exists, "the worker to run", 120)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)

    worker = int(running.read_text(encoding="utf-8"))
    wait_until(lambda: process_is_gone(worker), "the guard to stop the worker", 60)
