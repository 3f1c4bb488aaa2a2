"""Apache Kafka: one process that is broker and controller (KRaft), from the Maven jars."""

import base64
import contextlib
import socket
import struct
import subprocess
import uuid
from typing import ClassVar

from tools.stack import build
from tools.stack.component import Component
from tools.stack.errors import StackError
from tools.stack.paths import JAVA, StatePaths
from tools.stack.ports import LOOPBACK
from tools.stack.secure import LISTENERS, SecureListeners

# Small, single-node, quick to start; topics nobody created get four partitions, as in the embedded broker.
PROPERTIES = {
    "node.id": "1",
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "num.partitions": "4",
    # After a crash the node registers again only when its old session has ended; the default is 9 s.
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "1000",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "log.cleaner.dedupe.buffer.size": "16777216",
    "num.network.threads": "2",
    "num.io.threads": "2",
}

#: A JVM that does little and ends soon.
BRIEF = ("-Xmx128m", "-XX:TieredStopAtLevel=1")


class Kafka(Component):
    """One Kafka node."""

    name: ClassVar[str] = "kafka"
    num_ports: ClassVar[int] = 2

    def __init__(
        self, paths: StatePaths, ports: list[int], properties: dict[str, str] | None = None, password: str | None = None
    ) -> None:
        """Describes the node.

        Args:
            paths: where it lives.
            ports: broker and controller, then those of the secure listeners.
            properties: go over the defaults.
            password: of the user of the secure listeners; there are none without. The user is known to a broker that has
                one from its first start only.
        """
        super().__init__(paths, ports)
        self.properties = properties or {}
        secure_ports = ports[self.num_ports :]
        self.secure = SecureListeners(self.data / "secure", secure_ports, password) if password else None
        self._libraries = ""

    @property
    def bootstrap_servers(self) -> str:
        """The address that clients use."""
        return f"{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Fetches the jars, writes the configuration, formats the log folder once."""
        self._libraries = str(build.jars("kafka"))
        self.data.mkdir(parents=True, exist_ok=True)
        if self.secure:
            self.secure.prepare()
        lines = [f"{key}={value}\n" for key, value in (self._all_properties() | self.properties).items()]
        self._write("server.properties", lines)
        if not (self.data / "logs" / "meta.properties").exists():
            self._format()

    def _all_properties(self) -> dict[str, str]:
        broker, controller = (f"{LOOPBACK}:{port}" for port in self.ports[: self.num_ports])
        listeners = [f"PLAINTEXT://{broker}"]
        properties = PROPERTIES | {"controller.quorum.voters": f"1@{controller}", "log.dirs": str(self.data / "logs")}
        if self.secure:
            listeners += self.secure.urls()
            protocols = ",".join(f"{name}:{protocol}" for name, protocol in LISTENERS.items())
            properties["listener.security.protocol.map"] += f",{protocols}"
            properties |= self.secure.properties()
        properties["listeners"] = ",".join([*listeners, f"CONTROLLER://{controller}"])
        properties["advertised.listeners"] = ",".join(listeners)
        return properties

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        arguments = ["format", f"--cluster-id={cluster}", "--config=server.properties"]
        if self.secure:
            arguments += self.secure.format_arguments()
        # The tool takes its arguments from a file, one a line: a password on the command line could be read by everybody.
        self._write("format.arguments", [f"{argument}\n" for argument in arguments])
        self.tool("kafka.tools.StorageTool", "@format.arguments")

    def _write(self, name: str, lines: list[str]) -> None:
        file = self.data / name
        file.touch(mode=0o600)
        file.write_text("".join(lines), encoding="utf-8")

    def command(self) -> list[str]:
        """Returns the command line."""
        return [*self._java("-Xms256m", "-Xmx768m"), "kafka.Kafka", "server.properties"]

    def _java(self, *options: str) -> list[str]:
        java = build.program("java", "openjdk-17-jre-headless")
        logging = f"-Dlog4j2.configurationFile={JAVA / 'log4j2.properties'}"
        return [java, *options, "-XX:+UseSerialGC", logging, "-cp", f"{self._libraries}/*"]

    def tool(self, main_class: str, *arguments: str, java: tuple[str, ...] = BRIEF) -> str:
        """Runs a tool of Kafka's own, for example `org.apache.kafka.tools.TopicCommand`; returns its output.

        Args:
            main_class: the tool.
            arguments: its arguments.
            java: options of its JVM.

        Raises:
            StackError: if it fails.
        """
        command = [*self._java(*java), main_class, *arguments]
        result = subprocess.run(command, cwd=self.data, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise StackError(f"`{main_class}` failed: {(result.stdout + result.stderr).strip()[-1000:]}")
        return result.stdout

    def is_ready(self) -> bool:
        """Returns whether the broker lists itself in its metadata, that is, is registered and unfenced."""
        with contextlib.suppress(OSError, struct.error):
            return num_brokers(self.port) == 1
        return False


def num_brokers(port: int) -> int:
    """Returns the number of brokers in the answer to a Metadata request (version 1, no topics)."""
    client = b"stack"
    message = struct.pack(">hhih", 3, 1, 1, len(client)) + client + struct.pack(">i", 0)
    with socket.create_connection((LOOPBACK, port), timeout=2.0) as connection:
        connection.sendall(struct.pack(">i", len(message)) + message)
        answer = b""
        while len(answer) < 12:
            chunk = connection.recv(4096)
            if not chunk:
                raise OSError("connection closed")
            answer += chunk
    return int(struct.unpack_from(">i", answer, 8)[0])
