"""The code location of the proof: the project's own definitions, and the same worker under Dagster's stock Pipes client."""

import os

import dagster as dg

from dagster_project import definitions
from dagster_project.lib.paths import find_binary

#: What every worker of the proof is told, so that commits are many and small.
WORKER_ARGS = ("--topics", "listen_events", "--freshness", "300ms", "--max-event-time-ahead", "60d")


@dg.asset(key="stock_client", pool="bronze_stream")
def stock_client(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    """A run of the stream worker under Dagster's own client and reader, until it is terminated."""
    client = dg.PipesSubprocessClient(termination_timeout_seconds=30)
    command = [str(find_binary("streamify-stream", os.environ)), *WORKER_ARGS]
    results = client.run(context=context.op_execution_context, command=command).get_results(implicit_materializations=False)
    return next(result for result in results if isinstance(result, dg.MaterializeResult))


defs = dg.Definitions.merge(definitions.defs(), dg.Definitions(assets=[stock_client]))
