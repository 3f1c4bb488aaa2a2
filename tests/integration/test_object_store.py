"""The lake's object store against a real one: the Rust tests that need a server, which plain `cargo test` does not build."""

import os
import subprocess
from pathlib import Path

import pytest

from tools.stack import Stack, StackOptions

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.integration
@pytest.mark.timeout(1200)  # compiles the test with its feature
def test_the_lake_s_object_store_works_on_minio(tmp_path: Path) -> None:
    command = ["cargo", "test", "--release", "--locked", "--workspace", "--test", "object_store"]
    command += ["--features", "streamify-lake/object-store-tests"]
    with Stack(tmp_path, StackOptions(only=("minio",))) as stack:
        environment = os.environ | stack.environment()
        environment["STREAMIFY_TEST_S3"] = environment["AWS_ENDPOINT_URL"]
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout
