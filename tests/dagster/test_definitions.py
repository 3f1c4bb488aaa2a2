"""The code location as a whole."""

import dagster as dg
import pytest

from dagster_project import by_name
from dagster_project.definitions import defs

TOPICS = ("auth_events", "listen_events", "page_view_events", "status_change_events")
BRONZE = {f"bronze_{topic}" for topic in TOPICS} | {"bronze_dead_letters"}
SILVER = {f"silver_{topic}" for topic in TOPICS} | {"silver_user_sessions"}
GROUPS = {
    "bronze": BRONZE | {"bronze_streaming_job", "bronze_replay", "dead_letter_replay"},
    "silver": SILVER | {"silver_rebuild"},
    "maintenance": {f"{table}_care" for table in BRONZE | SILVER},
}
BACKFILLS = {"bronze_replay", "dead_letter_replay", "silver_rebuild"}
EXPECTED_KEYS = set().union(*GROUPS.values())


@pytest.fixture
def loaded(clean_environment) -> dg.Definitions:
    return defs()


def test_definitions_load(loaded):
    dg.Definitions.validate_loadable(loaded)


def test_every_asset_is_there_and_none_was_dropped_in_silence(loaded):
    assert {spec.key.to_user_string() for spec in loaded.resolve_all_asset_specs()} == EXPECTED_KEYS


def test_every_asset_has_what_a_reader_of_the_graph_needs(loaded):
    for spec in loaded.resolve_all_asset_specs():
        assert spec.description, spec.key
        assert spec.owners == ["team:data"], spec.key
        assert spec.key.to_user_string() in GROUPS[spec.group_name], spec.key
        assert spec.kinds, spec.key


def test_a_fifth_contract_is_a_fifth_table(clean_environment, tmp_path):
    contract = 'name = "refunds"\nversion = 1\ntopic = "refunds"\ntable = "bronze_refunds"\ndoc = "One refund."\n'
    field = '\n[[fields]]\nname = "ts"\ntype = "long"\ndoc = "Event time."\n'
    (tmp_path / "refunds.toml").write_text(contract + 'sort_key = ["ts"]\n' + field, encoding="utf-8")
    clean_environment.setenv("STREAMIFY_CONTRACTS", str(tmp_path))

    keys = {spec.key.to_user_string() for spec in defs().resolve_all_asset_specs()}

    tables = {"bronze_refunds", "silver_refunds", "bronze_dead_letters"}
    assert keys == tables | {f"{table}_care" for table in tables} | BACKFILLS | {"bronze_streaming_job"}


def test_only_one_bronze_run_at_a_time(loaded):
    assert loaded.resolve_assets_def("bronze_streaming_job").op.pool == "bronze_stream"


def test_silver_is_made_after_what_it_is_made_from(loaded):
    deps = {
        spec.key.to_user_string(): {dep.asset_key.to_user_string() for dep in spec.deps}
        for spec in loaded.resolve_all_asset_specs()
    }

    assert deps["silver_listen_events"] == {"bronze_streaming_job", "bronze_listen_events"}
    assert deps["silver_auth_events"] == {"bronze_streaming_job", "bronze_auth_events", "silver_page_view_events"}
    assert deps["silver_user_sessions"] == SILVER - {"silver_user_sessions"}
    assert deps["silver_user_sessions_care"] == {"silver_user_sessions"}


def test_every_silver_table_shows_its_columns_and_its_name(loaded):
    specs = {spec.key.to_user_string(): spec for spec in loaded.resolve_all_asset_specs()}

    for table in SILVER:
        schema = {column.name: column for column in specs[table].metadata["dagster/column_schema"].columns}
        assert specs[table].metadata["dagster/table_name"] == f"lakehouse.streamify.{table}"
        assert schema["user_id"].tags == {"personal_data": ""}
        assert schema["_processed_at"].constraints.nullable is False


def test_jobs_hold_what_they_say_and_their_schedules_are_off(loaded):
    jobs = {name: loaded.resolve_job_def(name) for name in ("silver_batch_job", "maintenance_job")}
    selected = {name: {key.to_user_string() for key in job.asset_layer.executable_asset_keys} for name, job in jobs.items()}

    assert selected == {"silver_batch_job": SILVER, "maintenance_job": GROUPS["maintenance"]}
    schedules = {schedule.name: schedule for schedule in loaded.schedules}
    assert {schedule.default_status.value for schedule in schedules.values()} == {"STOPPED"}
    assert {name: schedule.job_name for name, schedule in schedules.items()} == {
        "bronze_checks_schedule": "bronze_checks_job",
        "bronze_rolling_schedule": "bronze_rolling_job",
        "silver_schedule": "silver_batch_job",
        "gold_schedule": "gold_batch_job",
        "maintenance_schedule": "maintenance_job",
    }


@pytest.mark.parametrize("name", sorted(BACKFILLS))
def test_a_range_of_days_is_one_run(loaded, name):
    backfill = loaded.resolve_assets_def(name)

    assert backfill.backfill_policy == dg.BackfillPolicy.single_run()
    assert backfill.partitions_def.has_partition_key("2026-02-23")


def test_by_name_gives_definitions_of_that_asset_alone(clean_environment):
    only = by_name.bronze_streaming_job

    dg.Definitions.validate_loadable(only)
    assert set(only.resolve_asset_graph().executable_asset_keys) == {dg.AssetKey("bronze_streaming_job")}


def test_by_name_works_for_every_asset_that_can_be_materialized(clean_environment, loaded):
    names = {key.to_user_string() for key in loaded.resolve_asset_graph().materializable_asset_keys}

    assert names <= set(dir(by_name))
    for name in names:
        dg.Definitions.validate_loadable(getattr(by_name, name))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("bronze_streeming_job", "is no asset"),
        ("bronze_listen_events", "is written by another asset or service"),
    ],
)
def test_by_name_tells_the_names_when_there_is_no_such_asset(clean_environment, name, why):
    with pytest.raises(AttributeError) as caught:
        getattr(by_name, name)

    assert str(caught.value) == f"`{name}` {why}; assets to materialize: {', '.join(sorted(EXPECTED_KEYS - BRONZE))}"
