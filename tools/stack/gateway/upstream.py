"""Connections to the fixture: one per gateway thread, kept alive, renewed before it may have gone stale.

A request is never repeated here: whether a commit that got no answer was applied is for the client to find out.
"""

import http.client
import threading
import time

from tools.stack.gateway.refusal import Refusal, Reply

IDLE_SECONDS = 5.0  # below the fixture's idle timeout of 30 s, so that a kept connection is never half closed
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


class Upstream:
    """The fixture."""

    def __init__(self, host: str, port: int) -> None:
        """Describes the fixture; connects at the first request."""
        self.host = host
        self.port = port
        self._local = threading.local()

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is not None and time.monotonic() - self._local.used < IDLE_SECONDS:
            return connection
        if connection is not None:
            connection.close()
        connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        try:
            connection.connect()
        except OSError as error:
            message = f"The catalog's backend is down: {error}"
            raise Refusal(503, "ServiceUnavailableException", message, {"Retry-After": "1"}) from error
        self._local.connection = connection
        return connection

    def send(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> Reply:
        """Forwards one request.

        Raises:
            Refusal: 503 if the fixture is down (surely not applied), 502 if it died on the way (perhaps applied).
        """
        connection = self._connection()
        try:
            connection.request(method, target, body=body or None, headers=headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._local.connection = None
            raise Refusal(502, "ServiceFailureException", f"No answer from the backend: {error}") from error
        self._local.used = time.monotonic()
        kept = {name: value for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP}
        return Reply(answer.status, content, kept)
