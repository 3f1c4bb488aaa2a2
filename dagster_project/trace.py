"""Traces an event from the command line: which Kafka record, which commit, which run. The job `trace_event` does the same.

Usage: `python -m dagster_project.trace TABLE EVENT_ID [--day 2026-02-23]`
"""

import argparse
import os
import sys
from collections.abc import Sequence

from dagster_project.lib.contracts import load_contracts
from dagster_project.lib.lake import TableMissingError
from dagster_project.lib.paths import contracts_folder
from dagster_project.lib.trace import TraceError, trace_event, trace_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the deliveries of an event; returns the exit code: 1 if it cannot be traced."""
    parser = argparse.ArgumentParser(prog="python -m dagster_project.trace", description=__doc__.partition("\n")[0])
    parser.add_argument("table", help="a bronze or silver table, such as silver_listen_events")
    parser.add_argument("event_id", help="32 hex digits")
    parser.add_argument("--day", help="UTC date of the event; without it the whole table is read")
    given = parser.parse_args(arguments)
    try:
        deliveries = trace_event(os.environ, load_contracts(contracts_folder(os.environ)), given.table, given.event_id, given.day)
    except (TraceError, TableMissingError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("\n\n".join(trace_text(delivery) for delivery in deliveries) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
