"""Progress lines on stderr: every step says when it begins and, if it took long, how long it took."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

SLOW_SECONDS = 2.0


def say(text: str) -> None:
    """Writes one line to stderr at once."""
    sys.stderr.write(f"stack: {text}\n")
    sys.stderr.flush()


@contextmanager
def step(text: str) -> Iterator[None]:
    """Announces a step and, when it took longer than two seconds, its duration."""
    say(f"{text} ...")
    started = time.monotonic()
    yield
    seconds = time.monotonic() - started
    if seconds > SLOW_SECONDS:
        say(f"{text}: done in {seconds:.1f} s")
