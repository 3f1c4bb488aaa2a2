"""Notifiers against a real HTTP server and a real mail server; the outbox with servers that refuse or hang."""

import email
import email.policy
import socket
import time
from dataclasses import dataclass, field

import pytest

from dagster_project.lib.alerts import Alert, Known, Problem
from dagster_project.lib.notify import EmailNotifier, Message, NotifyError, WebhookNotifier, notifiers_of
from dagster_project.lib.outbox import MAX_ATTEMPTS, Memory, Undelivered, deliver
from dagster_project.lib.patience import Background, Deadline
from tests.receivers import MailServer, Webhook, make_certificate

MESSAGE = Message("[Streamify] `t` is late", "What: `t` is late ä\nNext: start the worker")
ALERT = Alert(Problem("lag/t", "`t` is late", "table `t`", "start the worker"))


@dataclass
class Log:
    """A log to look into."""

    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def warning(self, msg, /, *args):
        self.warnings.append(msg % args)

    def error(self, msg, /, *args):
        self.errors.append(msg % args)


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def webhook():
    with Webhook() as server:
        yield server


@pytest.fixture
def mail_server():
    with MailServer() as server:
        yield server


def nobody_s_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def mailer(server, **options):
    settings = {"recipients": ["a@example.org", "b@example.org"], "sender": "s@example.org", "host": "127.0.0.1"}
    return EmailNotifier(**{**settings, "port": server.port, "starttls": False, **options})


def test_a_webhook_gets_a_text_as_slack_wants_it(webhook):
    WebhookNotifier(webhook.url).send(MESSAGE)

    assert webhook.got == [{"text": f"{MESSAGE.subject}\n{MESSAGE.text}"}]


@pytest.mark.parametrize("code", [302, 403, 500])
def test_any_other_answer_is_a_failure_that_does_not_tell_the_secret(webhook, code):
    webhook.codes = [code]

    with pytest.raises(NotifyError) as caught:
        WebhookNotifier(webhook.url).send(MESSAGE)

    assert str(caught.value) == f"webhook at `127.0.0.1` answered {code}: invalid_token"


def test_a_webhook_out_of_reach_is_a_failure():
    with pytest.raises(NotifyError, match=r"^webhook at `127.0.0.1` is out of reach: .*[Rr]efused"):
        WebhookNotifier(f"http://127.0.0.1:{nobody_s_port()}/s3cret").send(MESSAGE)


def test_an_e_mail_reaches_all_recipients(mail_server):
    mailer(mail_server).send(MESSAGE)

    [got] = mail_server.got
    parsed = email.message_from_bytes(got.data, policy=email.policy.default)
    assert (got.sender, got.recipients, got.encrypted) == ("s@example.org", ("a@example.org", "b@example.org"), False)
    assert (parsed["Subject"], parsed["To"], parsed["From"]) == (MESSAGE.subject, "a@example.org, b@example.org", "s@example.org")
    assert parsed["Message-ID"].endswith("@example.org>")
    assert parsed.get_content().strip() == MESSAGE.text


def test_with_starttls_and_login_the_mail_is_encrypted(tmp_path, clean_environment):
    certificate = make_certificate(tmp_path)
    clean_environment.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    with MailServer(certificate, login=("me", "pass word")) as server:
        mailer(server, starttls=True, user="me", password="pass word").send(MESSAGE)
        with pytest.raises(NotifyError, match=r"refused the login \(535\)") as caught:
            mailer(server, starttls=True, user="me", password="guess").send(MESSAGE)

    assert [(mail.encrypted, mail.user) for mail in server.got] == [(True, "me")]
    assert "guess" not in str(caught.value)


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(tmp_path):
    with MailServer(make_certificate(tmp_path)) as server, pytest.raises(NotifyError, match="CERTIFICATE_VERIFY_FAILED"):
        mailer(server, starttls=True).send(MESSAGE)


def test_a_mail_server_without_starttls_gets_nothing(mail_server):
    with pytest.raises(NotifyError, match="STARTTLS"):
        mailer(mail_server, starttls=True).send(MESSAGE)

    assert mail_server.got == []


def test_a_refused_mail_is_a_failure(mail_server):
    mail_server.refuses = True

    with pytest.raises(NotifyError, match=f"SMTP server `127.0.0.1:{mail_server.port}`: .*come back later"):
        mailer(mail_server).send(MESSAGE)


