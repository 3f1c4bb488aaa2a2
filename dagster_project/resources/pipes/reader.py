"""The common part of our message readers: one thread, one session, nothing lost in silence.

Differences to Dagster's own threaded readers, each a fault seen in them:
* the cursor lives in the session, not on the reader, so a second session starts at its own beginning;
* the thread's death is remembered in the journal, and the client fails the step;
* after the worker's end the reader drains until `closed` or until there is nothing more to come;
* what was delivered is dropped, so memory does not grow with the session (`session.py`).
"""

import threading
import time
import traceback
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dagster as dg

from dagster_project.resources.pipes.results import Report
from dagster_project.resources.pipes.session import MessageSink, RunLog, SessionJournal

JOIN_TIMEOUT_SECONDS = 120.0
# Asks our workers for progress messages; other writers pass over the key.
PROGRESS_PARAMS = {"streamify_progress_interval_ms": 10_000}


class SessionMessageReader(dg.PipesMessageReader):
    """A message reader for exactly one session.

    Args:
        log: the run's log, `context.log`; gets one warning per broken message and per outage.
    """

    def __init__(self, log: RunLog) -> None:
        self.log = log
        self.journal = SessionJournal()
        self._worker_ended = threading.Event()
        self._handler: dg.PipesMessageHandler | None = None

    @contextmanager
    def read_messages(self, handler: dg.PipesMessageHandler) -> Iterator[dict[str, object]]:
        """Reads in a thread until the block ends, then drains.

        Raises:
            RuntimeError: if the reader is used for a second session.
        """
        if self._handler is not None:
            raise RuntimeError(f"a {type(self).__name__} reads one session only; make a new one")
        self._handler = handler
        sink = MessageSink(handler, self.log, self.journal)
        with self.open_channel() as params:
            thread = threading.Thread(target=self._run, args=(sink,), name=type(self).__name__, daemon=True)
            thread.start()
            try:
                yield params
            finally:
                self._worker_ended.set()
                thread.join(JOIN_TIMEOUT_SECONDS)
                if thread.is_alive():
                    self.journal.add_loss(f"the message reader did not end within {JOIN_TIMEOUT_SECONDS:.0f} s")

    @property
    def expected_writer_count(self) -> int:
        """One worker writes. Said here too, because the base class's own answer warns that the question is in preview."""
        return 1

    def reported_results(self) -> Sequence[Report]:
        """Returns what the worker reported so far; complete once the session is closed."""
        return self._handler.get_reported_results() if self._handler is not None else []

    @property
    def worker_has_ended(self) -> bool:
        """True once nothing new can be written: what is there now is all there is."""
        return self._worker_ended.is_set()

    def discard(self) -> None:
        """Removes what the session left in the channel; called once everything is read and the step has succeeded."""

    def pause(self, seconds: float) -> None:
        """Waits before the next poll; the worker's end cuts the wait short, but not below 100 ms."""
        if self._worker_ended.wait(seconds):
            time.sleep(min(seconds, 0.1))

    @abstractmethod
    @contextmanager
    def open_channel(self) -> Iterator[dict[str, object]]:
        """Yields the parameters that tell the worker where to write."""

    @abstractmethod
    def read_all(self, sink: MessageSink) -> None:
        """Reads until everything the worker wrote has been delivered."""

    def _run(self, sink: MessageSink) -> None:
        try:
            self.read_all(sink)
            sink.finish()
        except Exception as error:  # noqa: BLE001  # whatever it is, the journal must know
            self.journal.add_loss(f"the message reader died: {type(error).__name__}: {error}")
            self.log.warning("[pipes] the message reader died:\n%s", traceback.format_exc())
