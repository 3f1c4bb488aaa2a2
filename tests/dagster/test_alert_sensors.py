"""Failed runs, failed checks and stale tables, as people hear of them."""

import time

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange

from dagster_project.defs.sensors.alerts import alert_on_bad_data, alert_on_failed_runs
from dagster_project.lib.checks.limits import freshness_policy
from dagster_project.lib.outbox import Memory
from dagster_project.lib.run_alerts import NOTIFIERS_TAG, TAKEN_OVER, UNDELIVERED_TAG, WAITS, shortened
from tests.receivers import MailServer, Webhook

HOUR = 3600


@dg.asset
def broken_asset():
    """Fails as our assets do."""
    raise dg.Failure(
        description="streamify-stream exited with code 3 (it needs a decision by a person): offset gap in partition 7"
    )


@dg.op
def broken_op():
    """Fails as code does."""
    raise LookupError("no such table")


@dg.job
def broken_job():
    """Fails."""
    broken_op()


@dg.asset(freshness_policy=freshness_policy("silver_listen_events"))
def checked_asset():
    """Has a check and a policy."""


def result(passed: bool, severity=dg.AssetCheckSeverity.ERROR) -> dg.AssetChecksDefinition:
    """A check with this result."""

    @dg.asset_check(asset=checked_asset, name="ids_are_unique")
    def check():
        metadata = {"value": 3, "limit": 0}
        return dg.AssetCheckResult(passed=passed, severity=severity, description="3 keys stand twice", metadata=metadata)

    return check


DEFINITIONS = dg.Definitions(assets=[broken_asset, checked_asset], asset_checks=[result(passed=False)], jobs=[broken_job])


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def webhook(clean_environment):
    clean_environment.setenv("DAGSTER_UI_URL", "http://ui.example.org/")
    with Webhook() as server:
        clean_environment.setenv("STREAMIFY_ALERT_WEBHOOK", server.url)
        yield server


@pytest.fixture
def runs_tick(instance):
    """`runs_tick()`: a tick of `alert_on_failed_runs`, each after the one before."""
    cursor = None

    def evaluate():
        nonlocal cursor
        context = dg.build_sensor_context(instance=instance, cursor=cursor)
        ended = alert_on_failed_runs.evaluate_tick(context)
        cursor = ended.cursor
        return ended

    evaluate()  # begins with what comes from now on
    return evaluate


@pytest.fixture
def data_tick(instance):
    """`data_tick(cursor)`: a tick of `alert_on_bad_data`."""

    def evaluate(cursor=None):
        repository = DEFINITIONS.get_repository_def()
        context = dg.build_sensor_context(instance=instance, cursor=cursor, repository_def=repository)
        return alert_on_bad_data.evaluate_tick(context)

    return evaluate


def run_check(instance, *args):
    """Runs a check of the asset."""
    dg.materialize([checked_asset, result(*args)], instance=instance, raise_on_error=False)


def fail_assets(instance):
    """A run as Dagster makes it where assets are launched without a job."""
    job = DEFINITIONS.resolve_implicit_global_asset_job_def()
    assert job.name == "__ASSET_JOB"
    return job.execute_in_process(instance=instance, asset_selection=[broken_asset.key], raise_on_error=False)


def test_a_failed_run_of_assets_is_told_with_all_that_is_needed(instance, webhook, runs_tick):
    run = fail_assets(instance)

    runs_tick()

    [text] = webhook.texts
    subject, *lines = text.splitlines()
    told = dict(line.split(": ", 1) for line in lines)
    assert subject.startswith("[Streamify] run of asset `broken_asset` failed: step `broken_asset`: streamify-stream exited with")
    assert "offset gap in partition 7" in told["What"]
    assert told["Where"] == f"run {run.run_id}"
    assert told["Since"].endswith(" UTC")
    assert told["Link"] == f"http://ui.example.org/runs/{run.run_id}"
    assert told["Next"].startswith("it needs a decision by a person")


def test_a_failed_run_of_a_job_is_told_by_its_name_and_error(instance, webhook, runs_tick):
    broken_job.execute_in_process(instance=instance, raise_on_error=False)

    runs_tick()

    assert "job `broken_job` failed: step `broken_op`: LookupError: no such table" in webhook.texts[0]
    assert "launch it again" in webhook.texts[0]


def test_a_run_that_succeeded_and_one_told_before_are_not_told(instance, webhook, runs_tick):
    dg.materialize([checked_asset], instance=instance)
    fail_assets(instance)
    runs_tick()
    runs_tick()

    assert len(webhook.texts) == 1


def test_without_notifiers_the_log_has_it(instance, clean_environment, runs_tick, capfd):
    fail_assets(instance)
    capfd.readouterr()

    runs_tick()

    assert "[Streamify] run of asset `broken_asset` failed" in capfd.readouterr().err


