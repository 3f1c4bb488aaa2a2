"""What one Pipes session has heard so far, and the delivery of single lines to Dagster's message handler.

Our writer numbers its messages, beside the protocol's own fields: `writer` (a random id of the process) and `seq` (1, 2, 3 …).
By them a repeated message is passed over and a missing one is a loss; other writers' messages are taken as they come.

Guarantees:
* whatever a worker writes, `MessageSink.deliver` does not raise. A line Dagster cannot take costs one warning and is counted;
  the lines after it are still read. Dagster's own readers die on such a line and the run still succeeds;
* neither the event log nor this process grows with the length of a session: log lines have a budget (`budget.py`), progress
  messages replace each other, and of other custom messages the first thousand are kept.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import dagster as dg
from dagster_pipes import PIPES_PROTOCOL_VERSION_FIELD

from dagster_project.resources.pipes.budget import LineBudget

MAX_QUOTED_CHARS = 200
MAX_CUSTOM_MESSAGES = 1_000
MAX_LOSSES = 20
ERROR_LEVELS = frozenset({"ERROR", "CRITICAL", "FATAL"})
QUIET_LEVELS = frozenset({"DEBUG", "INFO"})
# A thousand lines at any speed, then ten a minute; errors and warnings have as many of their own, not to wait behind chatter.
BURST_LINES = 1_000
SECONDS_PER_LINE = 6.0


class RunLog(Protocol):
    """The part of `context.log` that readers use."""

    def info(self, msg: object, /, *args: object) -> None:
        """Logs at level INFO."""

    def warning(self, msg: object, /, *args: object) -> None:
        """Logs at level WARNING."""


@dataclass(frozen=True)
class Progress:
    """What the worker last said of itself.

    Attributes:
        payload: rows, lag and so on, as the worker wrote them.
        heard_at: when it arrived, by `time.monotonic`.
    """

    payload: Mapping[str, Any]
    heard_at: float


@dataclass
class SessionJournal:
    """Facts about a session that decide whether its step may succeed.

    Written by the reader's thread, read after it ended; only `progress` may be read at any time.
    """

    num_messages: int = 0
    num_refused: int = 0
    opened: bool = False
    closed: bool = False
    closed_exception: str | None = None
    last_error: str | None = None
    progress: Progress | None = None
    losses: list[str] = field(default_factory=list)
    unreadable_since_last: int = 0
    last_seq_by_writer: dict[str, int] = field(default_factory=dict)

    @property
    def error(self) -> str | None:
        """The worker's own words for its failure: the exception it closed with, else its last message of level ERROR."""
        return self.closed_exception or self.last_error

    def add_loss(self, text: str) -> None:
        """Takes note that messages may be missing; the first of many losses tell enough."""
        if len(self.losses) < MAX_LOSSES:
            self.losses.append(text)

    def is_repeated(self, message: dict[str, Any]) -> bool:
        """Returns whether `message` was seen before; a gap before it is a loss, unless unreadable lines explain it."""
        writer, seq = message.get("writer"), message.get("seq")
        if not isinstance(writer, str) or not isinstance(seq, int):
            return False
        last = self.last_seq_by_writer.get(writer, 0)
        if seq <= last:
            return True
        num_missing = seq - last - 1 - self.unreadable_since_last
        if num_missing > 0:
            self.add_loss(f"{num_missing} messages before number {seq} of writer {writer} are missing")
        self.last_seq_by_writer[writer] = seq
        self.unreadable_since_last = 0
        return False

    def note(self, message: dict[str, Any]) -> None:
        """Takes note of a message that is well-formed at the level of the envelope."""
        self.num_messages += 1
        params = message.get("params") or {}
        match message.get("method"):
            case "opened":
                self.opened = True
            case "closed":
                self.closed = True
                self.closed_exception = _exception_text(params)
            case "log" if isinstance(params, dict) and str(params.get("level", "")).upper() in ERROR_LEVELS:
                self.last_error = str(params.get("message", ""))


