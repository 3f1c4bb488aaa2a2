"""What all components share: one process, its ports, its log; start, stop, kill and restart on the same port and data."""

import contextlib
import http.client
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from tools.stack.errors import StackError
from tools.stack.paths import StatePaths
from tools.stack.ports import is_listening
from tools.stack.processes import ProcessId, is_alive, kill, spawn, stop, tail, wait_until
from tools.stack.progress import step

START_SECONDS = 90.0


class Component(ABC):
    """One process of the stack."""

    name: ClassVar[str]
    num_ports: ClassVar[int] = 1

    def __init__(self, paths: StatePaths, ports: list[int]) -> None:
        """Describes the component; nothing is started."""
        self.paths = paths
        self.ports = ports
        self.process: ProcessId | None = None
        self.on_change: Callable[[], None] = lambda: None

    @property
    def port(self) -> int:
        """The port that clients use."""
        return self.ports[0]

    @property
    def data(self) -> Path:
        """The component's data folder."""
        return self.paths.data(self.name)

    @abstractmethod
    def prepare(self) -> None:
        """Downloads, builds and writes configuration; repeatable."""

    @abstractmethod
    def command(self) -> list[str]:
        """Returns the command line; holds no secret, because everybody can read it."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Returns whether the component does its work."""

    def environment(self) -> dict[str, str]:
        """Returns the variables of the process, beside the inherited ones."""
        return {}

    def is_alive(self) -> bool:
        """Returns whether the process that we started lives."""
        return self.process is not None and is_alive(self.process)

    def start(self) -> None:
        """Starts the process unless it lives, and waits until it is ready.

        Raises:
            StackError: if the port is taken, or if it is not ready in time; its log's end is in the text.
        """
        if self.is_alive():
            return
        self.prepare()
        for port in self.ports:
            if is_listening(port):
                raise StackError(f"port {port} for `{self.name}` is taken by another process; `up --fresh` chooses new ones")
        self.data.mkdir(parents=True, exist_ok=True)
        with step(f"starting {self.name} on 127.0.0.1:{self.port}"):
            environment = {**os.environ, **self.environment()}
            log = self.paths.log(self.name)
            self.process = spawn(self.command(), log=log, environment=environment, cwd=self.data)
            self.on_change()
            try:
                wait_until(self._ready_or_dead, START_SECONDS, f"`{self.name}` is not ready")
                if not self.is_alive():
                    raise StackError(f"`{self.name}` ended while starting")
            except StackError as error:
                self.kill()
                raise StackError(f"{error}; end of {log}:\n{tail(log)}") from error

    def _ready_or_dead(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if self.is_ready():
                return True
        return not self.is_alive()

    def stop(self) -> None:
        """Ends the process with SIGTERM, after a grace with SIGKILL."""
        if self.process is not None:
            stop(self.process)
            self._forget()

    def kill(self) -> None:
        """Ends the process with SIGKILL, as a crash would."""
        if self.process is not None:
            kill(self.process)
            self._forget()

    def _forget(self) -> None:
        self.process = None
        self.on_change()

    def restart(self) -> None:
        """Stops and starts on the same ports with the same data."""
        self.stop()
        self.start()
