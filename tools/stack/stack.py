"""A stack: the components that were asked for, started in order, described by one state file.

`Stack` serves both the command line (`up` leaves the processes running, `down` finds them by the state file) and
tests (a context manager in a folder of its own, that stops what it started).
"""

import json
import secrets
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tools.stack.component import Component
from tools.stack.errors import StackError
from tools.stack.gateway_component import GatewayComponent
from tools.stack.kafka import Kafka
from tools.stack.minio import PIPES_BUCKET, REGION, Minio
from tools.stack.paths import StatePaths
from tools.stack.ports import free_ports
from tools.stack.processes import ProcessId
from tools.stack.rest import RestFixture
from tools.stack.secure import LISTENERS

CLASSES: dict[str, type[Component]] = {component.name: component for component in (Kafka, Minio, RestFixture, GatewayComponent)}
NEEDS = {"rest": ("minio",), "gateway": ("minio", "rest")}


@dataclass(frozen=True)
class StackOptions:
    """What to start.

    `only`: names of components, what they need is added; `ports`: first port of a component by name, free ones
    where none is given; `kafka_properties` and `gateway_options` go to the process; `secure_kafka` adds listeners
    with TLS and logins, for a broker that starts for the first time; `bootstrap` creates catalog and principals.
    """

    only: tuple[str, ...] = ("kafka", "minio", "rest", "gateway")
    ports: dict[str, int] = field(default_factory=dict)
    kafka_properties: dict[str, str] = field(default_factory=dict)
    secure_kafka: bool = False
    gateway_options: tuple[str, ...] = ()
    bootstrap: bool = True

    def components(self) -> list[str]:
        """Returns the components in starting order.

        Raises:
            StackError: if a name is unknown.
        """
        wanted = set(self.only)
        if wanted - set(CLASSES):
            unknown = ", ".join(sorted(wanted - set(CLASSES)))
            raise StackError(f"unknown component `{unknown}` (expected of: {', '.join(CLASSES)})")
        for name in self.only:
            wanted.update(NEEDS.get(name, ()))
        return [name for name in CLASSES if name in wanted]

    def num_ports(self, name: str) -> int:
        """Returns how many ports a component has."""
        more = len(LISTENERS) if self.secure_kafka and name == Kafka.name else 0
        return CLASSES[name].num_ports + more


