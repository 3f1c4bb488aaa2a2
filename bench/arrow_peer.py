"""Compaction's work as PyArrow does it, for comparison on the same files and in the same minutes.

    python -m bench.arrow_peer TABLE

Of each partition with two files or more it reads all, puts the rows in the table's order and writes them as one file, with our
compression and row groups; the table is left as it is. CPU is that of this work alone, on one thread, without Python's start and
without what the catalog takes. The environment names the catalog and the store.
"""

import json
import os
import sys
import time
from collections import defaultdict
from urllib.parse import urlparse

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem, LocalFileSystem, S3FileSystem
from pyiceberg.table import Table

from tools.prove.tables import open_catalog

#: Rows of a row group, as in rust/batch/src/output/mod.rs.
GROUP_ROWS = 250_000


def main(name: str) -> None:
    """Prints CPU-seconds and the bytes of the files read, as JSON."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    table = open_catalog(dict(os.environ)).load_table(f"streamify.{name}")
    files: dict[str, dict[str, int]] = defaultdict(dict)
    for task in table.scan().plan_files():
        files[str(task.file.partition)][task.file.file_path] = task.file.file_size_in_bytes
    groups = [group for group in files.values() if len(group) > 1]
    store = _store(table.location())
    order = _order(table)
    started = time.process_time()
    for number, group in enumerate(groups):
        _rewrite(store, [_path(file) for file in group], f"{_path(table.location())}-arrow-{number}.parquet", order)
    cpu = time.process_time() - started
    print(json.dumps({"cpu": cpu, "bytes": sum(sum(group.values()) for group in groups)}))


def _rewrite(store: FileSystem, files: list[str], target: str, order: list[tuple[str, str]]) -> None:
    # Without partitioning: the column that the folder names is in the file too.
    rows = pa.concat_tables([pq.read_table(file, filesystem=store, partitioning=None) for file in files])
    pq.write_table(
        rows.sort_by(order), target, filesystem=store, compression="zstd", compression_level=1, row_group_size=GROUP_ROWS
    )
    store.delete_file(target)


def _order(table: Table) -> list[tuple[str, str]]:
    names = (table.schema().find_column_name(field.source_id) for field in table.sort_order().fields)
    return [(name, "ascending") for name in names if name is not None]


def _store(location: str) -> FileSystem:
    if urlparse(location).scheme == "file":
        return LocalFileSystem()
    environment = os.environ
    return S3FileSystem(
        endpoint_override=environment["AWS_ENDPOINT_URL"],
        access_key=environment["AWS_ACCESS_KEY_ID"],
        secret_key=environment["AWS_SECRET_ACCESS_KEY"],
        region=environment["AWS_REGION"],
    )


def _path(address: str) -> str:
    """The address as PyArrow's file systems have it: without its scheme."""
    parts = urlparse(address)
    return f"{parts.netloc}{parts.path}"


if __name__ == "__main__":
    main(sys.argv[1])
