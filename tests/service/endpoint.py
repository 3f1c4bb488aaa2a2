"""An endpoint in the test's own process that answers as the test says."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STATUS: Mapping[str, object] = {
    "version": "0.1.0",
    "writer_id": "11111111-1111-1111-1111-111111111111",
    "host": "stream-1",
    "pid": 4711,
    "started_at_ms": 1_790_000_000_000,
    "dagster_run_id": None,
    "ready": True,
    "lag_records": 12,
    "lag_seconds": 0.9,
    "headroom_seconds": 604_800.0,
    "tables": [
        {
            "topic": "listen_events",
            "table": "bronze_listen_events",
            "rows": 100,
            "dead_letters": 1,
            "commits": 4,
            "snapshot_id": 9_007_199_254_740_993,
            "committed_at_ms": 1_790_000_001_000,
            "freshness_seconds": 1.5,
            "partitions": [{"partition": 0, "epoch": 0, "next_offset": 101, "end_offset": 113, "lag_records": 12}],
        }
    ],
}

TABLES: Mapping[str, object] = {
    "at_ms": 1_790_000_002_000,
    "lag_records": 12,
    "lag_seconds": None,
    "headroom_seconds": None,
    "topics": [
        {
            "topic": "listen_events",
            "table": "bronze_listen_events",
            "table_exists": True,
            "epoch": 0,
            "lag_records": 12,
            "lag_seconds": None,
            "headroom_seconds": None,
            "retention_ms": None,
            "snapshot_id": 81,
            "committed_at_ms": 1_790_000_001_000,
            "partitions": [
                {"partition": 0, "next_offset": 101, "begin_offset": 0, "end_offset": 113, "lag_records": 12},
                {"partition": 1, "next_offset": None, "begin_offset": 0, "end_offset": 0, "lag_records": 0},
            ],
            "leases": [
                {
                    "writer_id": "22222222-2222-2222-2222-222222222222",
                    "host": "stream-2",
                    "pid": 99,
                    "partitions": None,
                    "since_ms": 1_790_000_000_000,
                    "valid_until_ms": 1_790_000_090_000,
                    "is_valid": True,
                }
            ],
        }
    ],
}


@dataclass
class Endpoint:
    """Answers by path; a list is used up from the front, its last answer stays. `asked` holds (method, path, body, token)."""

    url: str = ""
    answers: dict[str, list[tuple[int, object]]] = field(default_factory=dict)
    asked: list[tuple[str, str, object, str | None]] = field(default_factory=list)

    def says(self, path: str, *answers: tuple[int, object]) -> "Endpoint":
        """Sets the answers of `path`: code and text, or code and what becomes JSON."""
        self.answers[path] = list(answers)
        return self

    def bodies(self, path: str) -> list[object]:
        """What was sent to `path`."""
        return [body for _, asked, body, _ in self.asked if asked.partition("?")[0] == path]

    def answer(self, path: str) -> tuple[int, str]:
        """Takes the next answer."""
        left = self.answers.get(path.partition("?")[0], [(404, "not here")])
        code, said = left.pop(0) if len(left) > 1 else left[0]
        return code, said if isinstance(said, str) else json.dumps(said)


@contextmanager
def endpoint() -> Iterator[Endpoint]:
    """An endpoint on a free port."""
    made = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = self.headers.get("Authorization")
            made.asked.append((self.command, self.path, json.loads(body) if body else None, token))
            code, text = made.answer(self.path)
            self.send_response(code)
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = _do

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
