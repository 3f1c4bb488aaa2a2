"""Runs the generator, and tells what came of it and what it cost."""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster_project.lib.paths import find_binary

#: Monday; every window of the proofs begins here.
START = "2026-02-23"
TOPICS = ("auth_events", "listen_events", "page_view_events", "status_change_events")
#: Between two looks at the memory of a running process, in seconds.
LOOK_EVERY = 0.02
#: Settings of the caller's shell that would change a run.
FOREIGN_PREFIXES = ("STREAMIFY_", "KAFKA_", "POLARIS_", "AWS_")


@dataclass(frozen=True)
class Done:
    """A run that ended."""

    code: int
    out: str
    error: str
    #: seconds from start to end
    wall: float
    #: user and system CPU, seconds
    cpu: float
    #: largest resident set, MiB; 0 if it was gone before anybody looked
    peak_mib: float

    @property
    def answer(self) -> dict[str, Any]:
        """What was printed with --json."""
        made: dict[str, Any] = json.loads(self.out)
        return made


def clean_environment() -> dict[str, str]:
    """Returns the environment without the settings of this project and of what it talks to."""
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_PREFIXES)}


def generator(*arguments: str, folder: Path, environment: Mapping[str, str] | None = None) -> Done:
    """Runs `streamify-generate` to its end; `folder` takes what it prints."""
    settings = clean_environment() | {"STREAMIFY_HOME": str(folder / "home")} | dict(environment or {})
    out, error = folder / "generator.out", folder / "generator.err"
    started = time.monotonic()
    with out.open("wb") as out_file, error.open("wb") as error_file:
        process = subprocess.Popen(
            [str(find_binary("streamify-generate", os.environ)), *arguments],
            env=settings,
            stdout=out_file,
            stderr=error_file,
        )
        peak = 0.0
        while process.returncode is None:
            peak = max(peak, _peak_mib(process.pid))
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
            else:
                time.sleep(LOOK_EVERY)
    wall, cpu = time.monotonic() - started, usage.ru_utime + usage.ru_stime
    said, complained = (path.read_text(encoding="utf-8", errors="replace") for path in (out, error))
    return Done(process.returncode, said, complained, wall, cpu, peak)


def killed(*arguments: str, folder: Path, after: float) -> bool:
    """Runs `streamify-generate` and kills it with SIGKILL after some seconds; returns whether it was still running."""
    command = [str(find_binary("streamify-generate", os.environ)), *arguments]
    with (folder / "generator.err").open("wb") as log:
        process = subprocess.Popen(command, env=clean_environment(), stdout=log, stderr=log)
        try:
            # The moment is the experiment here, not something to wait for.
            process.wait(timeout=after)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait() < 0


def made(*arguments: str, folder: Path, environment: Mapping[str, str] | None = None) -> Done:
    """As `generator`, for runs that must succeed.

    Raises:
        RuntimeError: if one does not, with what it said.
    """
    done = generator(*arguments, folder=folder, environment=environment)
    if done.code != 0:
        raise RuntimeError(f"streamify-generate {' '.join(arguments)} ended with {done.code}: {done.error}")
    return done


def window(users: int, days: int, seed: int) -> list[str]:
    """Returns the arguments of a run with these people and days."""
    return ["run", "--users", str(users), "--start", START, "--days", str(days), "--seed", str(seed), "--json"]


def different_files(left: Path, right: Path) -> list[str]:
    """Returns the topics whose files are not the same bytes."""
    return [topic for topic in TOPICS if not _is_same(left / f"{topic}.jsonl", right / f"{topic}.jsonl")]


def _is_same(left: Path, right: Path) -> bool:
    with left.open("rb") as one, right.open("rb") as other:
        return all(a == b for a, b in zip(_blocks(one), _blocks(other), strict=False)) and (
            left.stat().st_size == right.stat().st_size
        )


def _blocks(file: Any) -> Iterator[bytes]:  # noqa: ANN401 - any binary file
    return iter(lambda: file.read(1 << 20), b"")


def _peak_mib(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
    return int(line.split()[1]) / 1024
