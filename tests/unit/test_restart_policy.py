"""When the always-on worker is started again: the decision alone, at instants that the test names."""

from dataclasses import replace

import pytest

from dagster_project.lib.restart_policy import (
    History,
    Limits,
    State,
    admit,
    answer_failed_run,
    decide,
    dump_state,
    limits_from,
    load_state,
)
from dagster_project.lib.rolling_runs import LastRun
from dagster_project.lib.worker_health import Health, Mode, Observation, Process
from dagster_project.lib.worker_status import WorkerPartition, WorkerStatus, WorkerTable
from dagster_project.lib.worker_wanted import Wanted

LIMITS = Limits(per_hour=3, first_pause=10, longest_pause=40, patience=60, stall=300, calm=600)
WELL = Observation(Mode.DETACHED, Wanted.RUNNING, Process.RUNNING, Health.GOOD, "200 ok")
DEAD = replace(WELL, process=Process.ENDED, health=Health.ABSENT, exit_code=-9)
HANGS = replace(WELL, health=Health.SILENT, health_text="http://x/healthz did not answer within 1 s")
RUN = LastRun("0123456789", is_over=True, ended_well=False, refusal=None, config={})
BEGIN = 1_790_000_000_000


def at(seconds: float) -> int:
    return BEGIN + round(seconds * 1000)


def status(position: int, lag: int | None, writer: str = "w") -> WorkerStatus:
    partition = WorkerPartition(0, 0, position, None, None)
    table = WorkerTable("t", "bronze_t", 0, 0, 0, None, None, None, (partition,))
    return WorkerStatus("0.1.0", writer, "h", 1, 0, None, True, lag, None, None, (table,))


def seen_over_time(*steps: tuple[float, Observation]) -> list[tuple[bool, str]]:
    """Returns the decision at every step, each with the memory that the one before left."""
    state, decisions = State(), []
    for seconds, observation in steps:
        decision = decide(state, at(seconds), observation, LIMITS)
        state = load_state(dump_state(decision.state))
        decisions.append((decision.restart, decision.reason))
    return decisions


def restarts(*steps: tuple[float, Observation]) -> list[bool]:
    return [restart for restart, _ in seen_over_time(*steps)]


def test_a_dead_worker_is_restarted_at_once_and_told_with_its_end() -> None:
    [(restart, reason)] = seen_over_time((0, DEAD))

    assert restart
    assert reason == "the worker exited with code -9 (killed by SIGKILL); restart 1 in a row, 1 of at most 3 within the hour"


def test_one_whose_end_nobody_saw_is_restarted_too() -> None:
    assert restarts((0, replace(DEAD, exit_code=None))) == [True]


@pytest.mark.parametrize("code", [2, 3])
def test_exit_codes_that_need_a_person_are_never_answered_with_a_start(code: int) -> None:
    ended = replace(DEAD, exit_code=code, last_words="error: offset gap")

    decisions = seen_over_time(*[(minute * 60.0, ended) for minute in range(500)])

    assert not any(restart for restart, _ in decisions)
    assert f"exited with code {code}" in decisions[0][1]
    assert decisions[0][1].endswith("`bronze_worker_start` starts it after that: error: offset gap")


@pytest.mark.parametrize("seen", [DEAD, HANGS, replace(WELL, health=Health.BAD), WELL])
def test_a_worker_that_was_stopped_on_purpose_stays_stopped(seen: Observation) -> None:
    decisions = seen_over_time(*[(minute * 60.0, replace(seen, wanted=Wanted.STOPPED)) for minute in range(100)])

    assert not any(restart for restart, _ in decisions)
    assert "stopped on purpose" in decisions[-1][1]


def test_nothing_is_started_where_nothing_ever_was() -> None:
    never = Observation(Mode.DETACHED, None, Process.NEVER_STARTED, Health.ABSENT, "nothing listens")

    assert seen_over_time((0, never)) == [(False, "no worker was started from here; `bronze_worker_start` starts one")]


def test_a_dead_worker_is_left_alone_while_another_one_answers() -> None:
    [(restart, reason)] = seen_over_time((0, replace(DEAD, health=Health.GOOD, status=status(1, 0))))

    assert not restart
    assert "one answers that was not started from here" in reason


@pytest.mark.parametrize("health", [Health.SILENT, Health.ABSENT, Health.BAD])
def test_a_worker_that_hangs_is_restarted_once_it_has_lasted(health: Health) -> None:
    hangs = replace(HANGS, health=health)

    assert restarts((0, hangs), (59, hangs), (60, hangs)) == [False, False, True]
    assert restarts((0, hangs), (59, WELL), (60, hangs), (119, hangs), (120, hangs)) == [False, False, False, False, True]


def test_a_worker_that_stores_nothing_while_its_lag_grows_is_wedged() -> None:
    steps = [(second, replace(WELL, status=status(100, 10 + second))) for second in (0, 299, 300)]

    decisions = seen_over_time(*steps)

    assert [restart for restart, _ in decisions] == [False, False, True]
    assert decisions[-1][1].startswith("the worker has committed nothing for 300 s while its lag grew from 10 to 310 records")


@pytest.mark.parametrize(
    "later",
    [
        status(101, 900),  # it moved on
        status(100, 10),  # nothing new came
        status(100, 0),  # only commit markers were left
        status(100, 900, writer="another"),  # started anew
        status(100, None),  # the brokers have not told the ends
    ],
)
def test_a_worker_that_moves_on_or_has_nothing_to_do_is_well(later: WorkerStatus) -> None:
    assert restarts((0, replace(WELL, status=status(100, 10))), (5000, replace(WELL, status=later))) == [False, False]


