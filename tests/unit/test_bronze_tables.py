"""The bronze tables' names and specs."""

from dagster_project.lib.bronze_tables import JOB_KEY, table_names, table_specs
from dagster_project.lib.contracts import DEAD_LETTER_TABLE, load_contracts
from dagster_project.lib.paths import contracts_folder


def test_the_tables_are_those_of_the_contracts_and_the_dead_letters():
    names = table_names({})

    assert "bronze_listen_events" in names
    assert names[-1] == DEAD_LETTER_TABLE
    assert len(names) == len(load_contracts(contracts_folder({}))) + 1


def test_specs_carry_schema_name_owner_and_freshness():
    specs = {spec.key.to_user_string(): spec for spec in table_specs(load_contracts(contracts_folder({})), "lake", "raw")}

    listen = specs["bronze_listen_events"]
    schema = {column.name: column for column in listen.metadata["dagster/column_schema"].columns}
    assert listen.metadata["dagster/table_name"] == "lake.raw.bronze_listen_events"
    assert schema["event_ts"].type == "timestamptz"
    assert schema["event_id"].constraints.nullable is False
    assert schema["lastName"].tags == {"personal_data": ""}
    assert listen.freshness_policy is not None
    assert listen.owners == ["team:data"]
    assert [dep.asset_key for dep in listen.deps] == [JOB_KEY]
    assert specs[DEAD_LETTER_TABLE].freshness_policy is None
    assert all(spec.description for spec in specs.values())
