"""Messages through a local file, one JSON object per line.

A line counts once its newline has arrived: a line seen half (page boundary, two writes) is kept until the rest comes.
What stands after the last newline when the worker has ended is delivered if it is a whole message, else refused.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dagster_project.resources.pipes.reader import PROGRESS_PARAMS, SessionMessageReader
from dagster_project.resources.pipes.session import MessageSink, RunLog

READ_SIZE_BYTES = 1 << 20


class LineBuffer:
    """Cuts a stream of bytes into lines; holds back what has no newline yet."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Takes the next bytes, returns the lines they complete, without newlines."""
        scanned = len(self._pending)
        self._pending += data
        end = self._pending.rfind(b"\n", scanned)
        if end < 0:
            return []
        complete = bytes(self._pending[:end])
        del self._pending[: end + 1]
        return complete.split(b"\n")

    def rest(self) -> bytes:
        """Returns and forgets what came after the last newline."""
        rest = bytes(self._pending)
        self._pending.clear()
        return rest


class FileMessageReader(SessionMessageReader):
    """Tails a file of its own in a temporary folder.

    Args:
        log: the run's log.
        poll_seconds: pause between two looks at the file.
    """

    def __init__(self, log: RunLog, poll_seconds: float = 0.1) -> None:
        super().__init__(log)
        self._poll_seconds = poll_seconds
        self._path: Path | None = None

    @contextmanager
    def open_channel(self) -> Iterator[dict[str, object]]:
        """Creates the file; it goes with its folder at the end of the session."""
        with tempfile.TemporaryDirectory(prefix="streamify-pipes-") as folder:
            self._path = Path(folder) / "messages"
            self._path.touch()
            params = {"path": str(self._path), "include_stdio_in_messages": False, "streamify_min_interval_ms": 0}
            yield {**params, **PROGRESS_PARAMS}

    def read_all(self, sink: MessageSink) -> None:
        """Reads to the end of the file that is reached after the worker ended."""
        if self._path is None:
            raise RuntimeError("read_all needs an open channel")
        lines = LineBuffer()
        with self._path.open("rb") as file:
            while True:
                ended = self.worker_has_ended  # before reading: what was written until now is then surely read
                self._read_available(file, lines, sink)
                if ended:
                    break
                self.pause(self._poll_seconds)
        sink.deliver(lines.rest())

    @staticmethod
    def _read_available(file: BinaryIO, lines: LineBuffer, sink: MessageSink) -> None:
        while data := file.read(READ_SIZE_BYTES):
            for line in lines.feed(data):
                sink.deliver(line)

    def no_messages_debug_text(self) -> str:
        """Says where messages were expected."""
        return "Attempted to read messages from a local temporary file."
