"""Bronze: the bounded run of the stream worker."""

from importlib.metadata import version

import dagster as dg

from dagster_project.lib.bronze_tables import GROUP, OWNERS
from dagster_project.lib.worker_args import StreamRunConfig, worker_args
from dagster_project.resources.stream_worker import StreamWorker


@dg.asset(
    group_name=GROUP,
    kinds={"rust", "kafka", "iceberg"},
    owners=OWNERS,
    tags={"layer": "bronze"},
    pool="bronze_stream",
    code_version=version("streamify"),
)
def bronze_streaming_job(
    context: dg.AssetExecutionContext, config: StreamRunConfig, stream_worker: StreamWorker
) -> dg.MaterializeResult[None]:
    """A bounded run of the stream worker: everything new in the Kafka topics, landed in the bronze tables.

    Each record is stored exactly once; offsets live in the tables, so a run goes on where the last commit ended, whoever made
    it. What cannot be decoded goes to `bronze_dead_letters`. Cancelling stops the worker within seconds, and what it had
    committed stays recorded.

    Metadata: `rows`, `dead_letters`, `received`, `skipped_by_broker` and `unaccounted` are records (the ledger: `unaccounted` =
    `received` - `rows` - `dead_letters`, always 0); `size_bytes` bytes; `seconds` and `freshness_seconds` seconds; `topics` has
    one row per topic, `offsets` one per topic-partition (`from` inclusive, `to` exclusive).

    Exit codes of the worker: 1 failure (run again), 2 bad settings, 3 a decision is needed (see the message).
    """
    results = stream_worker.run(context, worker_args(config))
    return next(result for result in results if isinstance(result, dg.MaterializeResult))
