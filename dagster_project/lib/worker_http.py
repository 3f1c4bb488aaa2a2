"""One question to the worker's HTTP endpoint, answered or refused within the time the caller has.

Guarantees: `ask` returns or raises within its timeout whatever the other side does, also where a name is resolved for ever or
an answer comes byte by byte; no proxy of the environment stands between Dagster and the worker.
"""

import json
import queue
import socket
import threading
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

MAX_BODY_BYTES = 4 * 1024 * 1024


class WorkerUnreachableError(RuntimeError):
    """The worker's endpoint gave no answer that can be used."""


class WorkerNotListeningError(WorkerUnreachableError):
    """Nothing listens at the address: no worker runs there, or it has no endpoint."""


class WorkerSilentError(WorkerUnreachableError):
    """Something takes the connection but does not answer in time: the worker hangs."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer.

    Attributes:
        code: status code.
        body: text.
    """

    code: int
    body: str

    @property
    def says_yes(self) -> bool:
        """Whether the code is 2xx."""
        return 200 <= self.code < 300

    @property
    def brief(self) -> str:
        """Code and the first line, for messages."""
        line = (self.body.strip().splitlines() or [""])[0]
        return f"{self.code} {line[:200]}".rstrip()


def ask(url: str, path: str, timeout: float, *, body: object = None, post: bool = False, token: str | None = None) -> Answer:
    """Asks the endpoint at `url`.

    Args:
        url: base address, such as `http://127.0.0.1:9464`.
        path: path with its query.
        timeout: seconds for everything together.
        body: sent as JSON, if not None.
        post: POST instead of GET.
        token: sent as bearer token.

    Raises:
        WorkerNotListeningError: nothing listens there.
        WorkerSilentError: no whole answer within `timeout`.
        WorkerUnreachableError: the address is none.
    """
    answers: queue.SimpleQueue[Answer | Exception] = queue.SimpleQueue()

    def exchange() -> None:
        try:
            answers.put(_exchange(url, path, timeout, body, "POST" if post else "GET", token))
        except Exception as error:  # noqa: BLE001  # goes on in the thread that asked
            answers.put(error)

    # Socket timeouts hold per read and not at all for names, so the deadline is this thread's.
    threading.Thread(target=exchange, daemon=True).start()
    try:
        answer = answers.get(timeout=timeout)
    except queue.Empty:
        raise WorkerSilentError(f"{url}{path} did not answer within {timeout:g} s") from None
    if isinstance(answer, Answer):
        return answer
    raise _in_our_words(answer, url, path, timeout) from answer


def _exchange(url: str, path: str, timeout: float, body: object, method: str, token: str | None) -> Answer:
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise WorkerUnreachableError(f"`{url}` is no address of a worker: expected `http://host:port`")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if body is not None:
        headers["Content-Type"] = "application/json"
    kind = HTTPSConnection if address.scheme == "https" else HTTPConnection
    connection = kind(address.hostname, address.port, timeout=timeout)
    try:
        connection.request(method, address.path.rstrip("/") + path, None if body is None else json.dumps(body), headers)
        with connection.getresponse() as response:
            return Answer(response.status, response.read(MAX_BODY_BYTES).decode("utf-8", errors="replace"))
    finally:
        connection.close()


def _in_our_words(error: Exception, url: str, path: str, timeout: float) -> Exception:
    if isinstance(error, TimeoutError):
        return WorkerSilentError(f"{url}{path} did not answer within {timeout:g} s")
    if isinstance(error, ConnectionResetError | BrokenPipeError | HTTPException):
        return WorkerSilentError(f"{url}{path} broke off its answer: {type(error).__name__} {error}")
    if isinstance(error, OSError | socket.gaierror):
        return WorkerNotListeningError(f"nothing listens at {url}: {error.strerror or error}")
    if isinstance(error, ValueError):  # a port that is no number
        return WorkerUnreachableError(f"`{url}` is no address of a worker: {error}")
    return error
