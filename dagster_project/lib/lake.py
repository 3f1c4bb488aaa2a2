"""The lake as Python sees it: the catalog that the workers use, and what a table's metadata tells.

Nothing here reads data files.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import ForbiddenError, NoSuchTableError
from pyiceberg.table import Table
from sqlalchemy.exc import OperationalError

from dagster_project.lib.paths import streamify_home
from dagster_project.lib.patience import Background

STATE_PROPERTY = "streamify.state"
REPLAY_PROPERTY = "streamify.replay"
Environ = Mapping[str, str]


class TableMissingError(LookupError):
    """A table that is needed does not exist."""


@dataclass(frozen=True)
class Figures:
    """What a table holds, by its metadata: rows, data files, their bytes, snapshots."""

    rows: int
    files: int
    bytes: int
    snapshots: int
    snapshot_id: int | None


def catalog_name(environ: Environ) -> str:
    """Returns the catalog's name: `POLARIS_CATALOG`, else `lakehouse`."""
    return environ.get("POLARIS_CATALOG") or "lakehouse"


def namespace(environ: Environ) -> str:
    """Returns the namespace of all tables: `POLARIS_NAMESPACE`, else `streamify`."""
    return environ.get("POLARIS_NAMESPACE") or "streamify"


def full_name(environ: Environ, table: str) -> str:
    """Returns `catalog.namespace.table`."""
    return f"{catalog_name(environ)}.{namespace(environ)}.{table}"


def load_table(environ: Environ, table: str) -> Table:
    """Loads a table's metadata.

    Raises:
        TableMissingError: if there is no such table.
    """
    missing = f"table `{full_name(environ, table)}` does not exist; run the job that makes it first"
    if not environ.get("POLARIS_URI") and not _local_catalog(environ).exists():  # opening it would make an empty file
        raise TableMissingError(missing)
    # Closed at once: `_native` brings an SQLite of its own, and two of them in one process must never have the same file open
    # (closing a file in one of them releases the locks of the other).
    with _open_catalog(environ) as catalog:
        try:
            return catalog.load_table(f"{namespace(environ)}.{table}")
        except NoSuchTableError as error:
            raise TableMissingError(missing) from error
        except OperationalError as error:
            if "no such table" in str(error):  # the catalog is being made at this moment
                raise TableMissingError(missing) from error
            raise


def load_table_within(background: Background, environ: Environ, table: str, seconds: float) -> Table:
    """Loads a table within `seconds`: the catalog's client knows no timeouts. A late answer is for the next call.

    Raises:
        NotYetError: there is no answer yet.
        TableMissingError: there is no such table.
    """
    environ = dict(environ)
    return background.call(f"load of table {table}", lambda: load_table(environ, table), seconds, max_age=float("inf"))


def purge_table(environ: Environ, table: str) -> bool:
    """Removes a table with its files; returns whether the catalog allows it. A table that is not there is no fault."""
    with _open_catalog(environ) as catalog:
        try:
            catalog.purge_table(f"{namespace(environ)}.{table}")
        except NoSuchTableError:
            pass
        except ForbiddenError:
            return False
    return True


def figures_of(table: Table) -> Figures:
    """Returns what a loaded table holds; the totals are those of the current snapshot's summary."""
    snapshot = table.current_snapshot()
    summary = snapshot.summary if snapshot and snapshot.summary else {}

    def total(name: str) -> int:
        return int(summary[f"total-{name}"] or 0) if summary else 0

    return Figures(
        rows=total("records"),
        files=total("data-files"),
        bytes=total("files-size"),
        snapshots=len(table.metadata.snapshots),
        snapshot_id=snapshot.snapshot_id if snapshot else None,
    )


def state_of(table: Table) -> Mapping[str, Any]:
    """Returns what the table says it has consumed (`topics`, `sources`, `sessions`); empty if it was made by nobody of ours."""
    state: Mapping[str, Any] = json.loads(table.properties.get(STATE_PROPERTY) or "{}")
    return state


def replayed_offsets(table: Table) -> Mapping[str, Sequence[int]]:
    """Returns the offsets that a staging table of a replay is for: first and end by partition; empty if there were none."""
    replay = json.loads(table.properties.get(REPLAY_PROPERTY) or "{}")
    offsets: Mapping[str, Sequence[int]] = replay.get("offsets") or {}
    return offsets


def _local_catalog(environ: Environ) -> Path:
    return streamify_home(environ) / "catalog.db"


def _open_catalog(environ: Environ) -> Catalog:
    name = catalog_name(environ)
    uri = environ.get("POLARIS_URI")
    if not uri:
        home = streamify_home(environ)
        return load_catalog(
            name,
            type="sql",
            uri=f"sqlite:///{_local_catalog(environ)}",
            warehouse=f"file://{home}/warehouse",
            init_catalog_tables="false",
        )
    settings = {
        "uri": uri,
        "warehouse": name,
        "credential": f"{environ.get('POLARIS_CLIENT_ID', '')}:{environ.get('POLARIS_CLIENT_SECRET', '')}",
        "scope": environ.get("STREAMIFY_POLARIS_SCOPE") or "PRINCIPAL_ROLE:ALL",
        "oauth2-server-uri": f"{uri.rstrip('/')}/v1/oauth/tokens",
        # Catalogs without STS refuse a request for storage keys.
        "header.X-Iceberg-Access-Delegation": "vended-credentials"
        if environ.get("STREAMIFY_VENDED_CREDENTIALS") == "true"
        else "",
    }
    if realm := environ.get("STREAMIFY_POLARIS_REALM"):
        settings["header.Polaris-Realm"] = realm
    store = {
        "s3.endpoint": environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL"),
        "s3.access-key-id": environ.get("AWS_ACCESS_KEY_ID"),
        "s3.secret-access-key": environ.get("AWS_SECRET_ACCESS_KEY"),
        "s3.session-token": environ.get("AWS_SESSION_TOKEN"),
        "s3.region": environ.get("AWS_REGION"),
    }
    return load_catalog(name, type="rest", **settings, **{key: value for key, value in store.items() if value})
