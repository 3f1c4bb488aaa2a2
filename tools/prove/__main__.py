"""The command line: `python -m tools.prove bronze --size full --seed 7`."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator

from tools.prove import chaos, dagster, generate, holes, outages, readers, silver
from tools.prove.claims import Claim, table

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
        claims += proof()
        print(f"         {name}: {time.monotonic() - started:.0f} s", flush=True)
    short = [claim for claim in claims if not claim.holds]
    print(f"\n{table(claims)}\n\nseed {arguments.seed}, size {arguments.size}: {len(claims)} claims, {len(short)} fall short")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
