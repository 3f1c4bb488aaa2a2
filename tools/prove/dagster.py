"""All that is claimed of Dagster as the control room: real web server, daemon, runs, broker and worker."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.dataset import event_set
from tools.prove import messages, restart, terminate
from tools.prove.claims import Claim


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    #: name of the kept event set, and its listens
    name: str
    listens: int
    #: terminated runs of each client
    times: int
    #: kills of the always-on worker
    kills: int
    #: how long the store of the messages is away
    seconds_away: float
    #: log lines in one run
    lines: int


SIZES: Mapping[str, Size] = {
    "small": Size("prove-small", 60_000, times=2, kills=1, seconds_away=5.0, lines=20_000),
    "full": Size("small", 300_000, times=20, kills=3, seconds_away=60.0, lines=100_000),
}


def proofs(size: str, seed: int) -> dict[str, Callable[[], Iterator[Claim]]]:
    """Returns the proofs by name."""
    chosen = SIZES[size]

    def data() -> Path:
        return event_set(chosen.name, chosen.listens, seed)

    return {
        "messages": lambda: messages.run(chosen.seconds_away, chosen.lines),
        "terminate": lambda: terminate.run(data(), chosen.times, seed),
        "restart": lambda: restart.run(data(), chosen.kills),
    }
