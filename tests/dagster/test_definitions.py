"""The code location as a whole."""

import dagster as dg
import pytest

from dagster_project import by_name
from dagster_project.definitions import defs

EXPECTED_KEYS = {
    "bronze_auth_events",
    "bronze_dead_letters",
    "bronze_listen_events",
    "bronze_page_view_events",
    "bronze_status_change_events",
    "bronze_streaming_job",
}


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
        assert spec.group_name == "bronze", spec.key
        assert spec.kinds, spec.key


def test_a_fifth_contract_is_a_fifth_table(clean_environment, tmp_path):
    contract = 'name = "refunds"\nversion = 1\ntopic = "refunds"\ntable = "bronze_refunds"\ndoc = "One refund."\n'
    field = '\n[[fields]]\nname = "ts"\ntype = "long"\ndoc = "Event time."\n'
    (tmp_path / "refunds.toml").write_text(contract + 'sort_key = ["ts"]\n' + field, encoding="utf-8")
    clean_environment.setenv("STREAMIFY_CONTRACTS", str(tmp_path))

    keys = {spec.key.to_user_string() for spec in defs().resolve_all_asset_specs()}

    assert keys == {"bronze_refunds", "bronze_dead_letters", "bronze_streaming_job"}


def test_only_one_bronze_run_at_a_time(loaded):
    assert loaded.resolve_assets_def("bronze_streaming_job").op.pool == "bronze_stream"


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

    assert str(caught.value) == f"`{name}` {why}; assets to materialize: bronze_streaming_job"
