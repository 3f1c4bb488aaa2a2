"""The contract of Dagster's public Pipes conformance suite, row by row: 63 cases against stock Dagster."""

from typing import Any

import dagster as dg
import pytest
from dagster_aws.pipes import PipesS3ContextInjector, PipesS3MessageReader

from tests.pipes.probe.launcher import ASSET, BUCKET, CHECK, Heard, Launcher, known_values

JOB = "__ephemeral_asset_job__"
EXTRAS: dict[str, dict[str, object]] = {
    "none": {},
    "text": {"foo": "bar"},
    "null inside": {"foo": None, "bar": {"baz": None}},
    "nested": {"a": {"b": [{}, 1, 1.5, True, "x"]}, "": []},
    "unicode": {"\u00fc \U0001f3b5": '\\ "quoted"\n\u2028'},
}
PAYLOADS: dict[str, object] = {
    "object": {"foo": "bar"},
    "nested": {"a": {"b": {"c": [1, [2, {"d": 3}]]}}},
    "null inside": {"foo": None},
    "int": 1,
    "float": 1.0,
    "text": "hello",
    "list": [1, 2, 3],
    "mixed list": [None, True, -0.5, "\u00fc\U0001f3b5"],
    "null": None,
}
NAMED = {"the only asset": {}, "named asset": {"assetKey": ASSET}}


def _assert_sound(heard: Heard) -> None:
    assert heard.success, heard.failure
    assert heard.told == []
    assert heard.warnings == []


@pytest.mark.parametrize("extras", EXTRAS.values(), ids=EXTRAS)
@pytest.mark.parametrize("injector", ["environment", "file", "s3"])
@pytest.mark.parametrize("messages", ["default", "s3"])
def test_components(probe: Launcher, request: pytest.FixtureRequest, extras: dict[str, object], injector: str, messages: str):
    options: dict[str, object] = {"test_name": "test_components", "extras": extras, "job_name": JOB}
    parts: dict[str, Any] = {"context_injector": dg.PipesEnvContextInjector()} if injector == "environment" else {}
    if injector == "s3":
        parts["context_injector"] = PipesS3ContextInjector(bucket=BUCKET, client=request.getfixturevalue("store"))
        options["context_loader"] = "s3"
    if messages == "s3":
        parts["message_reader"] = PipesS3MessageReader(bucket=BUCKET, client=request.getfixturevalue("store"))
        options["message_writer"] = "s3"

    heard = probe.run(*probe.command(**options), client=dg.PipesSubprocessClient(**parts), extras=extras)

    _assert_sound(heard)
    assert heard.custom == ["Hello from external process!"]


@pytest.mark.parametrize("extras", EXTRAS.values(), ids=EXTRAS)
@pytest.mark.parametrize("injector", [dg.PipesEnvContextInjector, dg.PipesTempFileContextInjector])
def test_extras(probe: Launcher, extras: dict[str, object], injector: type[dg.PipesContextInjector]):
    client = dg.PipesSubprocessClient(context_injector=injector())

    heard = probe.run(*probe.command(test_name="test_extras", extras=extras), client=client, extras=extras)

    _assert_sound(heard)


def test_error_reporting(probe: Launcher):
    heard = probe.run(*probe.command(test_name="test_error_reporting"))

    assert not heard.success
    [told] = heard.told
    assert told.message == "Very bad error has happened!"
    assert told.cls_name
    assert told.stack


def test_message_log(probe: Launcher):
    heard = probe.run(*probe.command(test_name="test_message_log"))

    _assert_sound(heard)
    levels = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    assert heard.own_logs == [(level, f"{level.capitalize()} message") for level in levels]


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_message_report_custom_message(probe: Launcher, payload: object):
    heard = probe.run(*probe.command(test_name="test_message_report_custom_message", custom_payload={"payload": payload}))

    _assert_sound(heard)
    assert heard.custom == [payload]
    assert type(heard.custom[0]) is type(payload)


@pytest.mark.parametrize("named", NAMED.values(), ids=NAMED)
@pytest.mark.parametrize("version", [None, "alpha"])
def test_message_report_asset_materialization(probe: Launcher, named: dict[str, str], version: str | None):
    wanted = named | ({"dataVersion": version} if version else {})
    name = "test_message_report_asset_materialization"

    heard = probe.run(*probe.command(test_name=name, report_asset_materialization=wanted))

    _assert_sound(heard)
    [materialization] = heard.materializations
    assert materialization.asset_key == dg.AssetKey(ASSET)
    assert {name: materialization.metadata[name] for name in known_values()} == known_values()
    tags = materialization.tags or {}
    assert tags.get("dagster/data_version_is_user_provided") == ("true" if version else None)
    assert version is None or tags["dagster/data_version"] == version


@pytest.mark.parametrize("named", NAMED.values(), ids=NAMED)
@pytest.mark.parametrize("severity", ["WARN", "ERROR"])
@pytest.mark.parametrize("passed", [True, False], ids=["passed", "failed"])
def test_message_report_asset_check(probe: Launcher, named: dict[str, str], severity: str, passed: bool):
    wanted = named | {"checkName": CHECK, "passed": passed, "severity": severity}
    command = probe.command(test_name="test_message_report_asset_check", report_asset_check=wanted)

    heard = probe.run(*command, checks=[dg.AssetCheckSpec(CHECK, asset=ASSET)])

    _assert_sound(heard)
    assert heard.results[0] == "AssetCheckResult"
    [check] = heard.checks
    assert (check.check_name, check.passed, check.severity.name) == (CHECK, passed, severity)
    assert {name: check.metadata[name] for name in known_values()} == known_values()


# What a probe must not do: pass where the contract is broken.
def test_extras_that_differ_fail_the_process(probe: Launcher):
    heard = probe.run(*probe.command(test_name="test_extras", extras={"a": 2}), extras={"a": 1})

    assert not heard.success
    assert [told.message for told in heard.told] == ['extras: expected {"a":2}, found {"a":1}']


def test_another_job_name_fails_the_process(probe: Launcher):
    heard = probe.run(*probe.command(test_name="test_components", job_name="another"))

    assert not heard.success


@pytest.mark.parametrize("option", ["context_loader", "message_writer"])
def test_another_channel_than_the_one_named_fails_the_process(probe: Launcher, option: str):
    heard = probe.run(*probe.command(test_name="test_components", **{option: "s3"}))

    assert not heard.success


def test_an_option_that_the_contract_does_not_have_fails_the_process(probe: Launcher):
    heard = probe.run(*probe.command(test_name="test_components", surprise="x"))

    assert not heard.success
