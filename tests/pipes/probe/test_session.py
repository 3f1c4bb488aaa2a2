"""The writer's sessions from their first message to their last, as stock Dagster sees them: ends, signals, order, size."""

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import dagster as dg
import pytest

from tests.pipes.probe.launcher import ASSET, Heard, Launcher


def _log(message: str, level: str = "INFO") -> dict[str, object]:
    return {"do": "log", "level": level, "message": message}


def _texts(heard: Heard) -> list[str]:
    return [text for _, text in heard.own_logs]


def _signals(process_file: Path, number: int, wait_until: Callable[..., None]) -> Callable[[], None]:
    """Returns what sends the signal to the process as soon as its file is there."""

    def send() -> None:
        wait_until(process_file.exists, "the process")
        os.kill(int(process_file.read_text(encoding="utf-8")), number)

    return send


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signalled_process_reports_what_it_has_and_closes(probe: Launcher, tmp_path: Path, wait_until, name: str):
    running = tmp_path / "running"
    script = [_log("at work"), {"do": "touch", "path": str(running)}, {"do": "until_signal"}, {"do": "materialize"}]
    meanwhile = _signals(running, getattr(signal, name), wait_until)

    heard = probe.run(*probe.command(script=script), meanwhile=meanwhile)

    assert heard.success, heard.failure
    assert _texts(heard) == ["at work", f"stopping on {name}"]
    assert heard.warnings == []
    assert [materialization.asset_key for materialization in heard.materializations] == [dg.AssetKey(ASSET)]


def test_a_cancelled_run_stops_the_process_and_hears_its_last_words(probe: Launcher, tmp_path: Path, wait_until):
    running = tmp_path / "running"
    script = [{"do": "touch", "path": str(running)}, {"do": "until_signal"}, {"do": "materialize"}]

    def cancel() -> None:
        wait_until(running.exists, "the process")
        os.kill(os.getpid(), signal.SIGINT)

    heard = probe.run(*probe.command(script=script), meanwhile=cancel)

    assert not heard.success
    assert "stopping on SIGINT" in _texts(heard)
    assert heard.warnings == []
    assert heard.materializations == [], "stock Dagster drops the results of a cancelled run"


def test_a_panic_is_told_with_its_place_and_fails_the_run(probe: Launcher):
    heard = probe.run(*probe.command(script=[_log("before"), {"do": "panic", "message": "disk is on fire"}]))

    assert not heard.success
    assert "failed with code 101" in heard.failure
    assert _texts(heard) == ["before"]
    [told] = heard.told
    assert (told.message, told.cls_name) == ("disk is on fire", "panic")
    assert "script.rs" in told.stack[0]
    assert heard.warnings == []


def test_an_error_is_told_with_its_causes(probe: Launcher):
    chain = ["commit failed", "catalog refused", "base is stale"]

    heard = probe.run(*probe.command(script=[{"do": "fail", "chain": chain}]))

    assert not heard.success
    [told] = heard.told
    messages = []
    while told:
        messages.append((told.message, told.cls_name))
        told = told.cause
    assert messages == [(text, "Chained") for text in ["failed", *chain]]


def test_an_aborted_process_is_missed_and_what_it_said_before_is_there(probe: Launcher, tmp_path: Path, wait_until):
    go = tmp_path / "go"
    script = [_log("last words"), {"do": "until_file", "path": str(go)}, {"do": "abort"}]

    def let_it_die() -> None:
        wait_until(lambda: any("last words" in entry.user_message for entry in _entries(probe.instance)), "the log")
        go.touch()

    heard = probe.run(*probe.command(script=script), meanwhile=let_it_die)

    assert not heard.success
    assert _texts(heard) == ["last words"]
    assert ["did not receive closed message" in text for text in heard.warnings] == [True]


def _entries(instance: dg.DagsterInstance) -> list[dg.EventLogEntry]:
    return [entry for run in instance.get_runs() for entry in instance.all_logs(run.run_id)]


def test_closed_twice_is_closed_once_and_nothing_follows(probe: Launcher):
    refused = "the Pipes session is closed"
    script = [
        _log("before"),
        {"do": "close"},
        {"do": "close"},
        _log("after"),
        {"do": "custom", "payload": "after", "refused": refused},
        {"do": "materialize", "refused": refused},
        {"do": "check", "check_name": "late", "refused": refused},
    ]

    heard = probe.run(*probe.command(script=script))

    assert heard.success, heard.failure
    assert heard.told == []
    assert _texts(heard) == ["before"]
    assert heard.custom == []
    assert heard.warnings == [], "a message after `closed` is a warning of Dagster's"


def test_what_would_fail_the_step_is_refused_before_it_is_sent(probe: Launcher):
    check = {"do": "check", "check_name": "my_check"}
    script = [
        {"do": "materialize"},
        {"do": "materialize", "refused": f"asset `{ASSET}` was already reported as materialized in this session"},
        check,
        check | {"refused": f"check `my_check` of asset `{ASSET}` was already reported in this session"},
        {"do": "materialize", "asset_key": "other", "refused": f"asset `other` is not one of this step's: `{ASSET}`"},
    ]

    heard = probe.run(*probe.command(script=script), checks=[dg.AssetCheckSpec("my_check", asset=ASSET)])

    assert heard.success, heard.failure
    assert heard.results == ["MaterializeResult", "AssetCheckResult"]


@pytest.mark.parametrize("error", [None, "disk full"], ids=["nothing after it", "an error after it"])
def test_a_storm_of_events_is_cut_short_counted_and_an_error_still_passes(probe: Launcher, error: str | None):
    heard = probe.run(*probe.command(script=[{"do": "trace", "times": 2000, "error": error}]))

    assert heard.success, heard.failure
    shown = [text for level, text in heard.own_logs if level == "INFO"]
    assert shown[0] == 'event index=0 note="two words"'
    assert len(shown) < 200
    counts = [text.split(" ", 1) for level, text in heard.own_logs if level == "WARNING"]
    assert {text for _, text in counts} == {"log messages were suppressed by the rate limit"}
    assert len(shown) + sum(int(count) for count, _ in counts) == 2000
    assert [text for level, text in heard.own_logs if level == "ERROR"] == (['failed error="disk full"'] if error else [])


UNUSABLE = {"folder": {"path": "/nowhere/messages"}, "kind": {"volume": "x"}, "name": {"stdio": "printer"}}


@pytest.mark.parametrize("params", UNUSABLE.values(), ids=UNUSABLE)
def test_a_channel_that_cannot_be_used_ends_the_process_at_once(probe: Launcher, params: dict[str, str]):
    class Unusable(dg.PipesTempFileMessageReader):
        def read_messages(self, handler):
            return nullcontext(params)

    heard = probe.run(*probe.command(test_name="test_components"), client=dg.PipesSubprocessClient(message_reader=Unusable()))

    assert not heard.success
    assert "failed with code 1" in heard.failure


def test_the_null_device_takes_everything(probe: Launcher):
    class Nowhere(dg.PipesTempFileMessageReader):
        def read_messages(self, handler):
            return nullcontext({"path": "/dev/null"})

    command = probe.command(test_name="test_message_log")
    heard = probe.run(*command, client=dg.PipesSubprocessClient(message_reader=Nowhere()))

    assert heard.success, heard.failure
    assert ["did not receive any messages" in text for text in heard.warnings] == [True]


def test_launched_by_nobody_it_fails(program: str, clean_environment):
    ended = subprocess.run([program, "--test-name", "test_components"], capture_output=True, text=True, check=False)

    assert ended.returncode == 1
    assert "not launched by Dagster" in ended.stderr