def _line_budget() -> LineBudget:
    return LineBudget(BURST_LINES, SECONDS_PER_LINE)


@dataclass
class MessageSink:
    """Delivers lines to the handler of one session; used by one thread."""

    handler: dg.PipesMessageHandler
    log: RunLog
    journal: SessionJournal
    quiet_lines: LineBudget = field(default_factory=_line_budget)
    loud_lines: LineBudget = field(default_factory=_line_budget)
    num_custom: int = 0

    def deliver(self, line: bytes) -> None:
        """Delivers one line without its newline; blank lines and JSON that is no Pipes message are passed over."""
        if not line.strip():
            return
        try:
            message = json.loads(line)
        except ValueError as error:
            self.journal.unreadable_since_last += 1
            self._refuse(line, error)
            return
        if not isinstance(message, dict) or PIPES_PROTOCOL_VERSION_FIELD not in message:
            self._refuse(line, ValueError("not a Pipes message"))
            return
        if self.journal.is_repeated(message):
            return
        try:
            self.journal.note(message)
            if self._is_wanted(message):
                self.handler.handle_message(message)  # type: ignore[arg-type]  # checked by the handler itself
        except Exception as error:  # noqa: BLE001  # the handler raises anything, from KeyError to CheckError
            self._refuse(line, error)

    def finish(self) -> None:
        """Tells what was left out at the end of the session."""
        for budget in (self.quiet_lines, self.loud_lines):
            self._tell_left_out(budget)
        if (num_dropped := self.num_custom - MAX_CUSTOM_MESSAGES) > 0:
            self.log.warning("[pipes] kept the first %d custom messages, dropped %d", MAX_CUSTOM_MESSAGES, num_dropped)

    def _is_wanted(self, message: Mapping[str, Any]) -> bool:
        """Returns whether Dagster's handler is to have the message; it keeps all it gets for as long as the step lives."""
        params = message.get("params")
        match message.get("method"):
            case "log" if isinstance(params, dict):
                return self._has_room(str(params.get("level", "INFO")))
            case "report_custom_message" if isinstance(params, dict):
                payload = params.get("payload")
                if isinstance(payload, dict) and payload.get("streamify") == "progress":
                    self.journal.progress = Progress(payload, time.monotonic())
                    return False
                self.num_custom += 1
                return self.num_custom <= MAX_CUSTOM_MESSAGES
        return True

    def _has_room(self, level: str) -> bool:
        budget = self.quiet_lines if level.upper() in QUIET_LEVELS else self.loud_lines
        if not budget.take():
            return False
        self._tell_left_out(budget)
        return True

    def _tell_left_out(self, budget: LineBudget) -> None:
        if number := budget.take_left_out():
            name = "messages of level INFO or lower" if budget is self.quiet_lines else "warnings and errors"
            self.log.warning("[pipes] left out %d %s of the worker: too many for the event log", number, name)

    def _refuse(self, line: bytes, error: Exception) -> None:
        self.journal.num_refused += 1
        if not self._has_room("WARNING"):
            return
        quoted = line[:MAX_QUOTED_CHARS].decode("utf-8", errors="replace")
        cut = "…" if len(line) > MAX_QUOTED_CHARS else ""
        self.log.warning("[pipes] ignored a broken message (%s: %s): `%s%s`", type(error).__name__, error, quoted, cut)


def _exception_text(params: object) -> str | None:
    exception = params.get("exception") if isinstance(params, dict) else None
    if not isinstance(exception, dict):
        return None
    texts = [str(exception.get("message", "")).strip()]
    cause = exception.get("cause")
    while isinstance(cause, dict) and len(texts) < 10:
        texts.append(f"caused by: {str(cause.get('message', '')).strip()}")
        cause = cause.get("cause")
    return "\n  ".join(texts)
