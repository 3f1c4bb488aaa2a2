"""The bronze tables' specs, and the events made from the worker's report."""

import dagster as dg

from dagster_project.lib.bronze_tables import JOB_KEY, table_events, table_specs
from dagster_project.lib.contracts import DEAD_LETTER_TABLE, load_contracts
from dagster_project.lib.paths import contracts_folder


def _table(*rows: dict[str, object]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows])


def _report(**metadata: object) -> dg.MaterializeResult:
    return dg.MaterializeResult(asset_key=JOB_KEY, metadata=metadata)


def test_each_table_that_got_rows_has_an_event_with_its_own_facts_and_offsets():
    report = _report(
        topics=_table(
            {"topic": "listen_events", "table": "bronze_listen_events", "rows": 5, "snapshot_id": "81", "seconds": 0.5},
            {"topic": "auth_events", "table": "bronze_auth_events", "rows": 2, "snapshot_id": None, "seconds": 1.0},
        ),
        offsets=_table(
            {"topic": "listen_events", "partition": 0, "from": 0, "to": 5},
            {"topic": "auth_events", "partition": 0, "from": 7, "to": 9},
        ),
    )

    listen, auth = table_events(report)

    assert listen.asset_key == dg.AssetKey("bronze_listen_events")
    assert listen.metadata["rows"] == dg.MetadataValue.int(5)
    assert listen.metadata["snapshot_id"] == dg.MetadataValue.text("81")
    assert listen.metadata["seconds"] == dg.MetadataValue.float(0.5)
    assert [record.data for record in listen.metadata["offsets"].records] == [{"partition": 0, "from": 0, "to": 5}]
    assert [record.data for record in auth.metadata["offsets"].records] == [{"partition": 0, "from": 7, "to": 9}]
    assert "snapshot_id" not in auth.metadata


def test_a_table_that_got_nothing_stays_as_old_as_it_is():
    assert table_events(_report(topics=_table({"topic": "t", "table": "bronze_t", "rows": 0}))) == []


def test_a_report_without_tables_or_of_another_asset_makes_no_event():
    other = dg.MaterializeResult(asset_key="other", metadata={"topics": _table({"topic": "t", "table": "bronze_t", "rows": 1})})

    assert table_events(_report(rows=3)) == []
    assert table_events(other) == []


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
