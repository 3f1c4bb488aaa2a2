"""The worker's command line from an asset's config."""

from dagster_project.lib.worker_args import Policy, ResumeFrom, StreamRunConfig, Until, needs_own_worker, worker_args


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


def test_what_a_running_worker_cannot_be_told_is_named():
    config = StreamRunConfig(until=Until.NEVER, on_gap=Policy.FAIL, adopt_new_topic=True, extra_args=["--take-over"])

    assert needs_own_worker(config) == ["until", "on_gap", "adopt_new_topic", "extra_args"]


def test_rounds_and_plain_runs_may_be_left_to_a_running_worker():
    assert needs_own_worker(StreamRunConfig(topics=["listen_events"])) == []
    assert needs_own_worker(StreamRunConfig(until=Until.NEVER, max_duration="14m")) == []
