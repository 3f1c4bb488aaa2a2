"""Faults on demand: which of the next requests meets which fault, and counters of what happened.

Kinds, named after what the *client* sees and whether the catalog did the work:
    answer_lost        forwarded; then the connection is closed without an answer
    error_after        forwarded; then `status` (default 500)
    error_before       not forwarded; `status` (default 500)
    unavailable        not forwarded; 503 with `Retry-After`
    conflict           not forwarded; 409
    stale_sequence     not forwarded; 400 with Polaris' text for a stale sequence number
    delay              waits `seconds`, then forwards
    hold               waits until it is released (`DELETE holds`), at most `seconds`, then forwards
    delay_answer       forwards, then waits `seconds` before the answer
    late               closes the connection at once, forwards after `seconds`: lands when nobody expects it
    twice              forwarded twice, as by a retrying proxy; the second answer is given
"""

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Any

KINDS = {
    *("answer_lost", "error_after", "error_before", "unavailable", "conflict", "stale_sequence"),
    *("delay", "hold", "delay_answer", "late", "twice"),
}


@dataclass
class Fault:
    """A fault for the next `count` requests of an operation, after letting `skip` of them pass."""

    kind: str
    operation: str = "commit"
    table: str | None = None
    count: int = 1
    skip: int = 0
    seconds: float = 1.0
    status: int = 500

    @staticmethod
    def parse(payload: dict[str, Any]) -> "Fault":
        """Reads a fault.

        Raises:
            ValueError: if a name is unknown or a number is not one.
        """
        unknown = set(payload) - set(Fault.__dataclass_fields__)
        if unknown or payload.get("kind") not in KINDS:
            raise ValueError(f"unknown fault or field in {payload}; kinds: {', '.join(sorted(KINDS))}")
        fault = Fault(**payload)
        if fault.count < 1 or fault.skip < 0 or fault.seconds < 0 or not 400 <= fault.status <= 599:
            raise ValueError(f"number out of range in {payload}")
        return fault

    def concerns(self, operation: str, table: str | None) -> bool:
        """Returns whether a request is one that this fault waits for."""
        return self.operation in {operation, "any"} and self.table in {table, None}


class Injection:
    """The waiting faults, in order, and the counters."""

    def __init__(self) -> None:
        """Starts without faults."""
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._counters: Counter[str] = Counter()
        self._released = threading.Event()

    def add(self, fault: Fault) -> None:
        """Puts a fault behind those that wait."""
        with self._lock:
            if fault.kind == "hold":
                self._released.clear()
            self._faults.append(fault)

    def hold(self, fault: Fault) -> None:
        """Returns when the requests that are held may go on, or the fault's time is over."""
        self._released.wait(fault.seconds)

    def release(self) -> None:
        """Lets all requests go on that are held, and those to come until another hold is added."""
        self._released.set()

    def take(self, operation: str, table: str | None) -> Fault | None:
        """Returns the fault that a request meets, and uses it up by one."""
        with self._lock:
            for fault in self._faults:
                if not fault.concerns(operation, table):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    return None
                fault.count -= 1
                if fault.count == 0:
                    self._faults.remove(fault)
                self._counters[f"fault.{fault.kind}"] += 1
                return fault
        return None

    def count(self, *names: str) -> None:
        """Adds one to each counter."""
        with self._lock:
            self._counters.update(names)

    def snapshot(self) -> dict[str, Any]:
        """Returns the counters and the faults that still wait."""
        with self._lock:
            waiting = [vars(fault).copy() for fault in self._faults]
            return {"counters": dict(self._counters), "faults": waiting}

    def clear(self, *, counters: bool) -> None:
        """Forgets the waiting faults, with what they hold, and, if asked, the counters."""
        self.release()
        with self._lock:
            self._faults.clear()
            if counters:
                self._counters.clear()
