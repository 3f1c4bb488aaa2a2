"""The batch program as Dagster runs it: through the stock Pipes client."""

import os

import dagster as dg
import pytest

from dagster_project import _native
from dagster_project.lib.paths import find_binary

# The stock client uses calls of its own that are deprecated, or not promised.
pytestmark = pytest.mark.filterwarnings(
    "ignore:AssetExecutionContext:DeprecationWarning", "ignore:Function .PipesMessageReader.expected_writer_count"
)


@pytest.fixture
def run():
    """`run([key, …], argument, …)`: materializes assets by the program; returns the result and what was materialized."""
    program = str(find_binary("streamify-batch", os.environ))

    def run(keys, *arguments):
        @dg.multi_asset(specs=[dg.AssetSpec(key) for key in keys], name="batch")
        def batch(context: dg.AssetExecutionContext):
            client = dg.PipesSubprocessClient()
            return client.run(context=context, command=[program, *arguments]).get_results(implicit_materializations=False)

        with dg.DagsterInstance.ephemeral() as instance:
            result = dg.materialize([batch], instance=instance, raise_on_error=False)
            events = {
                key: record.asset_materialization.metadata
                for key in keys
                for record in instance.fetch_materializations(dg.AssetKey(key), limit=1).records
            }
            logs = [entry.user_message for entry in instance.all_logs(result.run_id)]
        return result, events, logs

    return run


def test_one_asset_hears_of_the_whole_run(small_files, run):
    small_files("a")
    small_files("b")

    result, events, logs = run(["care"], "compact")

    assert result.success
    care = events["care"]
    assert care["files_rewritten"] == dg.MetadataValue.int(20)
    assert [record.data["table"] for record in care["tables"].records] == ["a", "b"]
    assert care["exit_reason"] == dg.MetadataValue.text("done")
    assert any("compacted" in line for line in logs)


def test_of_several_assets_each_hears_of_its_table(lake, small_files, run):
    small_files("a")
    small_files("b")

    result, events, _ = run(["a", "b"], "compact", "--tables", "a,b")

    assert result.success
    for name in ("a", "b"):
        assert events[name]["partitions"] == dg.MetadataValue.int(2)
        assert events[name]["snapshot_id"] == dg.MetadataValue.text(str(lake.table(name).current_snapshot().snapshot_id))
        assert events[name]["table"] == dg.MetadataValue.text(name)


def test_a_failure_is_told_with_its_hint(lake, run):
    result, events, logs = run(["care"], "compact", "--tables", "bronze_listen_events")

    assert not result.success
    assert events == {}
    [line] = [line for line in logs if "does not exist" in line and "hint" in line]
    assert "streamify-stream" in line


def test_the_function_works_inside_an_asset_and_its_progress_goes_to_the_log(small_files):
    small_files("t")

    @dg.asset
    def compacted(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        report = _native.compact("t", progress=lambda step: context.log.info(step.what))
        return dg.MaterializeResult(metadata={"files_after": report["files_after"]})

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([compacted], instance=instance)

    [event] = result.asset_materializations_for_node("compacted")
    assert event.metadata["files_after"] == dg.MetadataValue.int(2)
