"""Prometheus, to hold rules and dashboards against the figures of a real worker; `promtool` of the same build beside it."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tools.stack import build
from tools.stack.component import Component
from tools.stack.errors import StackError
from tools.stack.http import answers_ok, request
from tools.stack.paths import StatePaths
from tools.stack.ports import LOOPBACK


class Prometheus(Component):
    """Prometheus with one configuration."""

    name: ClassVar[str] = "prometheus"

    def __init__(self, paths: StatePaths, ports: list[int], config: Mapping[str, Any]) -> None:
        """Describes the server; `config` is what its configuration file says."""
        super().__init__(paths, ports)
        self.config = config
        self._folder = Path()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def config_file(self) -> Path:
        """Its configuration; JSON is YAML too."""
        return self.data / "prometheus.yml"

    def prepare(self) -> None:
        """Builds it if the cache has none; writes the configuration."""
        self._folder = build.prometheus()
        self.data.mkdir(parents=True, exist_ok=True)
        self.config_file.write_text(json.dumps(self.config), encoding="utf-8")

    def command(self) -> list[str]:
        """Returns the command line."""
        return [
            str(self._folder / "prometheus"),
            f"--config.file={self.config_file}",
            f"--storage.tsdb.path={self.data / 'tsdb'}",
            f"--web.listen-address={LOOPBACK}:{self.port}",
        ]

    def is_ready(self) -> bool:
        """Returns whether it takes queries."""
        return answers_ok(f"{self.url}/-/ready")

    def ask(self, path: str) -> Any:  # noqa: ANN401 - what the server says
        """Returns the data of an answer of the HTTP API.

        Args:
            path: behind `/api/v1/`, with its parameters.

        Raises:
            StackError: if the server refuses; its words are in the text.
        """
        answer = request("GET", f"{self.url}/api/v1/{path}").json()
        if answer["status"] != "success":
            raise StackError(f"prometheus refused `{path}`: {answer['error']}")
        return answer["data"]


def promtool(*arguments: str, cwd: Path | None = None) -> str:
    """Runs `promtool` and returns what it prints.

    Raises:
        StackError: if it finds fault.
    """
    command = [str(build.prometheus() / "promtool"), *arguments]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise StackError(f"`promtool {' '.join(arguments)}` failed:\n{result.stdout}{result.stderr}")
    return result.stdout
