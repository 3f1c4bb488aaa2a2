"""The services of the compose file as real processes: their own commands and variables, on the components of `tools/stack`.

What a container would have is taken from where compose takes it: entry point and variables from the Dockerfile, credentials from
the file that the bootstrap service writes. Nothing of the tester's shell reaches a process but PATH.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from dagster_project.lib.paths import find_binary
from tests.deploy.compose import Service, services
from tests.deploy.dockerfile import REPOSITORY, environment
from tools.stack import Stack, StackOptions
from tools.stack.ports import free_ports
from tools.stack.processes import tail, wait_until

SECONDS = 90


@dataclass
class Running:
    """The services that run, and where things are that have other addresses in containers."""

    stack: Stack
    folder: Path
    services: dict[str, Service]
    #: place in a container: place here
    places: dict[str, str]
    #: port in a container: port here
    ports: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def here(self, text: str) -> str:
        """Returns a text of the compose file with the places that are right here."""
        for there, here in self.places.items():
            text = text.replace(there, here)
        for there, here in self.ports.items():
            text = here if text == there else re.sub(rf":{there}\b", f":{here}", text)
        return text

    def argv(self, words: list[str]) -> list[str]:
        """Returns a command as it runs here."""
        programs = {"with-variables": str(REPOSITORY / "deploy" / "docker" / "with-variables.sh"), "python": sys.executable}
        return [programs.get(word) or self.here(word) for word in words]

    def environment(self, name: str) -> dict[str, str]:
        """Returns a service's variables as they are here: those of its image, then its own."""
        settings = self.services[name].settings
        of_image = environment(REPOSITORY / settings["build"]["dockerfile"]) if "dagster" in name else {}
        variables = {key: self.here(value) for key, value in (of_image | self.services[name].environment).items()}
        path = [str(Path(sys.executable).parent), self.places["/usr/local/bin"], os.environ["PATH"]]
        return variables | {"PATH": ":".join(path), "HOME": str(self.folder), "PYTHONPATH": str(REPOSITORY)}

    def start(self, name: str) -> None:
        """Starts a service and waits until its healthcheck is content.

        Raises:
            StackError: if it is not in time; the end of its log is in the text.
        """
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                self.argv(self.services[name].argv),
                env=self.environment(name),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.processes[name] = process
        wait_until(lambda: self.is_healthy(name) or process.poll() is not None, SECONDS, f"`{name}` is not healthy")
        assert process.poll() is None, f"`{name}` ended with {process.returncode}:\n{tail(log, 40)}"

    def is_healthy(self, name: str) -> bool:
        """Runs the healthcheck of a service."""
        command = self.argv(self.services[name].healthcheck)
        return subprocess.run(command, env=self.environment(name), capture_output=True, check=False).returncode == 0

    def stop(self, name: str) -> int:
        """Sends the signal that Docker sends, and returns the exit code; late is an error, as Docker would kill it."""
        process = self.processes.pop(name)
        process.terminate()
        grace = int(self.services[name].settings.get("stop_grace_period", "10s").removesuffix("s"))
        try:
            return process.wait(grace)
        finally:
            process.kill()

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """Stops a service for a while."""
        code = self.stop(name)
        assert code == 0, f"`{name}` ended with {code}"
        yield
        self.start(name)


def dagster_home(folder: Path) -> None:
    """Writes the image's instance settings, with SQLite for Postgres."""
    texts = [REPOSITORY / "dagster_project" / "dagster.yaml", REPOSITORY / "deploy" / "dagster" / "postgres.yaml"]
    settings: dict[str, Any] = yaml.safe_load("".join(file.read_text(encoding="utf-8") for file in texts))
    del settings["storage"]
    text = yaml.safe_dump(settings).replace("/var/lib/dagster", str(folder / "data"))
    (folder / "dagster.yaml").write_text(text, encoding="utf-8")


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Components, the bootstrap service, the worker and the generator; Dagster is started by whoever wants it."""
    folder = tmp_path_factory.mktemp("services")
    with Stack(tmp_path_factory.mktemp("stack"), StackOptions(bootstrap=False)) as stack:
        made = Running(stack, folder, services(_values(stack)), *_places_and_ports(stack, folder))
        try:
            made.start("polaris-bootstrap")
            # The worker before its topics exist, as in the first `up`.
            made.start("worker")
            made.start("generator")
            yield made
        finally:
            for process in made.processes.values():
                process.terminate()
            for process in made.processes.values():
                process.wait(SECONDS)


def _values(stack: Stack) -> Mapping[str, str]:
    """What `.env` would say: the secrets, more listeners than a demo needs, and a worker that commits each second."""
    return {
        "AWS_ACCESS_KEY_ID": stack.minio.endpoint.access_key,
        "AWS_SECRET_ACCESS_KEY": stack.minio.endpoint.secret_key,
        "POLARIS_ROOT_CLIENT_ID": stack.gateway.root[0],
        "POLARIS_ROOT_CLIENT_SECRET": stack.gateway.root[1],
        "DAGSTER_POSTGRES_PASSWORD": "no database here",
        "STREAMIFY_USERS": "50000",
        "STREAMIFY_FRESHNESS": "1s",
    }


def _places_and_ports(stack: Stack, folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    worker, code, web = map(str, free_ports(3))
    home = folder / "dagster"
    for made in (home, folder / "data", folder / "generator"):
        made.mkdir()
    dagster_home(home)
    workspace = (REPOSITORY / "deploy" / "dagster" / "workspace.yaml").read_text(encoding="utf-8")
    assert "host: dagster-code\n      port: 4000\n" in workspace
    here = workspace.replace("host: dagster-code", "host: 127.0.0.1").replace("port: 4000", f"port: {code}")
    (home / "workspace.yaml").write_text(here, encoding="utf-8")
    places = {
        "kafka:19092": stack.kafka.bootstrap_servers,
        "http://polaris:8181": stack.gateway.url,
        "http://s3:8333": stack.minio.endpoint.url,
        "http://worker:": "http://127.0.0.1:",
        "0.0.0.0": "127.0.0.1",
        "/credentials/": f"{stack.paths.root}/",
        "/polaris-config/": f"{REPOSITORY}/polaris-config/",
        "/opt/streamify/contracts": f"{REPOSITORY}/contracts",
        "/opt/streamify/dagster": str(home),
        "/var/lib/dagster": str(folder / "data"),
        "/var/lib/streamify": str(folder / "generator"),
        "/usr/local/bin": str(find_binary("streamify-stream", os.environ).parent),
        "/tmp/done": str(folder / "done"),
    }
    return places, {"9464": worker, "4000": code, "3000": web}
