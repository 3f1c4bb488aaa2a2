"""The report of the demo, read back from Iceberg with PyIceberg."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pyiceberg.catalog import load_catalog
from pyiceberg.table import Table

TOPICS = ("listen_events", "page_view_events", "auth_events", "status_change_events")


def show(home: Path, dagster_home: str) -> None:
    """Prints rows, offsets, ledger and samples of the bronze tables under `home`, and what to try next."""
    catalog = load_catalog("lakehouse", type="sql", uri=f"sqlite:///{home}/catalog.db", warehouse=f"file://{home}/warehouse")
    tables = {topic: catalog.load_table(f"streamify.bronze_{topic}") for topic in TOPICS}
    _title("Iceberg tables")
    _grid(
        ("table", "rows", "files", "MB", "snapshots", "source epoch", "next offset per partition"),
        [_summary(t, x) for t, x in tables.items()],
    )
    letters = catalog.load_table("streamify.bronze_dead_letters")
    print(f"dead letters: {_total(letters, 'total-records'):,}")

    _title("Ledger of all commits: every record is a row or a dead letter")
    _grid(
        ("topic", "received", "rows", "dead letters", "skipped by broker", "unaccounted"),
        [_ledger(t, x) for t, x in tables.items()],
    )

    _title("Three of the latest listens")
    listens = (
        tables["listen_events"]
        .scan(selected_fields=("event_ts", "userId", "artist", "song", "_kafka_partition", "_kafka_offset", "event_id"))
        .to_arrow()
    )
    rows = listens.sort_by([("event_ts", "descending")]).slice(0, 3)
    _grid(rows.column_names, [[_short(value) for value in row.values()] for row in rows.to_pylist()])

    _title("Where things are")
    print(f"warehouse     {home}/warehouse\ncatalog       {home}/catalog.db (SQLite, as PyIceberg's SqlCatalog)")
    print(f"Dagster home  {dagster_home}")
    _next_steps(home, tables["listen_events"])


def _summary(topic: str, table: Table) -> list[str]:
    state = json.loads(table.properties["streamify.state"])["topics"][topic]["current"]
    offsets = " ".join(f"{partition}:{offset}" for partition, offset in sorted(state["next"].items()))
    megabytes = f"{_total(table, 'total-files-size') / 1e6:.1f}"
    counts = [f"{_total(table, 'total-records'):,}", f"{_total(table, 'total-data-files'):,}", megabytes]
    return [f"streamify.bronze_{topic}", *counts, str(len(table.metadata.snapshots)), str(state["epoch"]), offsets]


def _total(table: Table, name: str) -> int:
    snapshot = table.current_snapshot()
    return int(snapshot.summary[name] or 0) if snapshot and snapshot.summary else 0


def _ledger(topic: str, table: Table) -> list[str]:
    sums = dict.fromkeys(("received", "rows", "dead_letters", "skipped_by_broker"), 0)
    for snapshot in table.metadata.snapshots:
        text = (snapshot.summary["streamify.ledger"] if snapshot.summary else None) or "{}"
        ledger = json.loads(text)
        for name in sums:
            sums[name] += ledger.get(name, 0)
    unaccounted = sums["received"] - sums["rows"] - sums["dead_letters"]
    return [topic, *(f"{value:,}" for value in sums.values()), str(unaccounted)]


def _next_steps(home: Path, listens: Table) -> None:
    metadata = listens.metadata_location.removeprefix("file://")
    _title("What to type next")
    print(f"""\
make ui                      the Dagster UI on these tables: http://127.0.0.1:3000
make demo                    the next events, from the offsets in the tables

uv run python - <<'EOF'      # PyIceberg
from pyiceberg.catalog import load_catalog
lake = load_catalog("lakehouse", type="sql", uri="sqlite:///{home}/catalog.db")
print(lake.load_table("streamify.bronze_listen_events").scan(limit=5).to_arrow().to_pylist()[0])
EOF

uv run python - <<'EOF'      # DuckDB: the five most played artists
import duckdb
from pyiceberg.catalog import load_catalog
lake = load_catalog("lakehouse", type="sql", uri="sqlite:///{home}/catalog.db")
listens = lake.load_table("streamify.bronze_listen_events").scan(selected_fields=("artist",)).to_arrow()
print(duckdb.sql("select artist, count(*) plays from listens group by 1 order by 2 desc limit 5"))
EOF

any engine that reads Iceberg: {metadata}""")


def _title(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}")


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, ["─" * width for width in widths], *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _short(value: object) -> str:
    text = value.isoformat(" ", "seconds") if hasattr(value, "isoformat") else str(value)
    return text if len(text) <= 32 else f"{text[:31]}…"
