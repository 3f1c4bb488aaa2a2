"""Claims that Rust tests show: the explored protocol and the known holes."""

import re
import subprocess
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

    output = _cargo("--lib", "--tests", "--", "hole_")
    passed = {int(number) for number in re.findall(r"test \S*hole_(\d\d)_\S* \.\.\. ok", output)}
    failed = sorted(set(re.findall(r"test \S*(hole_\d\d_\S*) \.\.\. FAILED", output)))
    yield equal("known holes: tests that fail", ", ".join(failed) or "none", "none")
    yield equal("known holes: numbers without a test that passes", sorted(HOLES - passed), [])


def _cargo(*arguments: str) -> str:
    command = ["cargo", "test", "--release", "--locked", "--workspace", "--no-fail-fast", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Running" not in done.stderr:
        raise RuntimeError(f"cargo could not run the tests:\n{done.stderr[-2000:]}")
    return done.stdout
