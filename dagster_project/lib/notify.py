"""Who is told of an alert: the log always, a webhook and an e-mail address where the environment names them.

Guarantees: a notifier raises `NotifyError` or has delivered; its message never holds a secret. Each of its steps has a timeout;
the bound for all of them together is the outbox's (`outbox.py`).
"""

import smtplib
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import make_msgid
from http.client import HTTPException
from json import dumps
from typing import IO, Protocol
from urllib.parse import urlsplit

STEP_SECONDS = 10.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class NotifyError(RuntimeError):
    """A message was not delivered."""


@dataclass(frozen=True)
class Message:
    """What people read."""

    subject: str
    text: str


class Notifier(Protocol):
    """A way to tell people."""

    @property
    def name(self) -> str:
        """What it is, one word."""

    def send(self, message: Message) -> None:
        """Delivers a message.

        Raises:
            NotifyError: it was not delivered, as far as is known.
        """


class Log(Protocol):
    """The part of a logger that is used here."""

    def warning(self, msg: str, /, *args: object) -> None:
        """Logs a warning."""

    def error(self, msg: str, /, *args: object) -> None:
        """Logs an error."""


@dataclass(frozen=True)
class LogNotifier:
    """Writes to the log of the sensor's tick."""

    log: Log
    name: str = "log"

    def send(self, message: Message) -> None:
        """Logs it as a warning."""
        self.log.warning("%s\n%s", message.subject, message.text)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET, without its message."""

    def redirect_request(self, *_: object) -> None:
        """Follows none."""


@dataclass(frozen=True)
class WebhookNotifier:
    """Posts JSON, `{"text": …}`, as Slack, Mattermost and Rocket.Chat take it. The address is a secret."""

    url: str
    name: str = "webhook"
    step_seconds: float = STEP_SECONDS

    def send(self, message: Message) -> None:
        """Posts it; any answer but 2xx is a failure."""
        host = urlsplit(self.url).hostname
        body = dumps({"text": f"{message.subject}\n{message.text}"}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"}, method="POST")
        opener = urllib.request.build_opener(_NoRedirects)
        try:
            with opener.open(request, timeout=self.step_seconds) as answer:
                answer.read(1)
        except urllib.error.HTTPError as error:
            with error:
                raise NotifyError(f"webhook at `{host}` answered {error.code}: {_first_line(error)}") from None
        except (OSError, HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise NotifyError(f"webhook at `{host}` is out of reach: {str(reason) or type(error).__name__}") from None


@dataclass(frozen=True)
class EmailNotifier:
    """Sends an e-mail through an SMTP server."""

    recipients: Sequence[str]
    sender: str
    host: str
    port: int
    starttls: bool
    user: str | None = None
    password: str | None = None
    name: str = "e-mail"
    step_seconds: float = STEP_SECONDS

    def send(self, message: Message) -> None:
        """Hands it to the server; a recipient that the server refuses is a failure only if it refuses all."""
        mail = EmailMessage()
        mail["Subject"] = " ".join(message.subject.split())
        mail["From"], mail["To"] = self.sender, ", ".join(self.recipients)
        mail["Message-ID"] = make_msgid(domain=self.sender.rpartition("@")[2] or None)
        mail.set_content(message.text)
        try:
            with smtplib.SMTP(self.host, self.port, timeout=self.step_seconds) as server:
                if self.starttls:
                    server.starttls(context=ssl.create_default_context())
                if self.user:
                    server.login(self.user, self.password or "")
                server.send_message(mail)
        except smtplib.SMTPAuthenticationError as error:
            raise NotifyError(f"SMTP server `{self.host}:{self.port}` refused the login ({error.smtp_code})") from None
        except (OSError, smtplib.SMTPException) as error:
            raise NotifyError(f"SMTP server `{self.host}:{self.port}`: {str(error) or type(error).__name__}") from None


def notifiers_of(environ: Mapping[str, str], log: Log) -> tuple[Sequence[Notifier], Sequence[str]]:
    """Returns the notifiers that the environment asks for, and what is wrong with its other wishes."""
    notifiers: list[Notifier] = [LogNotifier(log)]
    problems = []
    for make in (_webhook, _email):
        try:
            made = make(environ)
        except ValueError as error:
            problems.append(str(error))
        else:
            notifiers += [made] if made else []
    return notifiers, problems


def _webhook(environ: Mapping[str, str]) -> Notifier | None:
    url = environ.get("STREAMIFY_ALERT_WEBHOOK")
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("invalid `STREAMIFY_ALERT_WEBHOOK`: expected an address that begins with https:// or http://")
    return WebhookNotifier(url)


def _email(environ: Mapping[str, str]) -> Notifier | None:
    recipients = [one.strip() for one in environ.get("STREAMIFY_ALERT_EMAIL_TO", "").split(",") if one.strip()]
    if not recipients:
        return None
    host = environ.get("STREAMIFY_SMTP_HOST") or "localhost"
    starttls = (environ.get("STREAMIFY_SMTP_STARTTLS") or "false").lower()
    user = environ.get("STREAMIFY_SMTP_USER") or None
    port = environ.get("STREAMIFY_SMTP_PORT") or ("587" if starttls == "true" else "25")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"invalid `STREAMIFY_SMTP_PORT`: `{port}` is no port")
    if starttls not in ("true", "false"):
        raise ValueError(f"invalid `STREAMIFY_SMTP_STARTTLS`: `{starttls}` is neither true nor false")
    if user and starttls == "false" and host not in LOOPBACK:
        raise ValueError("`STREAMIFY_SMTP_USER` without `STREAMIFY_SMTP_STARTTLS=true` would send the password in the clear")
    return EmailNotifier(
        recipients=recipients,
        sender=environ.get("STREAMIFY_SMTP_FROM") or f"streamify@{socket.gethostname()}",
        host=host,
        port=int(port),
        starttls=starttls == "true",
        user=user,
        password=environ.get("STREAMIFY_SMTP_PASSWORD"),
    )


def _first_line(answer: IO[bytes]) -> str:
    text = answer.read(300).decode("utf-8", errors="replace").strip()
    return text.splitlines()[0] if text else "nothing"
