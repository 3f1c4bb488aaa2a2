"""Backfills of bronze over days: a topic read again and swapped in, and dead letters tried again. Each range is one run."""

import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version

import dagster as dg

from dagster_project.lib.batch_reports import Report, Value
from dagster_project.lib.bronze_tables import GROUP, JOB_KEY, OWNERS
from dagster_project.lib.contracts import DEAD_LETTER_TABLE, Contract, load_contracts
from dagster_project.lib.lake import TableMissingError, load_table, purge_table, replayed_offsets
from dagster_project.lib.letter_jobs import LETTERS_KEY, LettersConfig, letters_job, letters_metadata
from dagster_project.lib.paths import contracts_folder
from dagster_project.lib.replay_jobs import (
    POOL,
    REPLAY_KEY,
    Compared,
    Replay,
    ReplayConfig,
    compared_in,
    day_metadata,
    replay_args,
    replays_of,
    run_metadata,
    snapshot_ids,
    staging_tables,
    swap_job,
)
from dagster_project.lib.silver_tables import REBUILD_KEY, day_partitions, days_of_run
from dagster_project.resources.batch_runner import BatchRunner
from dagster_project.resources.stream_worker import StreamWorker

Result = dg.MaterializeResult[None]


@dg.definitions
def replay() -> dg.Definitions:
    """The replays, by the contracts."""
    contracts = load_contracts(contracts_folder(os.environ))
    return dg.Definitions(assets=[_bronze_replay(contracts), _dead_letter_replay(contracts)])


def _bronze_replay(contracts: Sequence[Contract]) -> dg.AssetsDefinition:
    @dg.asset(
        key=REPLAY_KEY,
        deps=[JOB_KEY, *(contract.table for contract in contracts)],
        partitions_def=day_partitions(contracts),
        backfill_policy=dg.BackfillPolicy.single_run(),
        output_required=False,
        group_name=GROUP,
        kinds={"rust", "kafka", "iceberg"},
        owners=OWNERS,
        tags={"layer": "bronze"},
        pool=POOL,
        code_version=version("streamify"),
    )
    def bronze_replay(
        context: dg.AssetExecutionContext, config: ReplayConfig, stream_worker: StreamWorker, batch_runner: BatchRunner
    ) -> Iterator[Result]:
        """Days of the bronze tables, read again from Kafka and put in the place of what they hold, in one commit per table.

        One partition is one UTC day of event times, of all tables (or of the topics in the config); a range is one run. Each
        topic is read into a staging table, which is compared with its bronze table by place in Kafka and payload. Only where
        they differ, they are swapped. If a swap would lose rows, the run fails before any table is changed, unless the
        config accepts it. Offsets stay as they are, a live worker goes on meanwhile, and rows whose records Kafka no longer
        holds stay.

        Rows that were missing reach silver with its next run; where payloads differed, `silver_rebuild` the same days.

        Metadata, all in rows: `rows_before` and `rows_after` of the range, `equal`, `differing` (another payload), `missing`
        (bronze lacked them), `extra` (only bronze had them). Each day has its own; `tables` has a row for each table. A
        dry run leaves them as an observation.
        """
        days = days_of_run(context)
        replays = _replays(context, contracts, config)
        for one in replays:
            stream_worker.run_into_staging(context, replay_args(one, days))
        _demand_records(context, replays, days)
        reports = batch_runner.run(context, [swap_job(one, config, dry_run=True) for one in replays], config.execution)
        if not config.dry_run:
            reports = _swapped(context, batch_runner, config, replays, reports)
        kept = staging_tables(replays) if config.keep_staging else _drop(context, replays)
        facts = {
            "replayed_days": dg.MetadataValue.text(days),
            "snapshot_ids": dg.MetadataValue.json(snapshot_ids(reports)),
            "staging_tables": dg.MetadataValue.json(list(kept)),
        }
        metadata = {day: {**day_metadata(reports, day), **facts} for day in context.partition_keys}
        yield from _tell(context, metadata, is_dry_run=config.dry_run)

    return bronze_replay


