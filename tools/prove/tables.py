"""Reads the tables back with PyIceberg and DuckDB, never with our own reader, and checks them against Kafka's offsets."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

import duckdb
import pyarrow.compute as pc
from confluent_kafka import Consumer, TopicPartition
from pyarrow.fs import FileSelector, FileType, S3FileSystem
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.table import Table

DEAD_LETTERS = "bronze_dead_letters"


def open_catalog(environment: dict[str, str]) -> Catalog:
    """Opens the catalog that a worker with this environment writes to."""
    if "POLARIS_URI" not in environment:
        home = Path(environment["STREAMIFY_HOME"]).absolute()
        return load_catalog(
            "lakehouse",
            type="sql",
            uri=f"sqlite:///{home}/catalog.db",
            warehouse=f"file://{home}/warehouse",
            init_catalog_tables="false",
        )
    return load_catalog(
        environment["POLARIS_CATALOG"],
        type="rest",
        uri=environment["POLARIS_URI"],
        warehouse=environment["POLARIS_CATALOG"],
        credential=f"{environment['POLARIS_CLIENT_ID']}:{environment['POLARIS_CLIENT_SECRET']}",
        scope="PRINCIPAL_ROLE:ALL",
        **{"oauth2-server-uri": f"{environment['POLARIS_URI']}/v1/oauth/tokens"},
        **{
            "header.X-Iceberg-Access-Delegation": "",
            "s3.endpoint": environment["AWS_ENDPOINT_URL"],
            "s3.access-key-id": environment["AWS_ACCESS_KEY_ID"],
            "s3.secret-access-key": environment["AWS_SECRET_ACCESS_KEY"],
            "s3.region": environment["AWS_REGION"],
        },
    )


def end_offsets(bootstrap_servers: str, topic: str) -> dict[int, int]:
    """Returns the end offset of each partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "prove"})
    try:
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        return {number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=30)[1] for number in partitions}
    finally:
        consumer.close()


@dataclass(frozen=True)
class Landed:
    """What a topic's tables hold."""

    rows: int
    distinct_events: int
    dead_letters: int
    #: offsets that are in no table
    missing: int
    #: offsets that are in a table twice, or in both
    doubled: int
    #: rows and distinct coordinates as DuckDB counts them
    duckdb_rows: int
    duckdb_distinct: int
    #: sums over the ledgers of all snapshots
    ledger: dict[str, int]
    #: next offsets in the table's state
    state: dict[int, int]
    #: commit ids of data files that no snapshot knows
    orphan_commits: set[str]


def landed(catalog: Catalog, environment: dict[str, str], topic: str, ends: Mapping[int, int]) -> Landed:
    """Reads a topic's bronze table and its dead letters."""
    namespace = environment.get("POLARIS_NAMESPACE", "streamify")
    bronze = catalog.load_table(f"{namespace}.bronze_{topic}")
    letters = catalog.load_table(f"{namespace}.{DEAD_LETTERS}")
    rows = bronze.scan(selected_fields=("event_id", "_kafka_partition", "_kafka_offset")).to_arrow()
    dead = letters.scan(
        row_filter=f"topic == '{topic}' and replayed == false", selected_fields=("partition", "offset")
    ).to_arrow()

    seen: dict[int, list[int]] = defaultdict(list)
    for partition, offset in _pairs(rows["_kafka_partition"], rows["_kafka_offset"]):
        seen[partition].append(offset)
    for partition, offset in _pairs(dead["partition"], dead["offset"]):
        seen[partition].append(offset)
    missing = sum(end - len(set(seen[partition])) for partition, end in ends.items())
    doubled = sum(len(offsets) - len(set(offsets)) for offsets in seen.values())
    duckdb_rows, duckdb_distinct = _count_with_duckdb(bronze, environment)
    return Landed(
        rows=rows.num_rows,
        distinct_events=pc.count_distinct(rows["event_id"]).as_py(),
        dead_letters=dead.num_rows,
        missing=missing,
        doubled=doubled,
        duckdb_rows=duckdb_rows,
        duckdb_distinct=duckdb_distinct,
        ledger=_ledger(bronze),
        state=_state(bronze, topic),
        orphan_commits=set(_orphan_commits(bronze)),
    )


def _pairs(left: object, right: object) -> Iterator[tuple[int, int]]:
    return zip(left.to_pylist(), right.to_pylist(), strict=True)  # type: ignore[attr-defined]


def _ledger(table: Table) -> dict[str, int]:
    sums: dict[str, int] = defaultdict(int)
    for snapshot in table.metadata.snapshots:
        text = snapshot.summary.additional_properties.get("streamify.ledger") if snapshot.summary else None
        for name, count in json.loads(text or "{}").items():
            sums[name] += count
    return dict(sums)


def _state(table: Table, topic: str) -> dict[int, int]:
    state = json.loads(table.properties["streamify.state"])
    return {int(partition): offset for partition, offset in state["topics"][topic]["current"]["next"].items()}


def _orphan_commits(table: Table) -> Iterator[str]:
    """Data files below the table's location that its metadata does not name; their names begin with the commit's id."""
    known = {urlparse(path).path for path in table.inspect.all_files()["file_path"].to_pylist()}
    location = f"{table.location()}/data"
    scheme = urlparse(location)
    if scheme.scheme == "file":
        for path in Path(scheme.path).rglob("*.parquet"):
            if str(path) not in known:
                yield path.name[:36]
        return
    store = _s3(table)
    for info in store.get_file_info(FileSelector(f"{scheme.netloc}{scheme.path}", recursive=True)):
        if info.type == FileType.File and "/" + info.path.split("/", 1)[1] not in known:
            yield info.base_name[:36]


def _s3(table: Table) -> S3FileSystem:
    properties = table.io.properties
    return S3FileSystem(
        access_key=properties["s3.access-key-id"],
        secret_key=properties["s3.secret-access-key"],
        endpoint_override=properties["s3.endpoint"],
        region=properties["s3.region"],
    )


def _count_with_duckdb(table: Table, environment: dict[str, str]) -> tuple[int, int]:
    connection = connect_duckdb(environment)
    counts = connection.execute(
        "select count(*), count(distinct (_source_epoch, _kafka_partition, _kafka_offset)) from iceberg_scan(?)",
        [table.metadata_location.removeprefix("file://")],
    ).fetchone()
    connection.close()
    if counts is None:
        raise RuntimeError("DuckDB gave no answer")
    return int(counts[0]), int(counts[1])


def connect_duckdb(environment: dict[str, str]) -> duckdb.DuckDBPyConnection:
    """Opens DuckDB with the Iceberg extension from the environment's packages and the store's credentials."""
    import duckdb_extension_avro
    import duckdb_extension_httpfs
    import duckdb_extension_iceberg

    connection = duckdb.connect()
    for package, name in (
        (duckdb_extension_avro, "avro"),
        (duckdb_extension_httpfs, "httpfs"),
        (duckdb_extension_iceberg, "iceberg"),
    ):
        found = next(Path(package.__path__[0]).rglob(f"{name}.duckdb_extension"))
        connection.execute(f"INSTALL '{found}'")
        connection.execute(f"LOAD {name}")
    if "AWS_ENDPOINT_URL" in environment:
        key, secret = environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
        address = f"ENDPOINT '{urlparse(environment['AWS_ENDPOINT_URL']).netloc}', URL_STYLE 'path', USE_SSL false"
        options = f"TYPE s3, KEY_ID '{key}', SECRET '{secret}', REGION '{environment['AWS_REGION']}', {address}"
        connection.execute(f"CREATE SECRET ({options})")
    return connection
