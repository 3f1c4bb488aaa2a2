"""The compose file and `.env.example`, against their own rules."""

import itertools
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.deploy.compose import COMPOSE, SECRETS, VARIABLE, Service, services

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLE = PROJECT / ".env.example"
PROFILES = {"worker", "demo", "dagster", "monitoring"}
#: Our own, from this checkout.
OURS = {"worker", "generator", "dagster-code", "dagster-webserver", "dagster-daemon"}
COMPONENTS = {"kafka", "s3", "postgres", "polaris-schema", "polaris", "polaris-bootstrap"}


def of(profile: str | None) -> dict[str, Service]:
    """The services that start with one profile, or with none."""
    return {
        name: service
        for name, service in services().items()
        if "profiles" not in service.settings or profile in service.settings["profiles"]
    }


def text() -> str:
    return COMPOSE.read_text(encoding="utf-8")


def test_every_image_is_pinned_and_overridable() -> None:
    raw = yaml.safe_load(text())["services"]

    for name, service in services().items():
        tag = service.settings["image"].rpartition(":")[2]
        assert re.match(r"v?\d+\.\d+", tag), f"{name}: {tag} is no version"
        assert "_VERSION:-" in raw[name]["image"], f"{name} cannot be overridden"


def test_our_images_have_the_version_of_the_project() -> None:
    version = tomllib.loads((PROJECT / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]["package"]["version"]

    assert {name for name, service in services().items() if "build" in service.settings} == OURS
    for name in OURS:
        assert services()[name].settings["image"].endswith(f":{version}"), name


def test_without_a_profile_there_are_the_components_alone() -> None:
    assert set(of(None)) == COMPONENTS
    assert set(of("worker")) - COMPONENTS == {"worker"}
    assert set(of("demo")) - COMPONENTS == {"generator"}
    assert set(of("monitoring")) - COMPONENTS == {"prometheus", "grafana"}
    assert set(of("dagster")) - COMPONENTS == {"dagster-postgres", "dagster-code", "dagster-webserver", "dagster-daemon"}


def test_profiles_are_explained_at_the_top() -> None:
    head = text().partition("\nname: ")[0]

    assert set(re.findall(r"^#   (\w+)  +\S", head, flags=re.MULTILINE)) == PROFILES
    used = {profile for service in services().values() for profile in service.settings.get("profiles", [])}
    assert used == PROFILES


def test_every_port_is_bound_to_loopback_and_distinct() -> None:
    bound = [port for service in services().values() for port in service.settings.get("ports", [])]

    assert len(bound) == 8
    assert all(port.startswith("127.0.0.1:") for port in bound)
    assert len({port.split(":")[1] for port in bound}) == len(bound)


@pytest.mark.parametrize("profile", [None, *sorted(PROFILES)])
def test_up_with_wait_ends_well(profile: str | None) -> None:
    """`up --wait` waits for health where there is a check, for the end where another service of the same profile waits for that.

    For any other container it does not wait, and it fails if that container has ended meanwhile.
    """
    started = of(profile)
    ended_well = set()
    for name, service in started.items():
        for other, rule in service.settings.get("depends_on", {}).items():
            assert other in started, f"{name} depends on {other}, which this profile does not start"
            if rule["condition"] == "service_completed_successfully":
                ended_well.add(other)
            else:
                assert rule["condition"] == "service_healthy"
                assert "healthcheck" in started[other].settings, f"{name} waits for {other}, which has no healthcheck"

    for name, service in started.items():
        assert (name in ended_well) != ("healthcheck" in service.settings), name


def test_addresses_inside_the_network_are_those_of_services() -> None:
    for name, service in services().items():
        for key, value in service.environment.items():
            for host, port in re.findall(r"(?:^|//)([a-z][a-z0-9-]*):(\d+)", value):
                assert host in services(), f"{name}: {key} names `{host}:{port}`"


def test_our_containers_are_confined() -> None:
    for name in OURS | {"prometheus", "grafana"}:
        settings = services()[name].settings
        assert settings["cap_drop"] == ["ALL"], name
        assert settings["security_opt"] == ["no-new-privileges:true"], name
        assert settings.get("user", "1000") != "root"
    for name in ("worker", "generator"):
        assert services()[name].settings["read_only"], name


def test_configuration_is_mounted_read_only() -> None:
    for name, service in services().items():
        for volume in service.settings.get("volumes", []):
            if volume.startswith("./") and name != "polaris-bootstrap":
                assert volume.endswith(":ro"), f"{name}: {volume}"


def test_named_volumes_are_declared_and_bound_folders_exist_or_are_ours() -> None:
    declared = set(yaml.safe_load(text())["volumes"])
    used = set()

    for service in services().values():
        for volume in service.settings.get("volumes", []):
            source = volume.split(":")[0]
            used.add(source)
            known = (PROJECT / source).exists() or source.startswith("./.streamify/")
            assert source in declared or (source.startswith("./") and known), source
    assert declared <= used


def test_no_secret_has_a_default() -> None:
    names = {name for name, _, _ in VARIABLE.findall(text())}

    for name, kind, default in VARIABLE.findall(text()):
        if "SECRET" in name or "PASSWORD" in name or "TOKEN" in name:
            assert not kind, f"{name} has the default {default}"
    assert set(SECRETS) <= names


def test_compose_accepts_the_file() -> None:
    """With the real program where it is installed; elsewhere the structure tests above are what there is."""
    docker = shutil.which("docker")
    has_compose = docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0
    assert set(yaml.safe_load(text())) == {"name", "services", "volumes", "x-lake", "x-confined"}
    if has_compose:
        command = [str(docker), "compose", "-f", str(COMPOSE), "--profile", "*", "config", "--quiet"]
        secrets = dict.fromkeys(SECRETS, "for-the-test")
        result = subprocess.run(command, env=os.environ | secrets, capture_output=True, text=True, check=False)
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
    used = {name for name, _, _ in VARIABLE.findall(text()) if name}
    # Those that compose hands on as they are, because they have no value in the file.
    handed_on = {
        name
        for service in services().values()
        for name, value in service.settings.get("environment", {}).items()
        if value is None
    }

    assert used | handed_on <= set(example_variables())


def test_versions_in_the_example_are_those_of_the_file() -> None:
    stated = dict(re.findall(r"^#(\w+_VERSION)=(.+)$", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    pinned = {name: default for name, _, default in VARIABLE.findall(text()) if name.endswith("_VERSION")}

    assert stated == pinned
    for file in (PROJECT / "deploy" / "docker").glob("*.Dockerfile"):
        versions = dict(re.findall(r"^ARG (UV_VERSION)=(.+)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE))
        assert versions.items() <= pinned.items(), file.name


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
