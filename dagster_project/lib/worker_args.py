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


class StreamRunConfig(dg.Config):
    """Config of one bounded run of the stream worker; what is not set here follows the environment, then the defaults."""

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