def test_a_standstill_counts_from_the_last_step() -> None:
    def seen(position: int, lag: int) -> Observation:
        return replace(WELL, status=status(position, lag))

    assert restarts((0, seen(1, 5)), (200, seen(2, 6)), (499, seen(2, 9)), (500, seen(2, 9))) == [False, False, False, True]


def test_pauses_between_restarts_double_and_the_hour_has_a_limit() -> None:
    steps = [(float(second), DEAD) for second in range(3601)]

    when = [second for second, restart in enumerate(restarts(*steps)) if restart]

    assert when == [0, 10, 30, 3600]


def test_pauses_grow_no_longer_than_the_longest_and_begin_anew_after_a_calm_time() -> None:
    many = replace(LIMITS, per_hour=1000)
    allowed, history, _ = admit(History((at(0),), in_a_row=2000), at(39), many)
    assert not allowed
    allowed, history, _ = admit(history, at(40), many)
    assert (allowed, history.in_a_row) == (True, 2001)

    calm = State(worker=History((at(0),), in_a_row=5))
    calm = decide(calm, at(10), WELL, LIMITS).state
    assert decide(calm, at(609), WELL, LIMITS).state.worker.in_a_row == 5
    assert decide(calm, at(610), WELL, LIMITS).state.worker.in_a_row == 0


def test_no_restart_at_all_is_a_limit_too() -> None:
    decision = decide(State(), at(0), DEAD, replace(LIMITS, per_hour=0))

    assert not decision.restart
    assert "switched off" in decision.reason


def test_the_same_look_twice_asks_for_the_same_restart_and_the_next_trouble_for_another() -> None:
    dead = decide(State(), at(0), DEAD, LIMITS)
    again = decide(dead.state, at(10), DEAD, LIMITS)
    well = decide(again.state, at(20), WELL, LIMITS)
    later = decide(well.state, at(1000), DEAD, LIMITS)

    assert decide(dead.state, at(11), DEAD, LIMITS).key == again.key
    assert len({dead.key, again.key, later.key}) == 3


def test_a_service_manager_starts_what_is_down_and_dagster_what_hangs() -> None:
    managed = replace(HANGS, mode=Mode.SERVICE, wanted=None, process=Process.NOT_OURS)
    down = replace(managed, health=Health.ABSENT, health_text="nothing listens at http://worker:9464")

    assert restarts((0, managed), (60, managed)) == [False, True]
    [(restart, reason), _] = seen_over_time((0, down), (9999, down))
    assert not restart
    assert reason.startswith("nothing listens at http://worker:9464; starting it is up to its service manager")


def test_a_failed_rolling_run_is_answered_once_and_with_pauses() -> None:
    first = answer_failed_run(State(), at(0), RUN, LIMITS)
    assert (first.restart, first.key) == (True, "run-0123456789")
    assert not answer_failed_run(first.state, at(100), RUN, LIMITS).restart

    second = replace(RUN, run_id="second")
    too_early = answer_failed_run(first.state, at(9), second, LIMITS)
    assert not too_early.restart
    assert answer_failed_run(too_early.state, at(10), second, LIMITS).restart


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (replace(RUN, refusal="its worker exited with code 3"), "run 01234567 is not run again: its worker exited with code 3"),
        (replace(RUN, is_over=False), "one is under way"),
        (replace(RUN, ended_well=True), "the last one went well"),
    ],
)
def test_other_runs_are_left_alone(run: LastRun, reason: str) -> None:
    decision = answer_failed_run(State(), at(0), run, LIMITS)

    assert (decision.restart, decision.reason) == (False, reason)


def test_a_run_that_went_well_ends_the_row() -> None:
    state = State(runs=History((at(0),), in_a_row=3))

    assert answer_failed_run(state, at(1), replace(RUN, ended_well=True), LIMITS).state.runs.in_a_row == 0


@pytest.mark.parametrize("cursor", [None, "", "broken", '{"worker": 3}', "[]"])
def test_a_cursor_that_is_none_is_the_beginning(cursor: str | None) -> None:
    assert load_state(cursor) == State()


def test_a_cursor_keeps_everything() -> None:
    state = decide(State(), at(0), replace(WELL, status=status(3, 4)), LIMITS).state
    state = replace(state, worker=History((at(1),), 1), answered_run="r", unwell_since_ms=7)

    assert load_state(dump_state(state)) == state


def test_limits_come_from_the_environment() -> None:
    environ = {"STREAMIFY_WORKER_RESTARTS_PER_HOUR": "2", "STREAMIFY_WORKER_STALL_LIMIT": "1m 30s"}

    assert limits_from(environ) == replace(Limits(), per_hour=2, stall=90)
    assert limits_from({}) == Limits()


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("STREAMIFY_WORKER_RESTARTS_PER_HOUR", "-1", "`-1` is no number of restarts"),
        ("STREAMIFY_WORKER_STALL_LIMIT", "90", "`90` is no duration with a unit"),
        ("STREAMIFY_WORKER_STALL_LIMIT", "5 weeks", "`5 weeks` is no duration"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused_by_name(name: str, value: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"invalid `{name}`: {problem}"):
        limits_from({name: value})
