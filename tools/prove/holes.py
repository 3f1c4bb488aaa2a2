"""Claims that tests show: the explored commit protocol, and the known holes in Rust and against a real broker."""

import re
import subprocess
import sys
from collections.abc import Iterator

from tools.prove.claims import Claim, at_least, equal

#: Holes that have a test; 1, 2, 9 and 16 cannot occur in this design, 24 comes with orphan removal (docs/adr/0002).
HOLES = {3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22, 23, 25}
MINIMUM_STATES = 100_000


def run() -> Iterator[Claim]:
    """Runs the protocol model and every test of a hole."""
    output = _cargo("--test", "protocol_model", "--", "--nocapture")
    states = re.search(r"states explored: (\d+) unique", output)
    yield at_least("commit protocol: states explored without a violation", int(states[1]) if states else 0, MINIMUM_STATES)

    rust = _cargo("--lib", "--tests", "--", "hole_")
    real = _pytest("tests/integration/test_holes.py")
    passed = re.findall(r"test \S*hole_(\d\d)_\S* \.\.\. ok", rust) + re.findall(r"test_hole_(\d\d)_\S* PASSED", real)
    failed = re.findall(r"test \S*(hole_\d\d_\S*) \.\.\. FAILED", rust) + re.findall(
        r"test_(hole_\d\d_\S*) (?:FAILED|ERROR)", real
    )
    yield at_least("known holes: tests that pass", len(passed), len(HOLES))
    yield equal("known holes: tests that fail", ", ".join(sorted(set(failed))) or "none", "none")
    without = sorted(HOLES - {int(number) for number in passed})
    yield equal("known holes: numbers without a passing test", ", ".join(map(str, without)) or "none", "none")


def _cargo(*arguments: str) -> str:
    command = ["cargo", "test", "--release", "--locked", "--workspace", "--no-fail-fast", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Running" not in done.stderr:
        raise RuntimeError(f"cargo could not run the tests:\n{done.stderr[-2000:]}")
    return done.stdout


def _pytest(path: str) -> str:
    command = [sys.executable, "-m", "pytest", "-v", "--no-header", path]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