def test_the_environment_chooses_the_notifiers(log):
    assert [one.name for one in notifiers_of({}, log)[0]] == ["log"]
    settings = {
        "STREAMIFY_ALERT_WEBHOOK": "https://hooks.example.org/x",
        "STREAMIFY_ALERT_EMAIL_TO": "a@example.org, b@example.org",
        "STREAMIFY_SMTP_HOST": "mail.example.org",
        "STREAMIFY_SMTP_STARTTLS": "true",
        "STREAMIFY_SMTP_USER": "me",
        "STREAMIFY_SMTP_PASSWORD": "secret",
    }

    notifiers, problems = notifiers_of(settings, log)

    assert [one.name for one in notifiers] == ["log", "webhook", "e-mail"]
    assert (notifiers[2].recipients, notifiers[2].port, notifiers[2].user) == (["a@example.org", "b@example.org"], 587, "me")
    assert problems == []


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"STREAMIFY_ALERT_WEBHOOK": "file:///etc/passwd"}, "invalid `STREAMIFY_ALERT_WEBHOOK`"),
        ({"STREAMIFY_SMTP_PORT": "smtp"}, "invalid `STREAMIFY_SMTP_PORT`: `smtp` is no port"),
        ({"STREAMIFY_SMTP_STARTTLS": "yes"}, "invalid `STREAMIFY_SMTP_STARTTLS`: `yes` is neither true nor false"),
        ({"STREAMIFY_SMTP_USER": "me", "STREAMIFY_SMTP_HOST": "mail"}, "would send the password in the clear"),
    ],
)
def test_a_wrong_setting_is_named_and_the_others_work(log, settings, problem):
    notifiers, [found] = notifiers_of({"STREAMIFY_ALERT_EMAIL_TO": "a@example.org", **settings}, log)

    assert problem in found
    assert "log" in [one.name for one in notifiers]


def test_an_alert_goes_everywhere_in_one_tick(webhook, mail_server, log):
    environ = {
        "STREAMIFY_ALERT_WEBHOOK": webhook.url,
        "STREAMIFY_ALERT_EMAIL_TO": "a@example.org",
        "STREAMIFY_SMTP_HOST": "127.0.0.1",
        "STREAMIFY_SMTP_PORT": str(mail_server.port),
    }

    left = deliver([ALERT], [], environ, log, Deadline(30), Background())

    assert left == []
    assert webhook.texts == ["[Streamify] `t` is late\nWhat: `t` is late\nWhere: table `t`\nNext: start the worker"]
    assert len(mail_server.got) == 1
    assert log.warnings == webhook.texts
    assert log.errors == []


def test_what_a_server_refuses_is_tried_again_at_the_next_ticks_and_then_given_up(webhook, log):
    environ = {"STREAMIFY_ALERT_WEBHOOK": webhook.url}
    background = Background()
    webhook.codes = [500] * MAX_ATTEMPTS

    left = deliver([ALERT], [], environ, log, Deadline(30), background)
    for attempt in range(1, MAX_ATTEMPTS):
        assert [(one.notifier, one.attempts) for one in left] == [("webhook", attempt)]
        left = deliver([], left, environ, log, Deadline(30), background)

    assert left == []
    assert webhook.got == []
    [given_up] = log.errors
    assert given_up.startswith("alert given up after 3 attempts by webhook: webhook at `127.0.0.1` answered 500: invalid_token")
    assert "`t` is late" in given_up


def test_a_second_attempt_that_works_ends_it(webhook, log):
    environ = {"STREAMIFY_ALERT_WEBHOOK": webhook.url}
    webhook.codes = [503]
    left = deliver([ALERT], [], environ, log, Deadline(30), Background())

    assert deliver([], left, environ, log, Deadline(30), Background()) == []
    assert len(webhook.texts) == 1


def test_a_server_that_hangs_holds_no_tick_and_gets_the_message_once(webhook, log):
    environ = {"STREAMIFY_ALERT_WEBHOOK": webhook.url}
    background = Background()
    webhook.lets_go.clear()
    before = time.monotonic()
    left = deliver([ALERT], [], environ, log, Deadline(0.1), background)
    took = time.monotonic() - before
    assert took < 20
    assert [one.attempts for one in left] == [1]
    assert "goes on in the background" in log.warnings[-1]

    webhook.lets_go.set()
    left = deliver([], left, environ, log, Deadline(30), background)

    assert left == []
    assert len(webhook.texts) == 1, "the first attempt was taken up, not repeated"


def test_the_same_alert_does_not_wait_twice_and_an_unwanted_notifier_is_forgotten(webhook, log):
    environ = {"STREAMIFY_ALERT_WEBHOOK": webhook.url}
    webhook.codes = [500, 500]
    left = deliver([ALERT], [], environ, log, Deadline(30), Background())

    left = deliver([ALERT], left, environ, log, Deadline(30), Background())
    assert [(one.notifier, one.attempts) for one in left] == [("webhook", 2)]
    assert deliver([], left, {}, log, Deadline(30), Background()) == []


def test_a_cursor_is_read_back_and_a_broken_one_begins_anew():
    memory = Memory({"k": Known("w", "t", None, 3.0, False)}, (Undelivered("i", "webhook", "s", "t", 2),), {"f": 1.5})

    assert Memory.from_json(memory.to_json()) == memory
    for broken in (None, "", "{", "[]", '{"known": {"k": 1}}', '{"waiting": [{"x": 1}]}'):
        assert Memory.from_json(broken) == Memory()
