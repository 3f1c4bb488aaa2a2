"""The command line: `python -m tools.prove bronze --size full --seed 7`."""

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterator

from tools.prove import chaos, dagster, generate, holes, outages, readers, silver
from tools.prove.claims import Claim, equal, table

SECONDS_AWAY = {"small": 5.0, "full": 60.0}


def _bronze(size: str, seed: int) -> dict[str, Callable[[], Iterator[Claim]]]:
    return {
        "protocol and holes": holes.run,
        "readers": readers.run,
        "chaos on the REST catalog": lambda: chaos.run(embedded=False, size=chaos.SIZES[size], seed=seed),
        "chaos on the SQLite catalog": lambda: chaos.run(embedded=True, size=chaos.SIZES[size], seed=seed + 1),
        "outages": lambda: outages.run(SECONDS_AWAY[size], seed + 2),
    }


PARTS = {"bronze": _bronze, "dagster": dagster.proofs, "generate": generate.proofs, "silver": silver.proofs}


def main() -> int:
    """Runs a part's proofs and prints the table; returns 1 if a claim falls short."""
    parser = argparse.ArgumentParser(prog="python -m tools.prove", description=__doc__)
    parser.add_argument("part", choices=sorted(PARTS), help="what to prove")
    parser.add_argument("--size", choices=sorted(chaos.SIZES), default="full", help="small takes minutes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="of the event set and of the moments of the kills")
    parser.add_argument("--only", help="run only the proofs whose name contains this")
    arguments = parser.parse_args()
    claims: list[Claim] = []
    for name, proof in PARTS[arguments.part](arguments.size, arguments.seed).items():
        if arguments.only and arguments.only not in name:
            continue
        started = time.monotonic()
        print(f"proving: {name} …", flush=True)
        told = _told(name, proof)
        claims += told
        num_short = sum(not claim.holds for claim in told)
        # Told as it goes: a later proof may take an hour, or fail.
        seconds = time.monotonic() - started
        print(f"{table(told)}\n         {name}: {seconds:.0f} s, {num_short} of {len(told)} fall short", flush=True)
    short = [claim for claim in claims if not claim.holds]
    if short:
        print(f"\nwhat falls short:\n{table(short)}")
    print(f"\nseed {arguments.seed}, size {arguments.size}: {len(claims)} claims, {len(short)} fall short")
    return 1 if short else 0


def _told(name: str, proof: Callable[[], Iterator[Claim]]) -> list[Claim]:
    """Returns the claims of one proof; one that breaks off has a claim less to stand on, and the next ones still run."""
    told: list[Claim] = []
    try:
        told.extend(proof())
    except Exception as error:  # noqa: BLE001  # whatever it is, it is told as a claim that does not hold
        traceback.print_exc()
        told.append(equal(f"{name}: broke off", f"{type(error).__name__}: {error}"[:200], "runs to its end"))
    return told


if __name__ == "__main__":
    sys.exit(main())
