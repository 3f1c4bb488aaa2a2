"""Whether bronze has something new for silver: by the tables themselves, so it does not matter who wrote them or reported it.

Guarantees: commits without rows (leases, adoptions, ranges of dead letters only) and those that only move rows (compaction) are
no news; reading costs one metadata file per table and no data.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

import dagster as dg
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot

from dagster_project.lib.lake import Environ, TableMissingError, load_table

#: Runs that are not over.
IN_PROGRESS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def lineage(table: Table) -> Iterator[Snapshot]:
    """Yields the snapshots of the table's main branch that are kept, newest first."""
    by_id = {snapshot.snapshot_id: snapshot for snapshot in table.metadata.snapshots}
    snapshot = table.current_snapshot()
    while snapshot is not None:
        yield snapshot
        snapshot = None if snapshot.parent_snapshot_id is None else by_id.get(snapshot.parent_snapshot_id)


def changes_rows(snapshot: Snapshot) -> bool:
    """Returns whether a snapshot added or removed rows, other than by moving them to other files."""
    summary = snapshot.summary
    if summary is None or summary.operation is Operation.REPLACE:
        return False
    return any(int(summary[name] or 0) for name in ("added-records", "deleted-records", "added-position-deletes"))


def data_state(table: Table) -> str | None:
    """Returns what stands for the rows of the table: the last snapshot that changed them; `None` if none is kept."""
    return next((str(snapshot.snapshot_id) for snapshot in lineage(table) if changes_rows(snapshot)), None)


def data_states(environ: Environ, tables: Iterable[str]) -> Mapping[str, str]:
    """Returns the state of each table that exists and has had rows."""
    states = {}
    for name in tables:
        try:
            state = data_state(load_table(environ, name))
        except TableMissingError:
            continue
        if state is not None:
            states[name] = state
    return states


def news(states: Mapping[str, str], seen: Mapping[str, str]) -> Sequence[str]:
    """Returns the tables whose rows have changed; of one whose state is unknown there is no news."""
    return sorted(table for table, state in states.items() if seen.get(table) != state)


def run_key(states: Mapping[str, str]) -> str:
    """Returns a key that is the same for the same states only."""
    return f"bronze-{hashlib.sha256(json.dumps(states, sort_keys=True).encode()).hexdigest()[:20]}"


def run_in_progress(instance: dg.DagsterInstance, jobs: Sequence[str], asset: dg.AssetKey | None = None) -> str | None:
    """Returns the id of a run that is not over, of one of the jobs or of an asset; `None` if there is none."""
    for run in instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS)):
        if run.job_name in jobs or (asset is not None and asset in (run.asset_selection or ())):
            return run.run_id
    return None
