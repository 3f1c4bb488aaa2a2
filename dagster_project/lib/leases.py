"""Who holds the bronze tables, in the words of a run that was refused because of it."""

from collections.abc import Mapping

import dagster as dg

from dagster_project.lib.paths import BinaryNotFoundError
from dagster_project.lib.worker_report import instant, lease_row, table_of
from dagster_project.lib.worker_status import Lease, TablesUnknownError, ask_tables, worker_url

NEEDS_DECISION = 3
SECONDS_FOR_TABLES = 30.0


def explain_lease(failure: dg.Failure, environ: Mapping[str, str]) -> dg.Failure | None:
    """Returns `failure` with the holders and what to do, if its exit code is 3 and somebody holds the tables; else None."""
    code = failure.metadata.get("exit_code")
    if code is None or code.value != NEEDS_DECISION:
        return None
    try:
        topics = ask_tables(environ, SECONDS_FOR_TABLES).topics
    except (TablesUnknownError, BinaryNotFoundError):
        return None  # its own words stay; more is not known
    held = [(topic.table, lease) for topic in topics for lease in topic.leases if lease.is_valid]
    if not held:
        return None
    return dg.Failure(
        description=f"{failure.description}\n{_advice(held[0][1], environ)}",
        metadata={**failure.metadata, "leases": table_of([lease_row(table, lease) for table, lease in held])},
        allow_retries=False,
    )


def _advice(holder: Lease, environ: Mapping[str, str]) -> str:
    who = f"process {holder.pid} on host {holder.host} holds the tables until {instant(holder.valid_until_ms)}"
    return (
        f"{who}, or longer if it renews that.\n"
        f"- If it is the always-on worker: it was not found at {worker_url(environ)}. Set STREAMIFY_WORKER_URL, so that runs "
        "wait for it, or run with `worker: STOP`.\n"
        "- If it is gone: run again after that time, or at once with `extra_args: ['--take-over']`."
    )
