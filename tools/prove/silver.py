"""All that is claimed of silver, sessions and the care of tables.

Small takes under three minutes, and leaves out Spark and the benchmarks, whose figures mean nothing there. Full works on five
million listens: on two idle cores the truth takes 1.5 minutes, the one batch too, the seven batches on S3 five; a hundred batches
take longer, since late events make each of them touch all days, and the histories of a hundred million rows longest. `--only`
chooses by name. Spark reads a smaller event set: for its checksums of five million rows a quarter of an hour is not enough.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import batch, spark_peer
from bench.dataset import event_set
from tools.prove import cancel, care_beside, splits
from tools.prove.claims import Claim

#: What Spark reads: the second split is the one on the catalog that it knows.
SPARK_LISTENS, SPARK_SPLITS = 300_000, ((1, "forward"), (7, "mixed"))
#: Memory limits under which the jobs are measured.
LIMITS = ("1GiB", "128MB")

Proofs = dict[str, Callable[[], Iterator[Claim]]]


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    #: name of the kept event set
    name: str
    listens: int
    #: number of batches and their order, one lake each
    splits: tuple[tuple[int, str], ...]
    #: how long worker and care run side by side
    care_seconds: int
    #: rows of the table whose jobs are cancelled, and at how many moments of each
    cancel_rows: int
    cancel_moments: int


SIZES: Mapping[str, Size] = {
    "small": Size("prove-small", 60_000, ((1, "forward"), (7, "mixed"), (12, "forward")), 25, 60_000, 6),
    "full": Size("full", 5_000_000, ((1, "forward"), (7, "backward"), (100, "mixed")), 180, 1_000_000, 20),
}


def proofs(size: str, seed: int) -> Proofs:
    """Returns the proofs by name."""
    chosen, is_full = SIZES[size], size == "full"

    def data() -> Path:
        return event_set(chosen.name, chosen.listens, seed)

    made: Proofs = {}
    if is_full:
        # What is measured comes first: a machine that has rested is a quieter one.
        for limit in LIMITS:
            made[f"jobs within {limit}"] = partial(_jobs, data, limit)
        made["jobs beside Spark"] = partial(_beside_spark, data)
        made["histories"] = partial(_histories, data)
    made["splits into runs"] = lambda: splits.run(data(), chosen.splits, seed, with_spark=False)
    made["care beside a worker, REST"] = lambda: care_beside.run(data(), chosen.care_seconds, embedded=False)
    made["cancel in process"] = lambda: cancel.run(data(), chosen.cancel_rows, chosen.cancel_moments, with_dagster=is_full)
    if is_full:
        made["tables read by Spark too"] = lambda: splits.run(
            event_set("small", SPARK_LISTENS, seed), SPARK_SPLITS, seed, with_spark=True
        )
        made["care beside a worker, SQLite"] = lambda: care_beside.run(data(), chosen.care_seconds, embedded=True)
    return made


def _jobs(data: Callable[[], Path], limit: str) -> Iterator[Claim]:
    with tempfile.TemporaryDirectory(prefix="streamify-jobs-") as work:
        yield from batch.jobs(data(), Path(work), limit)


def _beside_spark(data: Callable[[], Path]) -> Iterator[Claim]:
    with tempfile.TemporaryDirectory(prefix="streamify-beside-spark-") as work:
        yield from spark_peer.beside(data(), Path(work))


def _histories(data: Callable[[], Path]) -> Iterator[Claim]:
    with tempfile.TemporaryDirectory(prefix="streamify-histories-") as work:
        yield from batch.histories(data(), Path(work), "full")
