"""The compose file and `.env.example`, against their own rules."""

import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
COMPOSE = PROJECT / "docker-compose.yml"
EXAMPLE = PROJECT / ".env.example"
SECRETS = {name: "for-the-test" for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "POLARIS_ROOT_CLIENT_SECRET")}
VARIABLE = re.compile(r"\$\{(\w+)(?:(:-)([^}]*)|:\?[^}]*)?\}")


def filled(text: str) -> str:
    """What compose makes of a string when no variable but the secrets is set."""
    return VARIABLE.sub(lambda found: found[3] if found[2] else SECRETS[found[1]], text)


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """The services, with defaults filled in."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(filled(COMPOSE.read_text(encoding="utf-8")))["services"]
    return found


def test_every_image_is_pinned_and_overridable(services: dict[str, dict[str, Any]]) -> None:
    raw = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]

    for name, service in services.items():
        tag = service["image"].rpartition(":")[2]
        assert re.match(r"\d+\.\d+", tag), f"{name}: {tag} is no version"
        assert "_VERSION:-" in raw[name]["image"], f"{name} cannot be overridden"


def test_every_port_is_bound_to_loopback_and_distinct(services: dict[str, dict[str, Any]]) -> None:
    bound = [port for service in services.values() for port in service.get("ports", [])]

    assert len(bound) == 4
    assert all(port.startswith("127.0.0.1:") for port in bound)
    assert len({port.split(":")[1] for port in bound}) == len(bound)


def test_dependencies_exist_and_what_is_waited_for_has_a_healthcheck(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for other, rule in service.get("depends_on", {}).items():
            assert other in services, f"{name} depends on {other}"
            if rule["condition"] == "service_healthy":
                assert "healthcheck" in services[other], f"{name} waits for {other}, which has no healthcheck"
            else:
                assert rule["condition"] == "service_completed_successfully"


def test_long_running_services_have_healthchecks(services: dict[str, dict[str, Any]]) -> None:
    assert {name for name, service in services.items() if "healthcheck" in service} == {"kafka", "s3", "postgres", "polaris"}


def test_named_volumes_are_declared_and_bound_folders_exist_or_are_ours(services: dict[str, dict[str, Any]]) -> None:
    declared = set(yaml.safe_load(filled(COMPOSE.read_text(encoding="utf-8")))["volumes"])

    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            known = (PROJECT / source).exists() or source.startswith("./.streamify/")
            assert source in declared or (source.startswith("./") and known), source


def test_no_secret_has_a_default() -> None:
    for name, kind, default in VARIABLE.findall(COMPOSE.read_text(encoding="utf-8")):
        if "SECRET" in name or "PASSWORD" in name:
            assert not kind, f"{name} has the default {default}"


def test_compose_accepts_the_file() -> None:
    """With the real program where it is installed; elsewhere the structure tests above are what there is."""
    docker = shutil.which("docker")
    has_compose = docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0
    text = COMPOSE.read_text(encoding="utf-8")
    assert set(yaml.safe_load(text)) == {"name", "services", "volumes"}
    if has_compose:
        command = [str(docker), "compose", "-f", str(COMPOSE), "config", "--quiet"]
        result = subprocess.run(command, env=os.environ | SECRETS, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr


def example_variables() -> list[str]:
    return re.findall(r"^#?([A-Z][A-Z0-9_]*)=", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_every_example_variable_stands_once_under_a_comment() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    names = example_variables()

    assert len(names) == len(set(names))
    for before, line in itertools.pairwise(lines):
        if re.match(r"#?[A-Z][A-Z0-9_]*=", line):
            assert re.match(r"# \S.*[.:;]$", before), f"no comment over `{line}`"


def test_compose_variables_stand_in_the_example() -> None:
    used = {name for name, _, _ in VARIABLE.findall(COMPOSE.read_text(encoding="utf-8"))}

    assert used <= set(example_variables())


def test_variables_of_the_programs_stand_in_the_example() -> None:
    declared = set()
    for source in [*(PROJECT / "rust").glob("*/src/**/*.rs"), *(PROJECT / "dagster_project").rglob("*.py")]:
        text = source.read_text(encoding="utf-8")
        declared |= set(re.findall(r'\benv = "([A-Z][A-Z0-9_]+)"', text))
        declared |= set(re.findall(r'environ(?:\.get\(|\[)"([A-Z][A-Z0-9_]+)"', text))

    standard = {"PATH", "HOME", "CARGO_TARGET_DIR", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION", "DAGSTER_PIPES_CONTEXT"}
    missing = {name for name in declared if not name.startswith("DAGSTER_PIPES_M")} - standard - set(example_variables())
    assert not missing
    assert {"KAFKA_BOOTSTRAP_SERVERS", "STREAMIFY_MEMORY_LIMIT"} <= declared
