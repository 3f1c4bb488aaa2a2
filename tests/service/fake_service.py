"""A stand-in for the always-on worker, as a program: an endpoint, a log, and the misbehaviour that a test asks for.

Usage: fake_service.py FOLDER [arguments of the real worker]; with the argument `status` it prints FOLDER/tables.json.

FOLDER/behaviour.json: {"exits_with": code or null, "says": text, "ready": bool, "healthy": bool, "deaf": bool}. Every start
appends its process id and arguments to FOLDER/starts.
"""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(sys.argv[1])
ARGUMENTS = sys.argv[2:]


def behaviour():
    """What the test wants now."""
    return json.loads((FOLDER / "behaviour.json").read_text(encoding="utf-8"))


def status():
    """The answer of /v1/status."""
    return {
        "version": "0.1.0",
        "writer_id": f"writer-{os.getpid()}",
        "host": "here",
        "pid": os.getpid(),
        "started_at_ms": 0,
        "dagster_run_id": None,
        "ready": behaviour()["ready"],
        "lag_records": 0,
        "lag_seconds": 0.0,
        "headroom_seconds": None,
        "tables": [],
    }


class Endpoint(BaseHTTPRequestHandler):
    """The worker's endpoint."""

    def do_GET(self):
        wanted = behaviour()
        answers = {
            "/healthz": (200 if wanted["healthy"] else 503, "ok" if wanted["healthy"] else "the brokers are away"),
            "/readyz": (200 if wanted["ready"] else 503, "ok"),
            "/v1/status": (200, json.dumps(status())),
        }
        self._answer(*answers[self.path])

    def do_POST(self):
        self._answer(202, "{}")
        os.kill(os.getpid(), signal.SIGTERM)

    def _answer(self, code, text):
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        """Keeps the log for what a worker says."""


def say(text):
    """Writes a line of the log."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main():
    """Runs until SIGTERM."""
    if ARGUMENTS == ["status"]:
        sys.stdout.write((FOLDER / "tables.json").read_text(encoding="utf-8"))
        return 0
    with (FOLDER / "starts").open("a", encoding="utf-8") as starts:
        starts.write(json.dumps([os.getpid(), ARGUMENTS]) + "\n")
    wanted = behaviour()
    if wanted["says"]:
        say(wanted["says"])
    if wanted["exits_with"] is not None:
        return wanted["exits_with"]
    ended = threading.Event()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if wanted["deaf"] else lambda *_: ended.set())
    host, _, port = os.environ["STREAMIFY_METRICS_LISTEN"].rpartition(":")
    server = ThreadingHTTPServer((host, int(port)), Endpoint)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"{server.server_address[0]}:{server.server_address[1]}"
    say(f"2026-01-01T00:00:01Z  INFO metrics endpoint listens address={address}")
    ended.wait()
    say("drained")
    return 0


if __name__ == "__main__":
    sys.exit(main())
