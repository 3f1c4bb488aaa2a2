"""Claims about what the generator says when it is asked for what cannot be."""

import fcntl
from collections.abc import Iterator
from pathlib import Path

from tools.prove.claims import Claim
from tools.prove.generator import generator

#: Exit code for settings that cannot be meant.
BAD_SETTINGS = 2
#: What is asked for, and what the answer must name.
CASES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("an unknown option", ("--nuser", "5"), "--nuser"),
    ("no listener", ("--users", "0"), "--users"),
    ("three of start, end and days", ("--start", "2026-02-23", "--end", "2026-02-24", "--days", "1"), "one too many"),
    ("an end before the start", ("--start", "2026-02-24", "--end", "2026-02-23"), "is not before the end"),
    ("a time that is none", ("--start", "yesterday"), "`yesterday` is not a time"),
    ("negative days", ("--days=-1",), "`--days`: -1 is not between"),
    ("speed 0", ("--speed", "0"), "`--speed`: 0 is not above 0"),
    ("a rate above 1", ("--fault", "D19=2"), "the rate of `D19` is `2`"),
    ("an unknown fault", ("--fault", "D99"), "`D99` is not one of"),
    ("an unknown way of a fault", ("--fault", "D15.cute"), "it has: cut, single_quotes, bad_byte"),
    ("a fault nobody can inject", ("--fault", "D18"), "only a broker that lost its state"),
    ("duplicates said twice", ("--fault", "all", "--duplicates", "0.1"), "leave one out"),
    ("a truth of a run that may be cut", ("--truth", "truth", "--checkpoint", "state"), "--checkpoint"),
    (
        "a Kafka option without a value",
        ("--kafka-option", "linger", "--bootstrap-servers", "localhost:1"),
        "`linger` is not key=value",
    ),
    ("no destination", (), "no destination"),
    ("a profile that is nowhere", ("--profile", "nowhere.toml"), "nowhere.toml"),
)
#: Profiles that cannot be: what is changed in the built-in one, and what the answer must name.
PROFILES: tuple[tuple[str, str, str, str], ...] = (
    ("probabilities above 1", '"Cancel" = 0.005', '"Cancel" = 0.9', "Settings as Logged In"),
    ("a page that is no state", '"Cancel" = 0.005', '"Cancle" = 0.005', "Cancle"),
    ("no TOML", "[users]", "[users", "line"),
)
#: In the manner of the public configuration whose initial states occur nowhere in its transitions.
UNLOADABLE = """{"alpha": 15.0, "beta": 28800, "session-gap": 300,
 "auths": [{"auth": "Guest", "weight": 5}, {"auth": "Logged In", "weight": 75}],
 "levels": [{"level": "free", "weight": 65}, {"level": "premium", "weight": 35}],
 "new-session": [{"page": "Home", "auth": "Logged In", "level": "premium", "method": "GET", "status": 200, "weight": 100}],
 "show-user-details": [{"auth": "Guest", "show": false}, {"auth": "Logged In", "show": true}],
 "transitions": [{"source": {"page": "Home", "auth": "Guest", "level": "free", "method": "GET", "status": 200},
                  "dest": {"page": "Home", "auth": "Guest", "level": "free", "method": "GET", "status": 200}, "p": 0.5}]}
"""


def run(folder: Path) -> Iterator[Claim]:
    """Asks for each thing that cannot be."""
    for what, arguments, names in CASES:
        is_elsewhere = what == "no destination" or "--bootstrap-servers" in arguments
        destination = () if is_elsewhere else ("--out", str(folder / "out"))
        yield _claim(folder, what, ("run", *destination, *arguments), names)
    text = generator("profile", folder=folder).out
    for what, old, new, names in PROFILES:
        path = folder / "profile.toml"
        path.write_text(text.replace(old, new), encoding="utf-8")
        yield _claim(folder, f"a profile with {what}", ("run", "--out", str(folder / "out"), "--profile", str(path)), names)
    path = folder / "unloadable.json"
    path.write_text(UNLOADABLE, encoding="utf-8")
    yield _claim(
        folder,
        "an Eventsim configuration of unknown states",
        ("run", "--out", str(folder / "out"), "--profile", str(path)),
        "premium",
    )

    with (folder / "state.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        arguments = ("run", "--out", str(folder / "out"), "--checkpoint", str(folder / "state"))
        yield _claim(folder, "a checkpoint that another process holds", arguments, "is in use by another run")


def _claim(folder: Path, what: str, arguments: tuple[str, ...], names: str) -> Claim:
    done = generator(*arguments, folder=folder)
    is_clear = done.code == BAD_SETTINGS and names in done.error and "panicked" not in done.error
    said = done.error.strip().splitlines() or ["nothing"]
    line = next((line for line in said if names in line), said[0]).strip()
    figure = f"exit {done.code}: {line[:70]}"
    return Claim(f"options: {what}", figure, f"exit {BAD_SETTINGS}, naming {names!r}", is_clear)
