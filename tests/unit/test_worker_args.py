"""The worker's command line from an asset's config."""

from dagster_project.lib.worker_args import Policy, ResumeFrom, StreamRunConfig, Until, worker_args


def test_by_default_a_run_ends_when_it_has_caught_up():
    assert worker_args(StreamRunConfig()) == ["--until", "caught-up"]


def test_every_field_becomes_its_flag_and_extra_arguments_come_last():
    config = StreamRunConfig(
        until=Until.NEVER,
        max_duration="10m",
        topics=["listen_events", "auth_events"],
        on_gap=Policy.ACCEPT,
        on_skip=Policy.FAIL,
        adopt_new_topic=True,
        resume_from=ResumeFrom.SNAPSHOT,
        extra_args=["--freshness", "1s"],
    )

    assert worker_args(config) == [
        *("--max-duration", "10m"),
        *("--topics", "listen_events,auth_events"),
        *("--on-gap", "accept"),
        *("--on-skip", "fail"),
        "--adopt-new-topic",
        *("--resume-from", "snapshot"),
        *("--freshness", "1s"),
    ]
