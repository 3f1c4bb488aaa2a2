"""From an asset's config to the worker's command line."""

from collections.abc import Sequence
from enum import StrEnum

import dagster as dg
from pydantic import Field


class Until(StrEnum):
    """When a run ends by itself."""

    CAUGHT_UP = "caught-up"
    NEVER = "never"


class Policy(StrEnum):
    """Stop and ask, or go on and record it."""

    FAIL = "fail"
    ACCEPT = "accept"


class ResumeFrom(StrEnum):
    """Which stored offsets hold for a table that was rolled back or restored."""

    SNAPSHOT = "snapshot"
    PROPERTY = "property"


class AlwaysOn(StrEnum):
    """What a run does about the always-on worker, which writes the same tables."""

    AUTO = "auto"
    OWN = "own"
    ATTACH = "attach"
    STOP = "stop"
    RESTART = "restart"


class StreamRunConfig(dg.Config):
    """Config of one bounded run of the stream worker; what is not set here follows the environment, then the defaults."""

    worker: AlwaysOn = Field(
        AlwaysOn.AUTO,
        description="What to do about the always-on worker. `AUTO`: if it runs, wait until it has stored what is in the topics "
        "now, else start a worker for this run. `OWN`: start a worker for this run in any case; fails if another one holds the "
        "tables. `ATTACH`: wait for the always-on worker; fails if it does not run. `STOP`: stop it, then as `OWN`; it stays "
        "stopped. `RESTART`: restart it (or start it), then as `ATTACH`.",
    )
    until: Until = Field(
        Until.CAUGHT_UP,
        description="`caught-up`: end when everything found in the topics at the start is committed. `never`: run until "
        "`max_duration`, or until stopped.",
    )
    max_duration: str | None = Field(
        None, description="End after this time, with a unit, e.g. `10m`; what was read is committed."
    )
    topics: list[str] = Field([], description="Topics to read; empty: every topic that has a contract.")
    on_gap: Policy | None = Field(None, description="Records gone from the topic before they were read: stop, or record the gap.")
    on_skip: Policy | None = Field(None, description="Offsets the brokers pass over: stop, or go on (transactional producers).")
    adopt_new_topic: bool = Field(
        False, description="Go on with a re-created topic or another cluster: opens a new source epoch."
    )
    resume_from: ResumeFrom | None = Field(None, description="Which offsets hold for a rolled-back table.")
    extra_args: list[str] = Field([], description="Further arguments for `streamify-stream`; see its `--help`.")


def needs_own_worker(config: StreamRunConfig) -> Sequence[str]:
    """Returns the names of what `config` sets that a worker which runs already cannot be told.

    A round that takes in events for a while (`until: NEVER` with `max_duration`) may be left to it: it does nothing else.
    """
    asked = {
        "until": config.until is Until.NEVER and config.max_duration is None,
        "on_gap": config.on_gap is not None,
        "on_skip": config.on_skip is not None,
        "adopt_new_topic": config.adopt_new_topic,
        "resume_from": config.resume_from is not None,
        "extra_args": bool(config.extra_args),
    }
    return [name for name, is_set in asked.items() if is_set]


def worker_args(config: StreamRunConfig) -> Sequence[str]:
    """Returns the arguments of `streamify-stream` for `config`."""
    args: list[str] = []
    if config.until is not Until.NEVER:
        args += ["--until", config.until.value]
    if config.max_duration:
        args += ["--max-duration", config.max_duration]
    if config.topics:
        args += ["--topics", ",".join(config.topics)]
    if config.on_gap:
        args += ["--on-gap", config.on_gap.value]
    if config.on_skip:
        args += ["--on-skip", config.on_skip.value]
    if config.adopt_new_topic:
        args.append("--adopt-new-topic")
    if config.resume_from:
        args += ["--resume-from", config.resume_from.value]
    return [*args, *config.extra_args]