def test_an_alert_of_a_run_that_was_refused_is_delivered_by_the_next_tick_of_the_other_sensor(
    instance, webhook, runs_tick, data_tick
):
    webhook.codes = [500, 500]
    run = fail_assets(instance)
    runs_tick()
    tags = instance.get_run_by_id(run.run_id).tags
    assert (tags[UNDELIVERED_TAG], tags[NOTIFIERS_TAG]) == (WAITS, "webhook")

    cursor = data_tick().cursor
    assert instance.get_run_by_id(run.run_id).tags[UNDELIVERED_TAG] == TAKEN_OVER
    assert [(one.notifier, one.attempts) for one in Memory.from_json(cursor).waiting] == [("webhook", 2)]
    cursor = data_tick(cursor).cursor

    assert len(webhook.texts) == 1
    assert run.run_id in webhook.texts[0]
    assert "offset gap in partition 7" in webhook.texts[0]
    assert Memory.from_json(cursor).waiting == ()


def test_it_is_given_up_after_three_attempts(instance, webhook, runs_tick, data_tick):
    webhook.codes = [500] * 9
    fail_assets(instance)
    runs_tick()
    cursor = data_tick().cursor
    cursor = data_tick(cursor).cursor

    assert Memory.from_json(cursor).waiting == ()
    assert len(webhook.codes) == 6


def test_a_mail_server_that_is_away_does_not_keep_the_webhook_from_being_told(instance, webhook, runs_tick, clean_environment):
    with MailServer() as gone:
        port = gone.port
    clean_environment.setenv("STREAMIFY_ALERT_EMAIL_TO", "a@example.org")
    clean_environment.setenv("STREAMIFY_SMTP_HOST", "127.0.0.1")
    clean_environment.setenv("STREAMIFY_SMTP_PORT", str(port))
    run = fail_assets(instance)

    runs_tick()

    assert len(webhook.texts) == 1
    assert instance.get_run_by_id(run.run_id).tags[NOTIFIERS_TAG] == "e-mail"


def test_a_webhook_that_hangs_holds_no_tick_and_gets_the_message_once(instance, webhook, runs_tick, data_tick):
    webhook.lets_go.clear()
    runs = [fail_assets(instance) for _ in range(2)]
    before = time.monotonic()

    runs_tick()

    assert time.monotonic() - before < 15, "two seconds on a machine with time for it; never the sixty of the server"
    assert instance.get_run_by_id(runs[1].run_id).tags[UNDELIVERED_TAG] == WAITS
    webhook.lets_go.set()
    cursor = data_tick().cursor
    for _ in range(2):
        cursor = data_tick(cursor).cursor
    assert sorted(run.run_id in text for run in runs for text in webhook.texts) == [False, False, True, True]
    assert Memory.from_json(cursor).waiting == ()


def test_a_check_that_fails_is_told_once_and_when_it_passes_again(instance, webhook, data_tick):
    run_check(instance, False)
    cursor = data_tick().cursor
    run_check(instance, False)
    cursor = data_tick(cursor).cursor

    [text] = webhook.texts
    assert text.startswith(
        "[Streamify] check `ids_are_unique` of `checked_asset` failed: 3 keys stand twice (value 3, limit 0)\n"
    )
    assert "Link: http://ui.example.org/runs/" in text

    run_check(instance, True)
    data_tick(cursor)
    assert webhook.texts[1].startswith("[Streamify] over: check `ids_are_unique`")


def test_a_check_that_only_warns_is_not_told(instance, webhook, data_tick):
    run_check(instance, False, dg.AssetCheckSeverity.WARN)

    assert data_tick().skip_message == "0 problems last, no news, 0 messages wait"
    assert webhook.texts == []


def test_a_stale_asset_is_told_and_when_it_is_fresh_again(instance, webhook, data_tick):
    def turns(old, new):
        change = FreshnessStateChange(
            key=checked_asset.key, previous_state=old, new_state=new, state_change_timestamp=time.time()
        )
        instance._report_runless_asset_event(change)

    turns(FreshnessState.PASS, FreshnessState.WARN)
    cursor = data_tick().cursor
    assert webhook.texts == []
    turns(FreshnessState.WARN, FreshnessState.FAIL)
    cursor = data_tick(cursor).cursor
    assert webhook.texts[0].startswith("[Streamify] `checked_asset` is stale: no new data within its freshness policy\n")
    turns(FreshnessState.FAIL, FreshnessState.PASS)
    data_tick(cursor)

    assert webhook.texts[1].startswith("[Streamify] over: `checked_asset` is stale")
    assert len(webhook.texts) == 2


def test_a_long_reason_is_one_short_line():
    assert shortened("a\n  b") == "a b"
    assert len(shortened("x" * 5000)) == 600
    assert shortened("x" * 5000).endswith("…")
