"""One stack of real components for the tests of this folder, and a small client of the catalog's REST API."""

import re
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tools.stack import Stack, StackOptions
from tools.stack.gateway_component import GatewayComponent
from tools.stack.http import Answer, call, request

OTHER_REALM = "OTHER"
COLUMN = {"id": 1, "name": "a", "required": False, "type": "long"}
SCHEMA = {"type": "struct", "schema-id": 0, "fields": [COLUMN]}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """S3 store, REST fixture and gateway with a bootstrapped catalog; no broker."""
    options = StackOptions(only=("gateway",), gateway_options=("--extra-realm", OTHER_REALM))
    with Stack(tmp_path_factory.mktemp("stack"), options) as running:
        yield running


@dataclass
class Client:
    """A client of the gateway that does only what it is told: tests choose every header."""

    gateway: GatewayComponent
    token: str = ""

    def log_in(self, client_id: str, secret: str, scope: str | None = "PRINCIPAL_ROLE:ALL", **headers: str) -> Answer:
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
        if scope is not None:
            form["scope"] = scope
        body = urllib.parse.urlencode(form).encode()
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        answer = request("POST", f"{self.gateway.catalog_uri}/v1/oauth/tokens", body, headers)
        if answer.status == 200:
            self.token = answer.json()["access_token"]
        return answer

    def send(self, method: str, path: str, payload: object = None, **headers: str) -> Answer:
        """`path` begins after `/api/catalog/v1/`, or with a slash for another API; `_` in header names is a dash."""
        url = f"{self.gateway.url}{path}" if path.startswith("/") else f"{self.gateway.catalog_uri}/v1/{path}"
        sent = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return call(method, url, payload, sent | {name.replace("_", "-"): value for name, value in headers.items()})

    def create_table(self, name: str, **fields: object) -> Answer:
        return self.send("POST", "lakehouse/namespaces/streamify/tables", {"name": name, "schema": SCHEMA, **fields})

    def load_table(self, name: str, **headers: str) -> Answer:
        return self.send("GET", f"lakehouse/namespaces/streamify/tables/{name}", **headers)

    def commit(self, name: str, *updates: dict[str, Any], requirements: tuple[dict[str, Any], ...] = ()) -> Answer:
        payload = {"requirements": list(requirements), "updates": list(updates)}
        return self.send("POST", f"lakehouse/namespaces/streamify/tables/{name}", payload)

    def set_property(self, name: str, key: str, value: str) -> Answer:
        return self.commit(name, {"action": "set-properties", "updates": {key: value}})

    def properties(self, name: str) -> dict[str, str]:
        found: dict[str, str] = self.load_table(name).json()["metadata"]["properties"]
        return found


@pytest.fixture
def anonymous(stack: Stack) -> Iterator[Client]:
    """A client that has not logged in; faults and settings of a test are forgotten after it."""
    yield Client(stack.gateway)
    stack.gateway.control("DELETE", "faults")
    stack.gateway.control("POST", "tokens", seconds=3600)


@pytest.fixture
def log_in(stack: Stack, anonymous: Client) -> Callable[[str], Client]:
    """`log_in("worker")`: a client of that principal, or of `root`."""

    def log_in_as(principal: str) -> Client:
        client = Client(stack.gateway)
        pair = stack.gateway.root if principal == "root" else stack.gateway.credentials(principal)
        assert client.log_in(*pair).status == 200
        return client

    return log_in_as


@pytest.fixture
def worker(log_in: Callable[[str], Client]) -> Client:
    """A logged-in worker."""
    return log_in("worker")


@pytest.fixture
def table(worker: Client, request: pytest.FixtureRequest) -> str:
    """The name of an empty table of this test's own."""
    name = re.sub(r"\W", "_", request.node.name)
    assert worker.create_table(name).status == 200
    return name
