"""The job that traces an event back to Kafka."""

import os

import dagster as dg
from pydantic import Field

from dagster_project.lib.contracts import load_contracts
from dagster_project.lib.lake import TableMissingError
from dagster_project.lib.paths import contracts_folder
from dagster_project.lib.trace import TraceError, trace_metadata, trace_text
from dagster_project.lib.trace import trace_event as trace


class TraceConfig(dg.Config):
    """Which event to trace."""

    table: str = Field(description="A bronze or silver table, such as `silver_listen_events`.")
    event_id: str = Field(description="The event's `event_id`, 32 hex digits.")
    day: str | None = Field(None, description="UTC date of the event, such as `2026-02-23`; without it the whole table is read.")


@dg.op(out=dg.Out(dg.Nothing))
def trace_one_event(context: dg.OpExecutionContext, config: TraceConfig) -> None:
    """Finds the Kafka record of an event (topic, partition, offset, epoch, timestamp), its commit and the run that made it."""
    try:
        deliveries = trace(os.environ, load_contracts(contracts_folder(os.environ)), config.table, config.event_id, config.day)
    except (TraceError, TableMissingError) as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    for delivery in deliveries:
        context.log.info("%s", trace_text(delivery))
    context.add_output_metadata(trace_metadata(deliveries))


@dg.job(description="From one event to its Kafka record, its commit and the Dagster run: see the output's metadata, or the log.")
def trace_event() -> None:
    """One step."""
    trace_one_event()
