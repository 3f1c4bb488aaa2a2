"""A webhook and a mail server on loopback, on free ports, that remember what they got; both can refuse or hang."""

import base64
import json
import ssl
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

NO_MORE_THAN_SECONDS = 60


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@dataclass
class Webhook:
    """Takes JSON by POST and answers with `codes`, one after the other, then 200. Hangs while `lets_go` is clear."""

    got: list[dict[str, object]] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    lets_go: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Webhook":
        self.lets_go.set()
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.headers["Content-Type"] == "application/json"
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                webhook.lets_go.wait(NO_MORE_THAN_SECONDS)
                code = webhook.codes.pop(0) if webhook.codes else 200
                if code == 200:
                    webhook.got.append(body)
                self.send_response(code)
                if 300 <= code < 400:
                    self.send_header("Location", webhook.url)
                self.end_headers()
                self.wfile.write(b"ok" if code == 200 else b"invalid_token\nmore")

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = _Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hooks/s3cret"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.lets_go.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def texts(self) -> list[str]:
        """What was posted."""
        return [str(body["text"]) for body in self.got]


@dataclass(frozen=True)
class Mail:
    """An e-mail as it came."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes
    encrypted: bool
    user: str | None


@dataclass
class MailServer:
    """Takes e-mails by SMTP; with a certificate it offers STARTTLS, with a login it demands it."""

    certificate: Path | None = None
    login: tuple[str, str] | None = None
    refuses: bool = False
    got: list[Mail] = field(default_factory=list)

    def __enter__(self) -> "MailServer":
        server = self

        class Handler(StreamRequestHandler):
            def handle(self) -> None:
                session = _Session(server, self)
                try:
                    with suppress(OSError):
                        session.talk()
                finally:
                    session.close()

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Session:
    def __init__(self, server: MailServer, handler: StreamRequestHandler) -> None:
        self.server = server
        self.socket = handler.request
        self.lines = self.socket.makefile("rb")
        self.encrypted = False
        self.user: str | None = None
        self.sender = ""
        self.recipients: list[str] = []

    def close(self) -> None:
        self.lines.close()
        self.socket.close()

    def say(self, *lines: str) -> None:
        for number, line in enumerate(lines, start=1):
            mark = " " if number == len(lines) else "-"
            self.socket.sendall(f"{line[:3]}{mark}{line[4:]}\r\n".encode())

    def talk(self) -> None:
        self.say("220 ready")
        while line := self.lines.readline().decode().strip():
            verb, _, rest = line.partition(" ")
            if verb.upper() == "QUIT":
                self.say("221 bye")
                return
            answer = getattr(self, f"on_{verb.lower()}", None)
            if answer is None:
                self.say("502 not here")
            else:
                answer(rest)

    def on_ehlo(self, _: str) -> None:
        offers = ["250 here"]
        if self.server.certificate and not self.encrypted:
            offers.append("250 STARTTLS")
        if self.server.login:
            offers.append("250 AUTH PLAIN")
        self.say(*offers)

    def on_starttls(self, _: str) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(str(self.server.certificate))
        self.say("220 go ahead")
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.lines = self.socket.makefile("rb")
        self.encrypted = True

    def on_auth(self, rest: str) -> None:
        _, user, password = base64.b64decode(rest.split()[1]).decode().split("\0")
        if (user, password) == self.server.login:
            self.user = user
            self.say("235 welcome")
        else:
            self.say("535 wrong password")

    def on_mail(self, rest: str) -> None:
        if self.server.refuses or (self.server.login and not self.user):
            self.say("451 come back later")
            return
        self.sender, self.recipients = rest.partition("<")[2].partition(">")[0], []
        self.say("250 ok")

    def on_rset(self, _: str) -> None:
        self.say("250 ok")

    def on_rcpt(self, rest: str) -> None:
        self.recipients.append(rest.partition("<")[2].partition(">")[0])
        self.say("250 ok")

    def on_data(self, _: str) -> None:
        self.say("354 end with a dot")
        lines = []
        while (line := self.lines.readline().rstrip(b"\r\n")) != b".":
            lines.append(line)
        self.server.got.append(Mail(self.sender, tuple(self.recipients), b"\n".join(lines), self.encrypted, self.user))
        self.say("250 taken")


def make_certificate(folder: Path) -> Path:
    """Makes a certificate for 127.0.0.1 with its key, in one PEM file."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-subj", "/CN=mail", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    both = folder / "both.pem"
    both.write_text(key.read_text(encoding="utf-8") + certificate.read_text(encoding="utf-8"), encoding="utf-8")
    return both