class Stack:
    """The components of one state folder."""

    def __init__(self, state: Path, options: StackOptions | None = None) -> None:
        """Describes a stack; an existing state file gives ports and credentials, so that clients keep theirs."""
        self.paths = StatePaths(state.absolute())
        self.options = options or StackOptions()
        self._lock = threading.Lock()
        self._state: dict[str, Any] = self._load()
        ports = self._choose_ports()
        keys: dict[str, str] = self._state["credentials"]
        password = keys["kafka_password"] if self.options.secure_kafka else None
        self.kafka = Kafka(self.paths, ports.get("kafka", [0, 0]), self.options.kafka_properties, password)
        self.minio = Minio(self.paths, ports.get("minio", [0, 0]), keys["s3_access"], keys["s3_secret"])
        self.rest = RestFixture(self.paths, ports.get("rest", [0]), self.minio.endpoint)
        root = (keys["root_id"], keys["root_secret"])
        self.gateway = GatewayComponent(self.paths, ports.get("gateway", [0]), self.rest, root)
        self.gateway.options = list(self.options.gateway_options)
        for component in self.all():
            component.on_change = self.save
            if component.name in self._state["processes"]:
                component.process = ProcessId(**self._state["processes"][component.name])

    def all(self) -> list[Component]:
        """Returns all components, started or not, in starting order."""
        return [self.kafka, self.minio, self.rest, self.gateway]

    def _choose_ports(self) -> dict[str, list[int]]:
        """Returns the ports of all components: given ones, else those of the state file, else free ones."""
        ports: dict[str, list[int]] = self._state["ports"]
        free = free_ports(sum(self.options.num_ports(name) for name in CLASSES))
        for name in self.options.components():
            count = self.options.num_ports(name)
            first = self.options.ports.get(name)
            if first is not None and name not in self._state["processes"]:
                ports[name] = [first + index for index in range(count)]
            elif len(ports.setdefault(name, [])) < count:
                ports[name] += [free.pop() for _ in range(count - len(ports[name]))]
        return ports

    def _load(self) -> dict[str, Any]:
        names = ("s3_access", "s3_secret", "root_id", "root_secret", "kafka_password")
        credentials = {name: secrets.token_hex(12) for name in names}
        if self.paths.file.exists():
            loaded: dict[str, Any] = json.loads(self.paths.file.read_text(encoding="utf-8"))
            return loaded | {"credentials": credentials | loaded["credentials"]}
        return {"ports": {}, "processes": {}, "credentials": credentials}

    def save(self) -> None:
        """Writes the state file, readable by its owner only; called at every start and stop of a component."""
        with self._lock:
            alive = {part.name: asdict(part.process) for part in self.all() if part.process is not None}
            self._state["processes"] = alive
            self.paths.root.mkdir(parents=True, exist_ok=True)
            draft = self.paths.file.with_suffix(".draft")
            draft.touch(mode=0o600)
            draft.write_text(json.dumps(self._state, indent=1), encoding="utf-8")
            draft.replace(self.paths.file)

    def start(self) -> None:
        """Starts what was asked for, the broker beside the others; on failure stops what this call had started.

        Raises:
            StackError: if a component does not come up.
        """
        wanted = [part for part in self.all() if part.name in self.options.components()]
        missing = [part for part in wanted if not part.is_alive()]
        chains: list[list[Component]] = [
            [part for part in missing if part.name == Kafka.name],
            [part for part in missing if part.name != Kafka.name],
        ]
        try:
            with ThreadPoolExecutor(len(chains)) as pool:
                runs = [pool.submit(self._start_chain, chain) for chain in chains]
            for run in runs:
                run.result()
        except BaseException:
            for part in reversed(missing):
                part.stop()
            raise

    def _start_chain(self, chain: list[Component]) -> None:
        for component in chain:
            component.start()
        if self.gateway in chain and self.options.bootstrap:
            self.gateway.bootstrap()

    def stop(self) -> None:
        """Stops all components, last started first."""
        for component in reversed(self.all()):
            component.stop()

    def remove(self) -> None:
        """Stops all components and deletes their data."""
        self.stop()
        shutil.rmtree(self.paths.root, ignore_errors=True)

    def __enter__(self) -> Self:
        """Starts the stack."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stops the stack; its folder stays, for whoever wants to read the logs."""
        self.stop()

    def environment(self, principal: str = "worker") -> dict[str, str]:
        """Returns the variables that point the project at this stack, only those whose component runs."""
        return dict(self._environment(principal))

    def _environment(self, principal: str) -> Iterator[tuple[str, str]]:
        if self.kafka.is_alive():
            yield "KAFKA_BOOTSTRAP_SERVERS", self.kafka.bootstrap_servers
        if self.gateway.is_alive():
            yield "POLARIS_URI", self.gateway.catalog_uri
            if self.paths.credentials.exists():
                client_id, client_secret = self.gateway.credentials(principal)
                yield "POLARIS_CLIENT_ID", client_id
                yield "POLARIS_CLIENT_SECRET", client_secret
            yield "POLARIS_CATALOG", "lakehouse"
            yield "POLARIS_NAMESPACE", "streamify"
        if self.minio.is_alive():
            yield "AWS_ENDPOINT_URL", self.minio.endpoint.url
            yield "AWS_ACCESS_KEY_ID", self.minio.endpoint.access_key
            yield "AWS_SECRET_ACCESS_KEY", self.minio.endpoint.secret_key
            yield "AWS_REGION", REGION
            yield "DAGSTER_PIPES_BUCKET", PIPES_BUCKET
