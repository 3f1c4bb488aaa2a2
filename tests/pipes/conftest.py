"""What the tests of readers and client share."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest


@dataclass
class RecordingLog:
    """A run's log that remembers."""

    infos: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def info(self, msg, /, *args):
        """Remembers an information."""
        self.infos.append(msg % args)

    def warning(self, msg, /, *args):
        """Remembers a warning."""
        self.warnings.append(msg % args)


@dataclass
class RecordingHandler:
    """Dagster's message handler as far as readers use it; refuses the payload `POISON`."""

    payloads: list[object] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)

    def handle_message(self, message):
        """Remembers a message."""
        payload = (message["params"] or {}).get("payload")
        if payload == "POISON":
            raise TypeError("unexpected keyword")
        self.methods.append(message["method"])
        if message["method"] == "report_custom_message":
            self.payloads.append(payload)
        self.arrived.set()

    def get_reported_results(self):
        """Nothing is reported in these tests."""
        return []


@pytest.fixture
def log() -> RecordingLog:
    """A log to look into."""
    return RecordingLog()


@pytest.fixture
def handler() -> RecordingHandler:
    """A handler to look into."""
    return RecordingHandler()


@pytest.fixture
def message() -> Callable[..., str]:
    """`message(method, **params)`: a message without its newline."""

    def build(method: str, **params: object) -> str:
        return json.dumps({"__dagster_pipes_version": "0.1", "method": method, "params": params})

    return build


@pytest.fixture
def custom(message) -> Callable[[object], str]:
    """`custom(payload)`: a custom message."""
    return lambda payload: message("report_custom_message", payload=payload)
