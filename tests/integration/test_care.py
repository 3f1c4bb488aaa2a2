"""Expiry and orphan removal as another engine sees them: PyIceberg reads what is left, on a real catalog and store.

Driven through the example program `care_probe`; built by `cargo build --release --locked --workspace --examples`.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dagster_project.lib.paths import find_binary
from tools.prove.tables import open_catalog
from tools.stack import Stack, StackOptions

pytestmark = pytest.mark.integration

TABLE = "cared_for"


@pytest.fixture(params=["rest", "sqlite"])
def environment(
    request: pytest.FixtureRequest, tmp_path: Path, clean_environment: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """The environment of a REST catalog on an object store, and of an embedded one on disk."""
    home = {"STREAMIFY_HOME": str(tmp_path / "home")}
    if request.param == "sqlite":
        yield home
        return
    with Stack(tmp_path / "stack", StackOptions(only=("minio", "rest", "gateway"))) as stack:
        yield stack.environment() | home


def care_for_a_table(environment: dict[str, str]) -> dict[str, Any]:
    """Runs the example and returns what it says."""
    program = str(find_binary("examples/care_probe", os.environ))
    done = subprocess.run(
        [program, TABLE], env=os.environ | environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def test_pyiceberg_reads_every_row_and_the_tag_after_expiry_and_orphan_removal(environment: dict[str, str]) -> None:
    report = care_for_a_table(environment)

    table = open_catalog(environment).load_table(f"streamify.{TABLE}")
    tagged = table.snapshot_by_name("audit")
    assert tagged is not None
    values = sorted(table.scan().to_arrow()["value"].to_pylist())
    tagged_values = sorted(table.scan(snapshot_id=tagged.snapshot_id).to_arrow()["value"].to_pylist())

    assert values == list(range(report["rows"]))
    assert tagged_values == list(range(report["tagged_rows"]))
    assert len(table.snapshots()) == report["expired"]["snapshots_after"] == 3
    assert len(report["expired"]["removed"]) == 7
    assert report["expired"]["deleted"]["data"]["files"] == 5
    assert report["expired"]["kept"]["ref audit"] == 1
    assert report["orphans"]["orphans"]["data"]["files"] == 1
    assert [field.source_id for field in table.sort_order().fields] == [1]
