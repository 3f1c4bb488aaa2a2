"""The bench's event set: its own recount agrees with its truth, and the loader says what is missing."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY


def bench(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    return subprocess.run(
        command, cwd=REPOSITORY, env=os.environ | variables, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_recount_of_the_files_agrees_with_the_truth_and_finds_a_record_too_many(tmp_path: Path) -> None:
    made = bench("bench.gen", "make", str(tmp_path), "--listens", "3000", "--users", "100")
    assert made.returncode == 0, made.stderr

    recounted = bench("bench.gen", "check", str(tmp_path))

    assert recounted.returncode == 0, recounted.stderr
    assert "files agree with truth.json" in recounted.stdout
    with (tmp_path / "auth_events.kv").open("r+b") as file:
        line = file.readline()
        file.seek(0, 2)
        file.write(line)
    assert bench("bench.gen", "check", str(tmp_path)).returncode == 1


def test_without_files_the_loader_names_them_and_how_they_are_made(tmp_path: Path) -> None:
    refused = bench("bench.load", str(tmp_path), "auth_events")

    assert refused.returncode == 1
    assert refused.stderr.startswith(f"not in {tmp_path}: auth_events.kv\n  hint: `python -m bench.gen make {tmp_path}`")


def test_a_broker_that_is_not_there_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "auth_events.kv").write_bytes(b"key\t{}\n")

    refused = bench("bench.load", str(tmp_path), "auth_events", "--timeout", "1", KAFKA="127.0.0.1:1")

    assert refused.returncode == 1
    first, hint = refused.stderr.splitlines()
    assert first.startswith("failed to prepare the topics at 127.0.0.1:1: ")
    assert "$KAFKA" in hint
