"""One HTTP request with the standard library, for health checks and control calls on loopback."""

import http.client
import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """Status, headers (names in lower case) and body of an answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - what the server says
        """Returns the body as JSON."""
        return json.loads(self.body) if self.body else None


def request(
    method: str,
    url: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 30.0,
) -> Answer:
    """Sends one request on a connection of its own.

    Raises:
        OSError: if there is no answer.
        http.client.HTTPException: if the answer is cut off.
    """
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, target or "/", body=body, headers=dict(headers or {}))
        answer = connection.getresponse()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, names, answer.read())
    finally:
        connection.close()


def call(method: str, url: str, payload: object = None, headers: Mapping[str, str] | None = None) -> Answer:
    """Sends one request with a JSON body."""
    body = None if payload is None else json.dumps(payload).encode()
    return request(method, url, body, {"Content-Type": "application/json", **(headers or {})})


def answers_ok(url: str) -> bool:
    """Returns whether a GET of the URL answers with status 200."""
    try:
        return request("GET", url, timeout=2.0).status == 200
    except (OSError, http.client.HTTPException):
        return False
