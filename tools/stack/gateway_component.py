"""The gateway as a component: the strict front of the REST fixture, and its bootstrap by `polaris-config`."""

import json
import os
import subprocess
import sys
from typing import Any, ClassVar

from tools.stack.component import Component
from tools.stack.errors import StackError
from tools.stack.http import Answer, answers_ok, call
from tools.stack.minio import WAREHOUSE_BUCKET
from tools.stack.paths import BOOTSTRAP, PROJECT, StatePaths
from tools.stack.progress import step
from tools.stack.rest import RestFixture

REALM = "POLARIS"


class GatewayComponent(Component):
    """The process that clients take for a Polaris server."""

    name: ClassVar[str] = "gateway"

    def __init__(self, paths: StatePaths, ports: list[int], fixture: RestFixture, root: tuple[str, str]) -> None:
        """Describes the gateway; `root` are client id and secret of the root principal."""
        super().__init__(paths, ports)
        self.fixture = fixture
        self.root = root
        self.options: list[str] = []

    @property
    def url(self) -> str:
        """The server's base URL; management is below `/api/management/v1`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def catalog_uri(self) -> str:
        """The catalog's base URL, as in `POLARIS_URI`."""
        return f"{self.url}/api/catalog"

    def prepare(self) -> None:
        """Needs nothing but this interpreter."""

    def command(self) -> list[str]:
        """Returns the command line."""
        ports = ["--port", str(self.port), "--upstream-port", str(self.fixture.port)]
        return [sys.executable, "-m", "tools.stack.gateway", *ports, "--state", str(self.data), *self.options]

    def environment(self) -> dict[str, str]:
        """Returns the root credentials, in the form that Polaris takes."""
        credentials = ",".join([REALM, *self.root])
        return {"POLARIS_BOOTSTRAP_CREDENTIALS": credentials, "PYTHONPATH": str(PROJECT)}

    def is_ready(self) -> bool:
        """Returns whether the gateway answers."""
        return answers_ok(f"{self.url}/control/health")

    def bootstrap(self) -> None:
        """Creates catalog, namespace and principals by the project's own bootstrap, unless that was done.

        Raises:
            StackError: if the bootstrap fails.
        """
        store = self.fixture.store
        environment = os.environ | {
            "POLARIS_ROOT_CLIENT_ID": self.root[0],
            "POLARIS_ROOT_CLIENT_SECRET": self.root[1],
            "STREAMIFY_S3_ENDPOINT": store.url,
            "STREAMIFY_S3_REGION": store.region,
            "STREAMIFY_S3_BUCKET": WAREHOUSE_BUCKET,
        }
        arguments = ["--url", self.url, "--realm", REALM, "--credentials", str(self.paths.credentials)]
        with step("creating catalog, namespace and principals"):
            result = subprocess.run(
                [sys.executable, str(BOOTSTRAP), *arguments],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        if result.returncode != 0:
            raise StackError(f"catalog bootstrap failed:\n{result.stderr.strip()[-3000:]}")

    def credentials(self, principal: str) -> tuple[str, str]:
        """Returns client id and secret of `worker`, `maintenance` or `analyst`."""
        entry = json.loads(self.paths.credentials.read_text(encoding="utf-8"))["principals"][principal]
        return entry["client_id"], entry["client_secret"]

    def control(self, method: str, what: str, **payload: object) -> Any:  # noqa: ANN401 - what the gateway says
        """Calls a control endpoint, for example `control("POST", "faults", kind="answer_lost", count=3)`.

        Raises:
            StackError: if the gateway refuses.
        """
        answer: Answer = call(method, f"{self.url}/control/{what}", payload or None)
        if answer.status != 200:
            raise StackError(f"gateway refused `{what}`: {answer.body.decode(errors='replace')}")
        return answer.json()
