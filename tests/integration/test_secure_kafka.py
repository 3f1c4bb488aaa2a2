"""Logging in to a real broker: TLS, client certificates, SCRAM and PLAIN, given by variables and by flags.

Where a login fails, the worker and the generator say why, with exit code 1, and never what the password was.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from dagster_project.lib.paths import find_binary
from tests.integration.conftest import SECONDS, TOPIC, Pipeline, event, send
from tools.prove.tables import end_offsets
from tools.stack import Stack, StackOptions
from tools.stack.certificates import Certificates
from tools.stack.secure import SecureListeners

pytestmark = pytest.mark.integration

NUM_RECORDS = 500
FIELDS = ("sessionId", "itemInSession", "userId", "firstName", "city", "lat")
# Several times what a login takes; long enough to be refused, short enough to wait for.
CONNECT_TIMEOUT = "5s"
Options = dict[str, str]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A broker of its own, with every kind of listener."""
    options = StackOptions(only=("kafka",), secure_kafka=True)
    with Stack(tmp_path_factory.mktemp("secure-kafka"), options) as running:
        yield running


@pytest.fixture(scope="module")
def secure(broker: Stack) -> SecureListeners:
    assert broker.kafka.secure is not None
    return broker.kafka.secure


@pytest.fixture(scope="module")
def filled(broker: Stack) -> None:
    """The topic with its records, written by the plain listener."""
    pipeline = Pipeline(broker.kafka.bootstrap_servers, Path())
    pipeline.create_topic(partitions=2)
    for partition in range(2):
        numbers = range(partition, NUM_RECORDS, 2)
        send(pipeline.producer(), [event(number, lat=number / 7) for number in numbers], partition)


@pytest.fixture
def pipeline(broker: Stack, filled: None, tmp_path: Path, clean_environment: pytest.MonkeyPatch) -> Pipeline:
    """The topic, and an empty warehouse; the tools of the test use the plain listener."""
    made = Pipeline(broker.kafka.bootstrap_servers, tmp_path)
    made.environment = {"STREAMIFY_HOME": str(tmp_path)}
    return made


def by_variables(options: Options) -> tuple[Options, list[str]]:
    """Gives options as environment variables; returns those and the arguments."""
    return {f"STREAMIFY_KAFKA_{key.upper().replace('.', '_')}": value for key, value in options.items()}, []


def by_flags(options: Options) -> tuple[Options, list[str]]:
    """Gives options as arguments; returns the environment variables and those."""
    return {}, [word for key, value in options.items() for word in ("--kafka-option", f"{key}={value}")]


def tls(secure: SecureListeners) -> Options:
    return {"security.protocol": "SSL", "ssl.ca.location": str(secure.certificates.authority)}


def mutual_tls(secure: SecureListeners) -> Options:
    files = secure.certificates
    certificate = {"ssl.certificate.location": str(files.client_certificate), "ssl.key.location": str(files.client_key)}
    return tls(secure) | certificate | {"ssl.key.password": secure.password}


def mutual_tls_by_keystore(secure: SecureListeners) -> Options:
    keystore = str(secure.certificates.client_keystore)
    return tls(secure) | {"ssl.keystore.location": keystore, "ssl.keystore.password": secure.password}


def login(secure: SecureListeners, mechanism: str) -> Options:
    return {"sasl.mechanism": mechanism, "sasl.username": secure.user, "sasl.password": secure.password}


def scram_over_tls(secure: SecureListeners) -> Options:
    return tls(secure) | login(secure, "SCRAM-SHA-512") | {"security.protocol": "SASL_SSL"}


def plain_over_tls(secure: SecureListeners) -> Options:
    return tls(secure) | login(secure, "PLAIN") | {"security.protocol": "SASL_SSL"}


def plain(secure: SecureListeners) -> Options:
    return login(secure, "PLAIN") | {"security.protocol": "SASL_PLAINTEXT"}


LOGINS = [
    pytest.param("SSL", tls, id="TLS"),
    pytest.param("MTLS", mutual_tls, id="mTLS"),
    pytest.param("MTLS", mutual_tls_by_keystore, id="mTLS by PKCS12"),
    pytest.param("SASL_SSL", scram_over_tls, id="TLS and SCRAM"),
    pytest.param("SASL_SSL", plain_over_tls, id="TLS and PLAIN"),
    pytest.param("SASL_PLAINTEXT", plain, id="PLAIN"),
]
GIVEN = [pytest.param(by_variables, id="by variables"), pytest.param(by_flags, id="by flags")]
Login = Callable[[SecureListeners], Options]
Give = Callable[[Options], tuple[Options, list[str]]]


