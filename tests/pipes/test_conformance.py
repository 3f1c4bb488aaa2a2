"""Our Rust side against Dagster's own: every kind of message, through Dagster's Pipes client and through ours.

Driven by the example program `conformance`, which takes what to expect and what to report as files of JSON; built by
`cargo build --release -p streamify-pipes --examples`.
"""

import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_project.lib.paths import find_binary
from dagster_project.resources.pipes.client import StreamifyPipesClient
from dagster_project.resources.pipes.file_reader import FileMessageReader

# Dagster's own client uses calls that it deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:AssetExecutionContext:DeprecationWarning", "ignore:Function .PipesMessageReader.expected_writer_count"
)
ASSET = "reported"
CHECK = "closes"
EVERY_KIND = {
    "bool_true": dg.MetadataValue.bool(True),
    "bool_false": dg.MetadataValue.bool(False),
    "float": dg.MetadataValue.float(0.1),
    "int": dg.MetadataValue.int(1),
    "url": dg.MetadataValue.url("https://dagster.io"),
    "path": dg.MetadataValue.path("/dev/null"),
    "null": dg.MetadataValue.null(),
    "md": dg.MetadataValue.md("**markdown**"),
    "json": dg.MetadataValue.json({"quux": {"a": 1, "b": 2}, "corge": None, "qux": [1, 2, 3], "foo": "bar", "baz": 1}),
    "text": dg.MetadataValue.text("hello"),
    "asset": dg.MetadataValue.asset(dg.AssetKey(["foo", "bar"])),
    "dagster_run": dg.MetadataValue.dagster_run("db892d7f-0031-4747-973d-22e8b9095d9d"),
    "notebook": dg.MetadataValue.notebook("notebook.ipynb"),
}
JSON_VALUES = [None, -0.5, '\u00fc \U0001f3b5 \\ "quoted"\n', {"a": {"b": [{}, 1, True, "x"]}, "": None}]


@dataclass
class Heard:
    """What Dagster knows after a run."""

    success: bool
    custom: list[object] = field(default_factory=list)
    logs: list[tuple[str, str]] = field(default_factory=list)
    materializations: list[dg.AssetMaterialization] = field(default_factory=list)
    checks: list[Any] = field(default_factory=list)
    failure: str = ""


CLIENTS = {
    "stock client, context by file": lambda: dg.PipesSubprocessClient(),
    "stock client, context by environment": lambda: dg.PipesSubprocessClient(context_injector=dg.PipesEnvContextInjector()),
    "our client": lambda: StreamifyPipesClient(new_reader=lambda context: FileMessageReader(context.log, poll_seconds=0.01)),
}


@pytest.fixture(params=list(CLIENTS))
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Heard]:
    """`run(extras, **options)`: runs the program as an asset; options are words, or JSON for files."""
    client = CLIENTS[request.param]()

    def run_it(given_extras: dict[str, object] | None = None, /, **options: object) -> Heard:
        heard = Heard(success=False)
        command = [str(find_binary("examples/conformance", os.environ))]
        for name, value in ({"report_asset_materialization": {}} | options).items():
            if not isinstance(value, str):
                file = tmp_path / f"{name}.json"
                file.write_text(json.dumps(value), encoding="utf-8")
                value = str(file)
            command += [f"--{name.replace('_', '-')}", value]

        @dg.asset(name=ASSET, check_specs=[dg.AssetCheckSpec(CHECK, asset=ASSET)] if "report_asset_check" in options else [])
        def reported(context: dg.AssetExecutionContext):
            invocation = client.run(context=context, command=command, extras=given_extras)
            heard.custom.extend(invocation.get_custom_messages())
            yield from invocation.get_results(implicit_materializations=False)

        with dg.DagsterInstance.ephemeral() as instance:
            result = dg.materialize([reported], instance=instance, raise_on_error=False)
            entries = instance.all_logs(result.run_id)
        heard.success = result.success
        heard.logs = [(logging.getLevelName(entry.level), entry.user_message) for entry in entries if not entry.is_dagster_event]
        events = [entry.dagster_event for entry in entries if entry.dagster_event]
        heard.materializations = [event.materialization for event in events if event.is_step_materialization]
        heard.checks = [
            event.asset_check_evaluation_data for event in events if event.event_type_value == "ASSET_CHECK_EVALUATION"
        ]
        # Dagster's own client tells the worker's error as an event of its engine, ours in the step's failure.
        told = [event for event in events if event.is_step_failure or event.is_engine_event]
        heard.failure = "\n".join(str(event.event_specific_data) for event in told)
        return heard

    return run_it


def test_the_worker_is_told_the_job_and_the_extras(run) -> None:
    extras = {str(number): value for number, value in enumerate(JSON_VALUES)}

    heard = run(extras, extras=extras, job_name="__ephemeral_asset_job__")

    assert heard.success, heard.failure


def test_an_expectation_that_does_not_hold_fails_the_run(run) -> None:
    heard = run({"a": 1}, extras={"a": 2})

    assert not heard.success


def test_an_error_of_the_worker_fails_the_run_and_is_told(run) -> None:
    heard = run(test_name="test_error_reporting")

    assert not heard.success
    assert "Very bad error has happened!" in heard.failure


def test_log_lines_keep_their_level(run) -> None:
    heard = run(test_name="test_message_log")

    assert heard.success, heard.failure
    lines = [line for line in heard.logs if line[1].endswith(" message")]
    assert lines == [(level, f"{level.capitalize()} message") for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")]


@pytest.mark.parametrize("payload", JSON_VALUES, ids=["null", "number", "text", "object"])
def test_custom_messages_arrive_as_they_were_sent(run, payload: object) -> None:
    heard = run(custom_payload={"payload": payload})

    assert heard.success, heard.failure
    assert heard.custom == [payload]


@pytest.mark.parametrize("named", [{}, {"assetKey": ASSET}], ids=["the only asset", "named asset"])
@pytest.mark.parametrize("version", [None, "alpha"])
def test_materializations_keep_every_kind_of_metadata(run, named: dict[str, str], version: str | None) -> None:
    heard = run(report_asset_materialization=named | ({"dataVersion": version} if version else {}))

    assert heard.success, heard.failure
    [materialization] = heard.materializations
    assert materialization.asset_key == dg.AssetKey(ASSET)
    assert {name: materialization.metadata[name] for name in EVERY_KIND} == EVERY_KIND
    assert version is None or materialization.tags["dagster/data_version"] == version


@pytest.mark.parametrize("severity", ["WARN", "ERROR"])
@pytest.mark.parametrize("passed", [True, False], ids=["passed", "failed"])
def test_checks_keep_result_severity_and_metadata(run, severity: str, passed: bool) -> None:
    heard = run(report_asset_check={"assetKey": ASSET, "checkName": CHECK, "passed": passed, "severity": severity})

    [check] = heard.checks
    assert (check.check_name, check.passed, check.severity.name) == (CHECK, passed, severity)
    assert {name: check.metadata[name] for name in EVERY_KIND} == EVERY_KIND
