"""What is handed over in both directions: contexts of every kind of step, asset keys, and every kind of metadata."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from tests.pipes.probe.launcher import ASSET, Heard, Launcher

DAYS = dg.DailyPartitionsDefinition(start_date="2026-01-01")
REGIONS = dg.StaticPartitionsDefinition(["eu", "us"])
CONTEXT = [{"do": "context"}]


def _context(heard: Heard) -> Any:
    assert heard.success, heard.failure
    [context] = heard.custom
    return context


def test_an_unpartitioned_asset(probe: Launcher):
    specs = [dg.AssetSpec(ASSET, code_version="v1")]

    context = _context(probe.run(*probe.command(script=CONTEXT), specs=specs, extras={"a": None}))

    [run] = probe.instance.get_runs()
    assert context == {
        "asset_keys": [ASSET],
        "code_version_by_asset_key": {ASSET: "v1"},
        "provenance_by_asset_key": {ASSET: None},
        "partition_key": None,
        "partition_key_range": None,
        "partition_time_window": None,
        "run_id": run.run_id,
        "job_name": "__ephemeral_asset_job__",
        "retry_number": 0,
        "extras": {"a": None},
    }


def test_a_time_partition_has_a_key_a_range_and_a_window(probe: Launcher):
    heard = probe.run(*probe.command(script=CONTEXT), partitions_def=DAYS, partition_key="2026-01-03")

    context = _context(heard)
    assert context["partition_key"] == "2026-01-03"
    assert context["partition_key_range"] == {"start": "2026-01-03", "end": "2026-01-03"}
    assert context["partition_time_window"] == {"start": "2026-01-03T00:00:00+00:00", "end": "2026-01-04T00:00:00+00:00"}


def test_a_partition_that_is_no_time_has_no_window(probe: Launcher):
    context = _context(probe.run(*probe.command(script=CONTEXT), partitions_def=REGIONS, partition_key="us"))

    assert context["partition_key"] == "us"
    assert context["partition_time_window"] is None


def test_a_partition_of_two_dimensions_has_a_joined_key_and_the_window_of_its_time(probe: Launcher):
    both = dg.MultiPartitionsDefinition({"day": DAYS, "region": REGIONS})
    key = dg.MultiPartitionKey({"day": "2026-01-03", "region": "eu"})

    context = _context(probe.run(*probe.command(script=CONTEXT), partitions_def=both, partition_key=key))

    assert context["partition_key"] == "2026-01-03|eu"
    assert context["partition_key_range"] == {"start": "2026-01-03|eu", "end": "2026-01-03|eu"}
    assert context["partition_time_window"] == {"start": "2026-01-03T00:00:00+00:00", "end": "2026-01-04T00:00:00+00:00"}


def test_a_range_run_is_told_nothing_of_its_partitions_so_extras_must_carry_them(probe: Launcher):
    tags = {"dagster/asset_partition_range_start": "2026-01-03", "dagster/asset_partition_range_end": "2026-01-05"}
    script = [*CONTEXT, {"do": "materialize"}]

    heard = probe.run(*probe.command(script=script), partitions_def=DAYS, tags=tags, extras={"days": ["2026-01-03"]})

    context = _context(heard)
    assert [context[name] for name in ("partition_key", "partition_key_range", "partition_time_window")] == [None, None, None]
    assert context["extras"] == {"days": ["2026-01-03"]}
    assert sorted(str(materialization.partition) for materialization in heard.materializations) == [
        "2026-01-03",
        "2026-01-04",
        "2026-01-05",
    ]


def test_after_a_materialization_its_provenance_is_told(probe: Launcher):
    specs = [dg.AssetSpec("made", deps=["source"], code_version="v2")]
    first = probe.run(*probe.command(script=[*CONTEXT, {"do": "materialize", "data_version": "alpha"}]), specs=specs)

    second = _context(probe.run(*probe.command(script=CONTEXT), specs=specs))

    assert _context(first)["provenance_by_asset_key"] == {"made": None}
    provenance = second["provenance_by_asset_key"]["made"]
    assert provenance["code_version"] == "v2"
    assert list(provenance["input_data_versions"]) == ["source"]
    assert provenance["is_user_provided"] is True


def test_keys_of_several_parts_and_with_separators_inside_find_their_asset(probe: Launcher):
    keys = [dg.AssetKey(["bronze", "listen_events"]), dg.AssetKey(["a/b", "c\\d", "e"]), dg.AssetKey("plain")]
    written = [r"bronze/listen_events", r"a\/b/c\\d/e", "plain"]
    script = [*CONTEXT, *({"do": "materialize", "asset_key": key, "data_version": key} for key in written)]

    heard = probe.run(
        *probe.command(script=script), outs={f"out_{index}": dg.AssetOut(key=key) for index, key in enumerate(keys)}
    )

    assert sorted(_context(heard)["asset_keys"]) == sorted(written)
    versions = {event.asset_key: (event.tags or {})["dagster/data_version"] for event in heard.materializations}
    assert versions == dict(zip(keys, written, strict=True))


def test_a_step_with_several_assets_must_be_told_which(probe: Launcher):
    refused = "no asset key is given and the step has 2 assets"
    specs = [dg.AssetSpec("first"), dg.AssetSpec("second")]
    script = [{"do": "materialize", "refused": refused}, {"do": "materialize", "asset_key": "second"}]

    heard = probe.run(*probe.command(script=script), specs=specs)

    assert heard.success, heard.failure
    assert [event.asset_key for event in heard.materializations] == [dg.AssetKey("second")]


def test_checks_of_several_assets_arrive_with_their_own(probe: Launcher):
    specs = [dg.AssetSpec("first"), dg.AssetSpec("second")]
    checks = [dg.AssetCheckSpec("closes", asset=spec.key) for spec in specs]
    script = [step for spec in specs for step in _report_and_check(spec.key.to_escaped_user_string())]

    heard = probe.run(*probe.command(script=script), specs=specs, checks=checks)

    assert heard.success, heard.failure
    assert [check.asset_key for check in heard.checks] == [spec.key for spec in specs]
    assert heard.results == ["MaterializeResult", "AssetCheckResult"] * 2


def _report_and_check(asset_key: str) -> list[dict[str, object]]:
    return [{"do": "materialize", "asset_key": asset_key}, {"do": "check", "asset_key": asset_key, "check_name": "closes"}]


def test_every_other_kind_of_metadata_arrives_as_what_it_is(probe: Launcher):
    heard = probe.run(*probe.command(script=[{"do": "materialize", "values": "rich"}]))

    assert heard.success, heard.failure
    [materialization] = heard.materializations
    metadata = materialization.metadata
    assert _table_rows(metadata["table"]) == [
        {"page": "Next \U0001f3b5", "share": 0.5},
        {"page": None, "share": None},
        {"page": 7, "share": True},
    ]
    [page, share] = metadata["dagster/column_schema"].value.columns
    assert (page.name, page.type, page.description, page.tags) == ("page", "string", "what was shown", {"unit": "none"})
    assert (page.constraints.nullable, page.constraints.unique, page.constraints.other) == (False, True, ["page != ''"])
    assert (share.name, share.type) == ("share", "double")
    lineage = metadata["dagster/column_lineage"].value.deps_by_column["page"]
    assert [(dep.asset_key, dep.column_name) for dep in lineage] == [
        (dg.AssetKey(["bronze", "listen/events"]), "page"),
        (dg.AssetKey("other"), "x"),
    ]
    assert metadata["timestamp"] == dg.MetadataValue.timestamp(datetime.fromtimestamp(1_700_000_000.5, tz=UTC))
    expected = {
        "before_1970": -2.0,
        "whole_float": 2.0,
        "large_float": 1e300,
        "nan": None,
        "infinity": None,
        "seconds": 1.5,
        "least_int": -(2**63),
        "most_count": 2**63 - 1,
        "json_text": "plain",
        "json_number": 7,
        "json_list": [1.0, None, "x"],
        "text": '\u00fc \U0001f3b5 \\ "quoted"\n\u2028',
        "empty": "",
    }
    assert {name: metadata[name].value for name in expected} == expected


def _table_rows(table: Any) -> list[dict[str, object]]:
    return [dict(record.data) for record in table.records]
