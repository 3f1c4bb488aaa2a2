"""What a run says reaches Dagster whole and at a bounded cost: through an outage of the store, for a flood of lines, for hours.

The writer is the Rust crate, the run is Dagster's own machinery in a process of its own, whose memory is looked at from outside.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dagster_project.resources.pipes.session import BURST_LINES
from tools.prove.claims import Claim, at_most, equal
from tools.stack import Stack, StackOptions

#: Events that a run may leave in Dagster's log, however much its worker says: a burst of lines and one of warnings, what trickles
#: through in the minutes after, and Dagster's own.
MOST_EVENTS = 2 * BURST_LINES + 200
#: Growth of the run process that is allowed, in MiB.
MOST_GROWTH = 50.0
#: A continuous session: one progress message each ten seconds, one line a second.
HOURS = 2
MESSAGES_OF_THE_SESSION = HOURS * 3600
MIB = 1024.0


@dataclass(frozen=True)
class Told:
    """What is known of a run when it has ended."""

    success: bool
    #: taken by the reader, each once
    messages: int
    events: int
    #: resident memory in MiB, over time
    memory: list[float]

    @property
    def growth(self) -> float:
        """Memory at the end over that of the first fifth, when everything has been used once."""
        first = self.memory[len(self.memory) // 5 :]
        return max(self.memory) - first[0] if first else 0.0


def run(seconds_away: float, lines: int) -> Iterator[Claim]:
    """Takes the store away for so long, then sends so many lines, then as many messages as hours of a session have."""
    with tempfile.TemporaryDirectory(prefix="streamify-messages-") as folder:
        work = Path(folder)
        with Stack(work / "stack", StackOptions(only=("minio",))) as stack:
            environment = stack.environment() | {"STREAMIFY_HOME": str(work / "home")}
            yield from _outage(stack, environment, work, seconds_away)
        local = {"STREAMIFY_HOME": str(work / "home")}
        flood = _told(local, work / "flood", lines, 5.0, rate=10)
        yield equal(f"{lines:,} log lines in a run: it succeeds", flood.success, True)
        yield at_most(f"{lines:,} log lines in a run: events in Dagster's log", flood.events, MOST_EVENTS)
        yield at_most(f"{lines:,} log lines in a run: growth of the run process", flood.growth, MOST_GROWTH, " MiB")
        session = _told(local, work / "session", MESSAGES_OF_THE_SESSION, 60.0)
        name = f"messages of a session of {HOURS} h, in a minute"
        yield equal(f"{name}: it succeeds", session.success, True)
        yield at_most(f"{name}: growth of the run process", session.growth, MOST_GROWTH, " MiB")


def _outage(stack: Stack, environment: Mapping[str, str], work: Path, seconds_away: float) -> Iterator[Claim]:
    messages = round(20 * (seconds_away + 10))
    store = stack.minio

    def away() -> None:
        time.sleep(5)
        store.kill()
        time.sleep(seconds_away)
        store.start()

    thread = threading.Thread(target=away)
    thread.start()
    told = _told(environment, work / "outage", messages, seconds_away + 10)
    thread.join()
    name = f"store away for {seconds_away:.0f} s during a run"
    yield equal(f"{name}: the run succeeds", told.success, True)
    # Of each number a message and a log line; beside them the beginning, the report and the end.
    yield equal(f"{name}: messages that the reader took", told.messages, 2 * messages + 3)


def _told(environment: Mapping[str, str], home: Path, messages: int, seconds: float, rate: int | None = None) -> Told:
    """Runs the writer under our client in a process of its own; looks at its memory meanwhile."""
    home.mkdir(parents=True)
    variables = os.environ | dict(environment) | {"DAGSTER_HOME": str(home)}
    arguments = [str(messages), str(seconds), *([str(rate)] if rate else [])]
    command = [sys.executable, "-m", "tools.prove.messages_run", str(home / "told.json"), *arguments]
    memory: list[float] = []
    with (home / "run.log").open("wb") as output:
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=output)
        while process.poll() is None:
            memory.append(_resident(process.pid))
            time.sleep(0.2)
    if process.returncode != 0:
        raise RuntimeError(f"the run's process failed: {(home / 'run.log').read_text(encoding='utf-8')[-2000:]}")
    document = json.loads((home / "told.json").read_text(encoding="utf-8"))
    return Told(document["success"], document["messages"], document["events"], [value for value in memory if value])


def _resident(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / MIB for line in lines if line.startswith("VmRSS")), 0.0)
