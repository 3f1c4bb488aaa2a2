"""The compose file as compose reads it: variables filled in, each service a command with its variables."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tests.deploy.dockerfile import REPOSITORY, command

COMPOSE = REPOSITORY / "docker-compose.yml"
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "POLARIS_ROOT_CLIENT_SECRET", "DAGSTER_POSTGRES_PASSWORD")
VARIABLE = re.compile(r"\$\{(\w+)(?:(:-)([^}]*)|:\?[^}]*)?\}|\$\$")


def filled(value: Any, values: Mapping[str, str]) -> Any:
    """Returns what compose makes of a value; a variable that is neither set nor has a default is a `KeyError`."""
    if isinstance(value, dict):
        return {key: filled(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, values) for item in value]
    if not isinstance(value, str):
        return value
    return VARIABLE.sub(lambda found: _one(found, values), value)


def _one(found: re.Match[str], values: Mapping[str, str]) -> str:
    if found[0] == "$$":
        return "$"
    return values.get(found[1]) or (found[3] if found[2] else values[found[1]])


@dataclass(frozen=True)
class Service:
    """One service."""

    name: str
    settings: dict[str, Any]

    @property
    def argv(self) -> list[str]:
        """Entry point and command; of our own images the Dockerfile's entry point."""
        entrypoint = self.settings.get("entrypoint")
        if entrypoint is None and "build" in self.settings:
            entrypoint = command(REPOSITORY / self.settings["build"]["dockerfile"], "ENTRYPOINT")
        return [*(entrypoint or []), *self.settings["command"]]

    @property
    def environment(self) -> dict[str, str]:
        """Its variables; those without a value are the caller's, here nobody's."""
        return {name: value for name, value in self.settings.get("environment", {}).items() if value is not None}

    @property
    def healthcheck(self) -> list[str]:
        """The command of its healthcheck."""
        kind, *rest = self.settings["healthcheck"]["test"]
        return ["sh", "-c", *rest] if kind == "CMD-SHELL" else rest


def services(values: Mapping[str, str] | None = None) -> dict[str, Service]:
    """Returns the services by name; `values` is what stands in `.env`, without it the secrets only."""
    values = values if values is not None else dict.fromkeys(SECRETS, "for-the-test")
    read = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    return {name: Service(name, filled(settings, values)) for name, settings in read.items()}
