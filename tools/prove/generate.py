"""Claims about the generator: its statistics, its bytes, its speed, its errors, its faults and its truth."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dagster_project.lib.paths import find_binary
from tools.prove import faulty, kafka_speed, options, recount
from tools.prove.claims import Claim, at_least, at_most, equal
from tools.prove.generator import different_files, generator, killed, made, window


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    #: listeners over four weeks: example profile, engagement profile
    example: int
    engagement: int
    #: listeners whose bytes are compared, over two weeks
    bytes: int
    #: listeners for the speed, over four weeks
    speed: int
    #: listeners for the speed into Kafka, over four weeks
    kafka: int
    #: listeners for the memory, over a day
    memory: int
    #: listeners of the faulty run, over two weeks
    faulty: int


SIZES = {
    "small": Size(example=5_000, engagement=8_000, bytes=1_000, speed=20_000, kafka=15_000, memory=100_000, faulty=1_000),
    "full": Size(example=20_000, engagement=16_000, bytes=10_000, speed=100_000, kafka=30_000, memory=1_000_000, faulty=8_000),
}
#: Tests of the state machine and of walked sessions: exact expectations of the absorbing chain.
CHAIN_TESTS = 4


def proofs(size: str, seed: int) -> dict[str, Callable[[], Iterator[Claim]]]:
    """Returns the proofs by name."""
    chosen = SIZES[size]
    return {
        "statistics": lambda: _in_folder(lambda folder: _statistics(folder, chosen, seed)),
        "chain expectations": _chain,
        "bytes": lambda: _in_folder(lambda folder: _bytes(folder, chosen.bytes, seed)),
        "speed and memory": lambda: _in_folder(lambda folder: _speed(folder, chosen, seed)),
        "options": lambda: _in_folder(options.run),
        "truth": lambda: _in_folder(lambda folder: recount.run(folder, chosen.bytes, seed)),
        "faults in the worker": lambda: _in_folder(lambda folder: faulty.run(folder, chosen.faulty, seed)),
    }


def _in_folder(proof: Callable[[Path], Iterator[Claim]]) -> Iterator[Claim]:
    folder = Path(tempfile.mkdtemp(prefix="streamify-generate-"))
    try:
        yield from proof(folder)
    except BaseException:
        print(f"what the failed proof left is in {folder}", flush=True)
        raise
    shutil.rmtree(folder)


def _statistics(folder: Path, size: Size, seed: int) -> Iterator[Claim]:
    for profile, users in (("example", size.example), ("engagement", size.engagement)):
        out = folder / profile
        made(*window(users, 28, seed), "--profile", profile, "--out", str(out), folder=folder)
        done = generator("stats", str(out), "--profile", profile, "--users", str(users), "--json", folder=folder)
        shutil.rmtree(out)
        if not done.out:
            raise RuntimeError(f"streamify-generate stats ended with {done.code}: {done.error}")
        for row in done.answer["rows"]:
            if row["tolerance"] is None:
                continue
            unit = f" {row['unit']}" if row["unit"] else ""
            limit = f"{row['reference']:.6g} ± {row['tolerance']:.3g}{unit}"
            figure = "none" if row["found"] is None else f"{row['found']:.4g}{unit}"
            yield Claim(f"{profile}: {row['name']}", figure, limit, row["verdict"] == "within")


def _chain() -> Iterator[Claim]:
    command = ["cargo", "test", "--release", "--locked", "--workspace", "--lib", "--", "absorbing_chain", "as_the_chain_says"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Running" not in done.stderr:
        raise RuntimeError(f"cargo could not run the tests:\n{done.stderr[-2000:]}")
    yield at_least("chain expectations: tests that hold (1 %)", len(re.findall(r"\.\.\. ok", done.stdout)), CHAIN_TESTS)
    yield equal("chain expectations: tests that fail", len(re.findall(r"\.\.\. FAILED", done.stdout)), 0)


def _bytes(folder: Path, users: int, seed: int) -> Iterator[Claim]:
    faults = ["--fault", "all", "--fault", "D23.giant=0"]
    arguments = [*window(users, 14, seed), *faults]
    whole = made(*arguments, "--threads", "1", "--out", str(folder / "one"), folder=folder).answer
    made(*arguments, "--threads", "4", "--out", str(folder / "four"), folder=folder)
    yield equal(
        "bytes: topics that differ between 1 and 4 threads", _shown(different_files(folder / "one", folder / "four")), "none"
    )

    made(*arguments, "--truth", str(folder / "truth"), "--out", str(folder / "true"), folder=folder)
    yield equal(
        "bytes: topics that differ with and without --truth", _shown(different_files(folder / "one", folder / "true")), "none"
    )

    cuts = ["--checkpoint", str(folder / "checkpoint"), "--out", str(folder / "cut")]
    for part in (0.2, 0.21, 0.7):
        made(*arguments, *cuts, "--threads", "2", "--max-events", str(int(whole["events"] * part)), folder=folder)
    last = made(*arguments, *cuts, "--threads", "3", folder=folder).answer
    yield equal("bytes: topics that differ after three cuts", _shown(different_files(folder / "one", folder / "cut")), "none")
    yield equal("bytes: events counted by the resumed run", last["events"], whole["events"])

    slowly = ["--max-eps", str(whole["events"] // 4), "--checkpoint-interval", "100ms", "--threads", "2"]
    deaths = ["--checkpoint", str(folder / "killed-checkpoint"), "--out", str(folder / "killed")]
    kills = sum(killed(*arguments, *deaths, *slowly, folder=folder, after=after) for after in (0.7, 0.9, 0.6))
    made(*arguments, *deaths, folder=folder)
    yield at_least("bytes: times the generator was killed with SIGKILL", kills, 3)
    yield equal("bytes: topics that differ after the kills", _shown(different_files(folder / "one", folder / "killed")), "none")


def _speed(folder: Path, size: Size, seed: int) -> Iterator[Claim]:
    command = [str(find_binary("examples/speed", os.environ)), "--users", str(size.speed), "--days", "28", "--threads", "1"]
    measured = subprocess.run([*command, "--sink", "null"], capture_output=True, text=True, check=True, cwd=folder)
    speed = json.loads(measured.stdout)
    yield at_least(
        "speed: events per CPU second of one core, bytes into a file sink", round(speed["events_per_cpu_second"]), 1_500_000
    )
    yield from kafka_speed.run(folder, size.kafka, seed)
    for users, limit in ((10_000, 128), (size.memory, 1_024)):
        done = made(*window(users, 1, seed), "--out", str(folder / f"{users}"), folder=folder)
        shutil.rmtree(folder / f"{users}")
        yield at_most(f"memory: {users:,} listeners", round(done.peak_mib), limit, " MiB")


def _shown(names: list[str]) -> str:
    return ", ".join(names) or "none"