def _dead_letter_replay(contracts: Sequence[Contract]) -> dg.AssetsDefinition:
    @dg.asset(
        key=LETTERS_KEY,
        deps=[JOB_KEY, DEAD_LETTER_TABLE],
        partitions_def=day_partitions(contracts),
        backfill_policy=dg.BackfillPolicy.single_run(),
        output_required=False,
        group_name=GROUP,
        kinds={"rust", "iceberg"},
        owners=OWNERS,
        tags={"layer": "bronze"},
        pool=POOL,
        code_version=version("streamify"),
    )
    def dead_letter_replay(
        context: dg.AssetExecutionContext, config: LettersConfig, batch_runner: BatchRunner
    ) -> Iterator[Result]:
        """Dead letters of some days, decoded again with the present contracts.

        What is good now lands in its bronze table under its original offset, and its letter is marked as replayed: every
        record is one row or one letter. One partition is one UTC day of Kafka timestamps, because what could not be decoded
        has no event time; a range is one run. Letters without a sound timestamp stand under 1970-01-01, which is no
        partition here: `streamify-batch replay-dead-letters --days 1970-01-01`.

        Metadata: `letters` tried, `inserted` rows, `marked` letters, `already_there` rows of an earlier run that was killed,
        `pending` letters whose range the worker has not committed yet; `reasons` has a row for each topic and reason, with
        the `good` ones. A dry run leaves them as an observation.
        """
        days = days_of_run(context)
        jobs = [letters_job(days, config)] if _holds_rows(DEAD_LETTER_TABLE) else []
        reports = batch_runner.run(context, jobs, config.execution)
        metadata = letters_metadata(reports[0] if reports else {})
        metadata["replayed_days"] = dg.MetadataValue.text(days)
        yield from _tell(context, dict.fromkeys(context.partition_keys, metadata), is_dry_run=config.dry_run)

    return dead_letter_replay


def _replays(context: dg.AssetExecutionContext, contracts: Sequence[Contract], config: ReplayConfig) -> Sequence[Replay]:
    known = {contract.topic for contract in contracts}
    if unknown := sorted(set(config.topics) - known):
        text = f"no contract for {', '.join(f'`{topic}`' for topic in unknown)}; topics: {', '.join(sorted(known))}"
        raise dg.Failure(description=text, allow_retries=False)
    wanted = [contract for contract in contracts if not config.topics or contract.topic in config.topics]
    filled = [contract for contract in wanted if _holds_rows(contract.table)]
    for contract in wanted:
        if contract not in filled:
            context.log.info("nothing to replay: table `%s` has never had rows", contract.table)
    return replays_of(filled, context.run.run_id)


def _holds_rows(table: str) -> bool:
    try:
        return load_table(os.environ, table).current_snapshot() is not None
    except TableMissingError:
        return False


def _demand_records(context: dg.AssetExecutionContext, replays: Sequence[Replay], days: str) -> None:
    """Fails if no topic had anything to read again: days that were not replayed must not count as materialized."""
    empty = [one for one in replays if not replayed_offsets(load_table(os.environ, one.staging))]
    for one in empty:
        context.log.warning("topic `%s` holds no record that could have events of %s: its table stays", one.topic, days)
    if empty and len(empty) == len(replays):
        _drop(context, replays)
        raise dg.Failure(
            description=f"Kafka holds no record that could have events of {days}; nothing was replayed. Either they were "
            "dropped, or the broker does not find offsets by time (the embedded one does not)",
            allow_retries=False,
        )


def _swapped(
    context: dg.AssetExecutionContext,
    batch_runner: BatchRunner,
    config: ReplayConfig,
    replays: Sequence[Replay],
    compared: Sequence[Report],
) -> Sequence[Report]:
    """Swaps the tables that differ; returns what was found and done, table by table."""
    total = sum((compared_in(report) for report in compared), Compared())
    if total.extra and not config.accept_loss:
        raise dg.Failure(
            description=f"a swap would lose {total.extra:,} rows that only the bronze tables hold; nothing was changed. Either "
            "Kafka dropped their records, or the contracts refuse them (see the dead letters of the staging tables). Swap "
            "with `accept_loss: true` to let them go; then drop the staging tables of this run",
            metadata={"staging_tables": list(staging_tables(replays)), **run_metadata(compared)},
            allow_retries=False,
        )
    if total.differing:
        context.log.info("silver keeps the payloads it has: run `%s` for the same days", REBUILD_KEY.to_user_string())
    differing = [one for one, report in zip(replays, compared, strict=True) if not compared_in(report).is_equal]
    jobs = [swap_job(one, config, dry_run=False) for one in differing]
    by_table = {str(report["target"]): report for report in [*compared, *batch_runner.run(context, jobs, config.execution)]}
    return list(by_table.values())


def _drop(context: dg.AssetExecutionContext, replays: Sequence[Replay]) -> Sequence[str]:
    """Drops the staging tables; returns those that the catalog does not let this principal purge."""
    kept = [table for table in staging_tables(replays) if not purge_table(os.environ, table)]
    if kept:
        context.log.warning("the catalog does not allow to purge %s; drop them as maintenance", ", ".join(kept))
    return kept


def _tell(
    context: dg.AssetExecutionContext, metadata: Mapping[str, Mapping[str, Value]], *, is_dry_run: bool
) -> Iterator[Result]:
    """Records a run, or what a dry run saw, day by day."""
    for day, of_day in metadata.items():
        if is_dry_run:
            context.log_event(dg.AssetObservation(context.asset_key, partition=day, metadata=of_day))
        else:
            context.add_asset_metadata(of_day, partition_key=day)
    if not is_dry_run:
        yield Result()
