"""Claims about messages: what our writer sends is seen, in order and whole, by the stock Dagster readers and by ours."""

import re
import subprocess
import sys
from collections.abc import Iterator

from tools.prove.claims import Claim, equal

#: Stock and own reader, over S3 and over a file.
CASES = 4


def run() -> Iterator[Claim]:
    """Runs the Rust writer against the four readers."""
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "tests/pipes/test_rust_writer.py"]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+) passed", output)
    passed = int(found[1]) if found else 0
    if passed != CASES:
        print(output, file=sys.stderr)
    yield equal("Pipes: readers that saw every message in order (stock and own, S3 and file)", passed, CASES)
