"""Each injected fault: what the client sees, and whether the commit landed."""

import http.client
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tools.stack import Stack
from tools.stack.errors import StackError

pytestmark = pytest.mark.integration


def test_lost_answers_belong_to_commits_that_landed(stack: Stack, worker: Any, table: str) -> None:
    stack.gateway.control("POST", "faults", kind="answer_lost", count=2)

    for number in ("1", "2"):
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            worker.set_property(table, "number", number)
        assert worker.properties(table)["number"] == number
    assert worker.set_property(table, "number", "3").status == 200


@pytest.mark.parametrize(
    ("kind", "status", "landed"),
    [
        ("error_after", 500, True),
        ("error_before", 500, False),
        ("unavailable", 503, False),
        ("conflict", 409, False),
        ("stale_sequence", 400, False),
        ("delay", 200, True),
        ("delay_answer", 200, True),
    ],
)
def test_fault_gives_its_status_and_lands_or_not(
    stack: Stack, worker: Any, table: str, kind: str, status: int, landed: bool
) -> None:
    stack.gateway.control("POST", "faults", kind=kind, seconds=0.1)

    answer = worker.set_property(table, "kind", kind)

    assert answer.status == status
    assert (worker.properties(table).get("kind") == kind) is landed
    assert ("retry-after" in answer.headers) is (kind == "unavailable")


def test_another_status_can_be_asked_for(stack: Stack, worker: Any, table: str) -> None:
    stack.gateway.control("POST", "faults", kind="error_after", status=504)

    assert worker.set_property(table, "k", "v").status == 504


def test_late_commit_lands_after_the_client_gave_up(
    stack: Stack, worker: Any, table: str, wait_until: Callable[..., None]
) -> None:
    stack.gateway.control("POST", "faults", kind="late", seconds=1.0)

    with pytest.raises((ConnectionError, http.client.HTTPException)):
        worker.set_property(table, "late", "yes")
    before = worker.properties(table)

    assert "late" not in before
    wait_until(lambda: worker.properties(table).get("late") == "yes", "the late commit to land", 10)


def test_a_held_commit_lands_after_what_came_while_it_was_held(
    stack: Stack, worker: Any, table: str, wait_until: Callable[..., None]
) -> None:
    held = lambda: stack.gateway.control("GET", "counters")["counters"].get("fault.hold", 0)  # noqa: E731
    before = held()
    stack.gateway.control("POST", "faults", kind="hold", table=table, seconds=30)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(worker.set_property, table, "last", "held")
        wait_until(lambda: held() > before, "the commit to be held", 10)
        second = worker.set_property(table, "last", "came first")
        assert worker.properties(table)["last"] == "came first"
        stack.gateway.control("DELETE", "holds")

        assert (first.result(30).status, second.status) == (200, 200)
    assert worker.properties(table)["last"] == "held"


def test_commit_forwarded_twice_is_answered_with_a_conflict_although_it_landed(stack: Stack, worker: Any, table: str) -> None:
    stack.gateway.control("POST", "faults", kind="twice")
    column = {"id": 2, "name": "b", "required": False, "type": "long"}
    schema = {"type": "struct", "schema-id": 1, "fields": [{"id": 1, "name": "a", "required": False, "type": "long"}, column]}
    first = {"type": "assert-current-schema-id", "current-schema-id": 0}
    updates = ({"action": "add-schema", "schema": schema}, {"action": "set-current-schema", "schema-id": -1})

    answer = worker.commit(table, *updates, requirements=(first,))

    assert answer.status == 409
    assert worker.load_table(table).json()["metadata"]["current-schema-id"] == 1


def test_fault_waits_for_its_operation_table_and_turn(stack: Stack, worker: Any, table: str) -> None:
    stack.gateway.control("POST", "faults", kind="error_before", operation="load_table", table=table, skip=1)

    assert worker.set_property(table, "k", "v").status == 200
    assert worker.load_table("another").status == 404
    assert [worker.load_table(table).status for _ in range(3)] == [200, 500, 200]


def test_counters_say_what_was_forwarded(stack: Stack, worker: Any, table: str) -> None:
    stack.gateway.control("DELETE", "counters")
    stack.gateway.control("POST", "faults", kind="error_before")

    worker.set_property(table, "k", "1")
    worker.set_property(table, "k", "2")

    counters = stack.gateway.control("GET", "counters")["counters"]
    assert (counters["accepted.commit"], counters["forwarded.commit"]) == (2, 1)
    assert (counters["status.commit.200"], counters["fault.error_before"]) == (1, 1)


@pytest.mark.parametrize("payload", [{"kind": "unknown"}, {"kind": "delay", "count": 0}, {"kind": "delay", "what": 1}, {}])
def test_unknown_fault_is_refused(stack: Stack, anonymous: Any, payload: dict[str, Any]) -> None:
    assert anonymous.send("POST", "/control/faults", payload or {"kind": None}).status == 400
    with pytest.raises(StackError, match="gateway refused"):
        stack.gateway.control("POST", "faults", kind="unknown")


def test_catalog_that_is_down_is_unavailable_and_comes_back(stack: Stack, worker: Any, table: str) -> None:
    stack.rest.kill()
    down = worker.set_property(table, "k", "v")
    stack.rest.start()

    assert (down.status, down.headers["retry-after"]) == (503, "1")
    assert worker.set_property(table, "k", "v").status == 200