def run(program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end."""
    command = [str(find_binary(program, os.environ)), *arguments]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=SECONDS, check=False)


def read(pipeline: Pipeline, servers: str, variables: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the worker to the end of the topic."""
    settings = ["--until", "caught-up", "--topics", TOPIC, "--connect-timeout", CONNECT_TIMEOUT]
    environment = pipeline.environment | {"KAFKA_BOOTSTRAP_SERVERS": servers} | dict(variables)
    return run("streamify-stream", *settings, *arguments, **environment)


def records(servers: str) -> list[dict[str, object]]:
    """Every record of the topic, read by the plain listener: its place and the compared fields."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "the test's own"})
    found = []
    for partition, end in end_offsets(servers, TOPIC).items():
        consumer.assign([TopicPartition(TOPIC, partition, 0)])
        for message in consumer.consume(end, timeout=SECONDS) if end else []:
            assert message.error() is None
            value = json.loads(message.value() or b"")
            place = {"_kafka_partition": message.partition(), "_kafka_offset": message.offset()}
            found.append(place | {field: value.get(field) for field in FIELDS})
    consumer.close()
    return found


def rows(pipeline: Pipeline) -> list[dict[str, object]]:
    """Every row of the table, in the order of the records."""
    names = ("_kafka_partition", "_kafka_offset", *FIELDS)
    table = pipeline.table().scan(selected_fields=names).to_arrow().select(names)
    return table.sort_by([(name, "ascending") for name in names[:2]]).to_pylist()


def assert_secret(password: str, *texts: str) -> None:
    assert not [text for text in texts if password in text], "the password was printed"


@pytest.mark.parametrize("give", GIVEN)
@pytest.mark.parametrize(("listener", "options"), LOGINS)
def test_the_worker_reads_every_record(
    pipeline: Pipeline, secure: SecureListeners, listener: str, options: Login, give: Give
) -> None:
    variables, arguments = give(options(secure))

    result = read(pipeline, secure.address(listener), variables, *arguments)

    assert result.returncode == 0, result.stderr
    expected = records(pipeline.servers)
    assert len(expected) >= NUM_RECORDS
    assert rows(pipeline) == expected
    assert_secret(secure.password, result.stdout, result.stderr)


def test_the_connection_of_a_group_member_logs_in_too(pipeline: Pipeline, secure: SecureListeners) -> None:
    variables, _ = by_variables(scram_over_tls(secure))

    result = read(pipeline, secure.address("SASL_SSL"), variables, "--assignment", "group", "--group-id", "secure")

    assert result.returncode == 0, result.stderr
    assert rows(pipeline) == records(pipeline.servers)
    assert_secret(secure.password, result.stdout, result.stderr)


@pytest.mark.parametrize("listener", ["SASL_SSL", "SASL_PLAINTEXT"])
def test_the_client_librarys_own_trace_does_not_show_the_password(
    pipeline: Pipeline, secure: SecureListeners, listener: str
) -> None:
    options = (scram_over_tls(secure) if listener == "SASL_SSL" else plain(secure)) | {"debug": "all"}
    variables, _ = by_variables(options)

    result = read(pipeline, secure.address(listener), variables | {"STREAMIFY_LOG": "trace", "STREAMIFY_LOG_FORMAT": "json"})

    assert result.returncode == 0, result.stderr[-3000:]
    assert "sasl.password" in result.stderr
    assert_secret(secure.password, result.stdout, result.stderr)


def unknown_authority(secure: SecureListeners) -> Options:
    """An authority that looks like the broker's, and is another."""
    other = Certificates(secure.folder / "another-authority")
    other.make(secure.password)
    return tls(secure) | {"ssl.ca.location": str(other.authority)}


def wrong_scram(secure: SecureListeners) -> Options:
    return scram_over_tls(secure) | {"sasl.password": f"not-{secure.password}"}


def wrong_plain(secure: SecureListeners) -> Options:
    return plain_over_tls(secure) | {"sasl.password": f"not-{secure.password}"}


REFUSED_LOGINS = [
    pytest.param("SASL_SSL", wrong_scram, by_variables, "invalid credentials", id="wrong password, SCRAM"),
    pytest.param("SASL_SSL", wrong_plain, by_flags, "Invalid username or password", id="wrong password, PLAIN"),
    pytest.param("SSL", unknown_authority, by_variables, "certificate verify failed", id="unknown authority"),
]
NO_CERTIFICATE = pytest.param("MTLS", tls, by_flags, "bad certificate", id="no client certificate")


@pytest.mark.parametrize(("listener", "options", "give", "reason"), [*REFUSED_LOGINS, NO_CERTIFICATE])
def test_a_refused_worker_says_why_and_keeps_the_password(
    pipeline: Pipeline, secure: SecureListeners, listener: str, options: Login, give: Give, reason: str, tmp_path: Path
) -> None:
    variables, arguments = give(options(secure))

    result = read(pipeline, secure.address(listener), variables, *arguments, "--summary-json", str(tmp_path / "summary.json"))

    assert result.returncode == 1, result.stderr
    last = result.stderr[result.stderr.index("\nerror: ") :]
    assert f"no broker answered at `{secure.address(listener)}` within 5 s (last error: " in last
    assert reason in last
    assert "STREAMIFY_KAFKA_SECURITY_PROTOCOL" in last
    assert_secret(secure.password, result.stdout, result.stderr, (tmp_path / "summary.json").read_text(encoding="utf-8"))


def test_a_name_that_the_certificate_does_not_have_is_refused(pipeline: Pipeline, secure: SecureListeners) -> None:
    address = secure.address("SSL").replace("127.0.0.1", "localhost")

    result = read(pipeline, address, by_variables(tls(secure))[0])

    assert result.returncode == 1, result.stderr
    assert "certificate verify failed" in result.stderr


def test_without_a_protocol_the_hint_names_it(pipeline: Pipeline, secure: SecureListeners) -> None:
    result = read(pipeline, secure.address("SSL"), {})

    assert result.returncode == 1, result.stderr
    assert "STREAMIFY_KAFKA_SECURITY_PROTOCOL" in result.stderr


@pytest.mark.parametrize("program", ["streamify-stream", "streamify-generate"])
def test_a_mistyped_option_is_refused_without_its_value(
    pipeline: Pipeline, secure: SecureListeners, program: str, tmp_path: Path
) -> None:
    mistyped = ["--kafka-option", f"sasl.passwrd={secure.password}", "--bootstrap-servers", secure.address("SASL_SSL")]
    arguments = ["run", *mistyped] if program == "streamify-generate" else mistyped

    result = run(program, *arguments, **pipeline.environment)

    assert result.returncode == 2, result.stderr
    assert "invalid Kafka option `sasl.passwrd`" in result.stderr
    assert_secret(secure.password, result.stdout, result.stderr)
    assert list(tmp_path.iterdir()) == [], "something was made before the settings were checked"


def generate(servers: str, variables: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the generator: a day of a few listeners, the same every time."""
    model = ["--users", "60", "--days", "1", "--start", "2026-02-23", "--json"]
    return run("streamify-generate", "run", "--bootstrap-servers", servers, *model, *arguments, **dict(variables))


@pytest.mark.parametrize("give", GIVEN)
@pytest.mark.parametrize(("listener", "options"), LOGINS)
def test_the_generator_writes_every_record(
    pipeline: Pipeline, secure: SecureListeners, listener: str, options: Login, give: Give
) -> None:
    variables, arguments = give(options(secure))

    def ends() -> dict[str, int]:
        topics = [topic for topic in pipeline.admin.list_topics(timeout=SECONDS).topics if topic.endswith("_events")]
        return {topic: sum(end_offsets(pipeline.servers, topic).values()) for topic in topics}

    before = ends()
    result = generate(secure.address(listener), variables, *arguments)

    assert result.returncode == 0, result.stderr
    assert_secret(secure.password, result.stdout, result.stderr)
    summary = json.loads(result.stdout)
    assert summary["events"] > 0
    assert sum(ends().values()) - sum(before.values()) == summary["events"]


@pytest.mark.parametrize(("listener", "options", "give", "reason"), REFUSED_LOGINS)
def test_a_refused_generator_says_why_and_keeps_the_password(
    pipeline: Pipeline, secure: SecureListeners, listener: str, options: Login, give: Give, reason: str
) -> None:
    variables, arguments = give(options(secure))

    result = generate(secure.address(listener), variables, *arguments)

    assert result.returncode == 1, result.stderr
    assert f"error: the login at `{secure.address(listener)}` failed: " in result.stderr
    assert reason in result.stderr
    assert_secret(secure.password, result.stdout, result.stderr)


def test_no_password_stands_in_the_brokers_log_or_command_line(broker: Stack, secure: SecureListeners) -> None:
    log = broker.paths.log("kafka").read_text(encoding="utf-8")

    assert_secret(secure.password, log, " ".join(broker.kafka.command()))
    for name in ("server.properties", "format.arguments"):
        assert (broker.kafka.data / name).stat().st_mode & 0o777 == 0o600, name
