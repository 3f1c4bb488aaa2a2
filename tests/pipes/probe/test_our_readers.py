"""The same probe through our own client and readers: they hear what stock Dagster hears."""

from typing import Any

import dagster as dg
import pytest

from dagster_project.resources.pipes.client import StreamifyPipesClient
from dagster_project.resources.pipes.file_reader import FileMessageReader
from dagster_project.resources.pipes.s3_reader import S3MessageReader
from tests.pipes.probe.launcher import ASSET, BUCKET, CHECK, Launcher, known_values

PAYLOADS = [None, -0.5, '\u00fc \U0001f3b5 \\ "quoted"\n', {"a": {"b": [{}, 1, True, "x"]}, "": None}]


@pytest.fixture(params=["file", "s3"])
def client(request: pytest.FixtureRequest) -> StreamifyPipesClient:
    """Our client, with each of its readers."""
    if request.param == "file":
        return StreamifyPipesClient(new_reader=lambda context: FileMessageReader(context.log, poll_seconds=0.01))
    store: Any = request.getfixturevalue("store")
    return StreamifyPipesClient(new_reader=lambda context: S3MessageReader(context.log, store, BUCKET, "base"))


def test_everything_that_is_reported_arrives(probe: Launcher, client: StreamifyPipesClient):
    command = probe.command(
        test_name="test_message_log",
        report_asset_materialization={"dataVersion": "alpha"},
        report_asset_check={"checkName": CHECK, "passed": False, "severity": "WARN"},
        script=[{"do": "custom", "payload": payload} for payload in PAYLOADS],
    )

    heard = probe.run(*command, client=client, checks=[dg.AssetCheckSpec(CHECK, asset=ASSET)])

    assert heard.success, heard.failure
    levels = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    said = [line for line in heard.logs if line[1].endswith(" message")]
    assert said == [(level, f"{level.capitalize()} message") for level in levels]
    assert heard.custom == PAYLOADS
    [materialization] = heard.materializations
    assert {name: materialization.metadata[name] for name in known_values()} == known_values()
    assert (materialization.tags or {})["dagster/data_version"] == "alpha"
    [check] = heard.checks
    assert (check.check_name, check.passed, check.severity.name) == (CHECK, False, "WARN")


def test_the_worker_is_told_the_job_and_the_extras(probe: Launcher, client: StreamifyPipesClient):
    extras: dict[str, object] = {str(number): payload for number, payload in enumerate(PAYLOADS)}
    command = probe.command(extras=extras, job_name="__ephemeral_asset_job__", report_asset_materialization={})

    heard = probe.run(*command, client=client, extras=extras)

    assert heard.success, heard.failure


def test_an_error_of_the_worker_fails_the_run_and_is_told(probe: Launcher, client: StreamifyPipesClient):
    heard = probe.run(*probe.command(test_name="test_error_reporting"), client=client)

    assert not heard.success
    assert "Very bad error has happened!" in heard.failure
