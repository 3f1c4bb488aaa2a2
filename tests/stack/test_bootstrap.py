"""The catalog bootstrap against the gateway: idempotent, least privilege, secrets only in a file of mode 0600."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tools.stack import Stack
from tools.stack.gateway_component import REALM, GatewayComponent
from tools.stack.paths import BOOTSTRAP, StatePaths
from tools.stack.ports import free_ports

pytestmark = pytest.mark.integration


@dataclass
class Bootstrap:
    """The script, pointed at an empty server."""

    gateway: GatewayComponent
    credentials: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        root_id, root_secret = self.gateway.root
        environment = os.environ | {
            "POLARIS_ROOT_CLIENT_ID": root_id,
            "POLARIS_ROOT_CLIENT_SECRET": root_secret,
            "STREAMIFY_S3_ENDPOINT": self.gateway.fixture.store.url,
        }
        options = ["--url", self.gateway.url, "--realm", REALM, "--credentials", str(self.credentials)]
        command = [sys.executable, str(BOOTSTRAP), *options, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    @property
    def server_state(self) -> dict[str, Any]:
        file = self.gateway.data / f"realm-{REALM}.json"
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found

    @property
    def secrets(self) -> list[str]:
        entries = json.loads(self.credentials.read_text(encoding="utf-8"))["principals"]
        return [entry["client_secret"] for entry in entries.values()]


@pytest.fixture
def bootstrap(stack: Stack, tmp_path: Path) -> Iterator[Bootstrap]:
    """A server of this test's own, without catalog and principals, on the shared store and fixture."""
    gateway = GatewayComponent(StatePaths(tmp_path), free_ports(1), stack.rest, ("root", "a secret for the root"))
    gateway.start()
    yield Bootstrap(gateway, tmp_path / "credentials.json")
    gateway.stop()


def test_second_run_changes_nothing_and_no_secret_is_printed(bootstrap: Bootstrap) -> None:
    env_file = bootstrap.credentials.with_name("worker.env")
    first = bootstrap.run("--env-file", str(env_file))
    assert first.returncode == 0, first.stderr
    server, file, written = bootstrap.server_state, bootstrap.credentials.read_bytes(), bootstrap.credentials.stat()
    second = bootstrap.run("--env-file", str(env_file))

    assert second.returncode == 0, second.stderr
    assert bootstrap.server_state == server
    assert bootstrap.credentials.read_bytes() == file
    assert bootstrap.credentials.stat().st_mtime_ns == written.st_mtime_ns
    assert written.st_mode & 0o777 == 0o600
    assert env_file.stat().st_mode & 0o777 == 0o600
    assert bootstrap.secrets[0] in env_file.read_text(encoding="utf-8")
    assert first.stdout.count("created principal") == 3
    assert "created" not in second.stdout
    assert len(bootstrap.secrets) == 3
    for secret in bootstrap.secrets:
        assert secret not in first.stdout + first.stderr + second.stdout + second.stderr


def test_grants_are_exactly_the_least_ones(bootstrap: Bootstrap) -> None:
    assert bootstrap.run().returncode == 0

    catalog = bootstrap.server_state["catalogs"]["lakehouse"]
    granted = {
        name: {(grant["type"], grant["privilege"]) for grant in role["grants"]}
        for name, role in catalog["roles"].items()
        if name != "catalog_admin"
    }
    worker = {"NAMESPACE_READ_PROPERTIES", "TABLE_CREATE", "TABLE_READ_DATA", "TABLE_WRITE_DATA"}
    maintenance = worker - {"TABLE_CREATE"} | {"TABLE_WRITE_PROPERTIES", "TABLE_DROP"}
    assert granted == {
        "worker": {("namespace", privilege) for privilege in worker},
        "maintenance": {("namespace", privilege) for privilege in maintenance},
        "analyst": {
            ("catalog", "NAMESPACE_LIST"),
            ("namespace", "NAMESPACE_READ_PROPERTIES"),
            ("namespace", "TABLE_READ_DATA"),
        },
    }
    assert catalog["storage"]["stsUnavailable"] is True
    assert catalog["storage"]["pathStyleAccess"] is True
    assert catalog["properties"]["default-base-location"] == "s3://lakehouse"


def test_lost_secret_stops_the_run_and_can_be_reset(bootstrap: Bootstrap) -> None:
    assert bootstrap.run().returncode == 0
    before = bootstrap.secrets
    entries = json.loads(bootstrap.credentials.read_text(encoding="utf-8"))
    del entries["principals"]["worker"]
    bootstrap.credentials.write_text(json.dumps(entries), encoding="utf-8")

    stopped = bootstrap.run()
    reset = bootstrap.run("--reset", "worker")

    assert stopped.returncode == 1
    assert "principal `worker` exists" in stopped.stderr
    assert "--reset worker" in stopped.stderr
    assert reset.returncode == 0, reset.stderr
    assert len(set(bootstrap.secrets) - set(before)) == 1
    assert bootstrap.run().returncode == 0


def test_credentials_that_others_can_read_are_refused(bootstrap: Bootstrap) -> None:
    assert bootstrap.run().returncode == 0
    bootstrap.credentials.chmod(0o644)

    refused = bootstrap.run()

    assert refused.returncode == 1
    assert "can be read by others" in refused.stderr


def test_server_that_is_down_is_a_clear_error(bootstrap: Bootstrap) -> None:
    bootstrap.gateway.stop()

    failed = bootstrap.run()

    assert failed.returncode == 1
    assert failed.stderr.startswith("error: `polaris principals list` failed")
    assert bootstrap.gateway.root[1] not in failed.stderr


def test_pyiceberg_appends_and_reads_with_the_worker_credentials(stack: Stack) -> None:
    import pyarrow as pa
    from pyiceberg.catalog.rest import RestCatalog

    environment = stack.environment()
    catalog = RestCatalog(
        "lakehouse",
        uri=environment["POLARIS_URI"],
        warehouse=environment["POLARIS_CATALOG"],
        credential=f"{environment['POLARIS_CLIENT_ID']}:{environment['POLARIS_CLIENT_SECRET']}",
        scope="PRINCIPAL_ROLE:ALL",
        **{"oauth2-server-uri": f"{environment['POLARIS_URI']}/v1/oauth/tokens"},
        **{
            "s3.endpoint": environment["AWS_ENDPOINT_URL"],
            "s3.access-key-id": environment["AWS_ACCESS_KEY_ID"],
            "s3.secret-access-key": environment["AWS_SECRET_ACCESS_KEY"],
        },
    )
    table = catalog.create_table("streamify.by_pyiceberg", pa.schema([("a", pa.int64())]))

    table.append(pa.table({"a": [1, 2, 3]}))

    assert catalog.load_table("streamify.by_pyiceberg").scan().to_arrow().column("a").to_pylist() == [1, 2, 3]
