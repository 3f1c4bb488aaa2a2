"""What one Pipes session has heard so far, and the delivery of single lines to Dagster's message handler.

Our writer numbers its messages, beside the protocol's own fields: `writer` (a random id of the process) and `seq` (1, 2, 3 …).
By them a repeated message is passed over and a missing one is a loss; other writers' messages are taken as they come.

Guarantees: whatever a worker writes, `MessageSink.deliver` does not raise. A line Dagster cannot take costs one warning and
is counted; the lines after it are still read. Dagster's own readers die on such a line and the run still succeeds.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import dagster as dg
from dagster_pipes import PIPES_PROTOCOL_VERSION_FIELD

MAX_QUOTED_CHARS = 200
ERROR_LEVELS = frozenset({"ERROR", "CRITICAL", "FATAL"})


class RunLog(Protocol):
    """The part of `context.log` that readers use."""

    def info(self, msg: object, /, *args: object) -> None:
        """Logs at level INFO."""

    def warning(self, msg: object, /, *args: object) -> None:
        """Logs at level WARNING."""


@dataclass
class SessionJournal:
    """Facts about a session that decide whether its step may succeed. Written by the reader's thread, read after it ended."""

    num_messages: int = 0
    num_refused: int = 0
    opened: bool = False
    closed: bool = False
    closed_exception: str | None = None
    last_error: str | None = None
    losses: list[str] = field(default_factory=list)
    unreadable_since_last: int = 0
    last_seq_by_writer: dict[str, int] = field(default_factory=dict)

    @property
    def error(self) -> str | None:
        """The worker's own words for its failure: the exception it closed with, else its last message of level ERROR."""
        return self.closed_exception or self.last_error

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
            self.losses.append(f"{num_missing} messages before number {seq} of writer {writer} are missing")
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


@dataclass
class MessageSink:
    """Delivers lines to the handler of one session."""

    handler: dg.PipesMessageHandler
    log: RunLog
    journal: SessionJournal
    on_first_message: Callable[[], None] | None = None

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
            self.handler.handle_message(message)  # type: ignore[arg-type]  # checked by the handler itself
        except Exception as error:  # noqa: BLE001  # the handler raises anything, from KeyError to CheckError
            self._refuse(line, error)

    def _refuse(self, line: bytes, error: Exception) -> None:
        self.journal.num_refused += 1
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
