"""A stack: the components that were asked for, started in order, described by one state file.

`Stack` serves both the command line (`up` leaves the processes running, `down` finds them by the state file) and
tests (a context manager in a folder of its own, that stops what it started).
"""

import contextlib
import json
import secrets
import shutil
from collections.abc import Iterator
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

CLASSES: dict[str, type[Component]] = {
    component.name: component for component in (Kafka, Minio, RestFixture, GatewayComponent)
}
NEEDS = {"rest": ("minio",), "gateway": ("minio", "rest")}


@dataclass(frozen=True)
class StackOptions:
    """What to start.

    `only`: names of components, what they need is added; `ports`: first port of a component by name, free ones
    where none is given; `kafka_properties` and `gateway_options` go to the process; `bootstrap` creates catalog
    and principals.
    """

    only: tuple[str, ...] = ("kafka", "minio", "rest", "gateway")
    ports: dict[str, int] = field(default_factory=dict)
    kafka_properties: dict[str, str] = field(default_factory=dict)
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


class Stack:
    """The components of one state folder."""

    def __init__(self, state: Path, options: StackOptions | None = None) -> None:
        """Describes a stack; an existing state file gives ports and credentials, so that clients keep theirs."""
        self.paths = StatePaths(state.absolute())
        self.options = options or StackOptions()
        self._state: dict[str, Any] = self._load()
        ports: dict[str, list[int]] = self._state["ports"]
        for name in self.options.components():
            runs = name in self._state["processes"]
            if name not in ports or (name in self.options.ports and not runs):
                ports[name] = self._choose_ports(name)
        keys: dict[str, str] = self._state["credentials"]
        self.kafka = Kafka(self.paths, ports.get("kafka", [0, 0]), self.options.kafka_properties)
        self.minio = Minio(self.paths, ports.get("minio", [0, 0]), keys["s3_access"], keys["s3_secret"])
        self.rest = RestFixture(self.paths, ports.get("rest", [0]), self.minio.endpoint)
        root = (keys["root_id"], keys["root_secret"])
        self.gateway = GatewayComponent(self.paths, ports.get("gateway", [0]), self.rest, root)
        self.gateway.options = list(self.options.gateway_options)
        for component in self.all():
            if component.name in self._state["processes"]:
                component.process = ProcessId(**self._state["processes"][component.name])

    def all(self) -> list[Component]:
        """Returns all components, started or not, in starting order."""
        return [self.kafka, self.minio, self.rest, self.gateway]

    def _choose_ports(self, name: str) -> list[int]:
        count = CLASSES[name].num_ports
        first = self.options.ports.get(name)
        return free_ports(count) if first is None else [first + index for index in range(count)]

    def _load(self) -> dict[str, Any]:
        if self.paths.file.exists():
            loaded: dict[str, Any] = json.loads(self.paths.file.read_text(encoding="utf-8"))
            return loaded
        names = ("s3_access", "s3_secret", "root_id", "root_secret")
        credentials = {name: secrets.token_hex(12) for name in names}
        return {"ports": {}, "processes": {}, "credentials": credentials}

    def save(self) -> None:
        """Writes the state file, readable by its owner only."""
        alive = {part.name: asdict(part.process) for part in self.all() if part.process is not None}
        self._state["processes"] = alive
        self.paths.root.mkdir(parents=True, exist_ok=True)
        draft = self.paths.file.with_suffix(".draft")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(self._state, indent=1), encoding="utf-8")
        draft.replace(self.paths.file)

    def start(self) -> None:
        """Starts what was asked for; on failure stops what this call had started.

        Raises:
            StackError: if a component does not come up.
        """
        with contextlib.ExitStack() as undo:
            for name in self.options.components():
                component = next(part for part in self.all() if part.name == name)
                if not component.is_alive():
                    undo.callback(self._undo, component)
                    component.start()
                self.save()
            if "gateway" in self.options.components() and self.options.bootstrap:
                self.gateway.bootstrap()
            undo.pop_all()

    def _undo(self, component: Component) -> None:
        component.stop()
        self.save()

    def stop(self) -> None:
        """Stops all components, last started first."""
        for component in reversed(self.all()):
            component.stop()
        if self.paths.file.exists():
            self.save()

    def remove(self) -> None:
        """Stops all components and deletes their data."""
        self.stop()
        shutil.rmtree(self.paths.root, ignore_errors=True)

    def __enter__(self) -> Self:
        """Starts the stack."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
