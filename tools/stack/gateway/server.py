"""HTTP for the gateway: one thread per client connection, kept alive, on loopback only."""

import http.server
import socket
import urllib.parse

from tools.stack.gateway.catalog import AnswerLost
from tools.stack.gateway.refusal import Refusal, Reply
from tools.stack.gateway.service import Gateway, Request

MAX_BODY_BYTES = 10 * 1024 * 1024
LOOPBACK = "127.0.0.1"


class Handler(http.server.BaseHTTPRequestHandler):
    """Reads a request, lets the gateway answer it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # status line, headers and body leave in one packet
    server: "GatewayServer"

    def _answer(self) -> None:
        body = self._read_body()
        if body is None:
            return
        parts = urllib.parse.urlsplit(self.path)
        headers = {name.title(): value for name, value in self.headers.items()}
        request = Request(self.command, parts.path, parts.query, headers, body)
        try:
            reply = self.server.gateway.handle(request)
        except Refusal as refusal:
            reply = refusal.reply
        except AnswerLost:
            self._abort()
            return
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            reply = Refusal(400, "BadRequestException", f"Malformed request: {error!r}").reply
        self._send(reply)

    def _read_body(self) -> bytes | None:
        if self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            self._send(Refusal(411, "LengthRequired", "Send the body with a Content-Length").reply)
            return None
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY_BYTES:
            self.close_connection = True
            self._send(Refusal(413, "ContentTooLarge", f"Body of {length} bytes is over the limit of 10 MiB").reply)
            self._drain(length)
            return None
        return self.rfile.read(length)

    def _drain(self, length: int) -> None:
        """Reads what the client still sends, so that it gets the answer and not a reset."""
        while length > 0:
            chunk = self.rfile.read(min(length, 65536))
            if not chunk:
                return
            length -= len(chunk)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status != 204:
            self.send_header("Content-Length", str(len(reply.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)
        self.wfile.flush()

    def _abort(self) -> None:
        """Closes the connection without a byte of an answer."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _answer

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing: counters say what happened, and tokens must not reach a file."""


class GatewayServer(http.server.ThreadingHTTPServer):
    """Serves a gateway."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, gateway: Gateway) -> None:
        """Listens on loopback."""
        self.gateway = gateway
        super().__init__((LOOPBACK, port), Handler)
