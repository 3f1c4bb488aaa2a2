"""The worker as a service of systemd and of Kubernetes: what a reader of the files relies on."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
UNIT = PROJECT / "deploy" / "systemd" / "streamify-worker.service"
ENV_FILE = PROJECT / "deploy" / "systemd" / "worker.env"
MANIFEST = PROJECT / "deploy" / "kubernetes" / "worker.yaml"
LONGEST_STOP_SECONDS = 9  # of the worker, after the first signal
EXAMPLE = (PROJECT / ".env.example").read_text(encoding="utf-8")
KNOWN = set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", EXAMPLE, flags=re.MULTILINE))


class Unit(configparser.RawConfigParser):
    """A unit file: names keep their case, and may come twice."""

    def __init__(self) -> None:
        super().__init__(strict=False)
        self.optionxform = str  # type: ignore[assignment,method-assign]


@pytest.fixture(scope="module")
def unit() -> Unit:
    made = Unit()
    made.read_string(UNIT.read_text(encoding="utf-8"))
    return made


def test_the_unit_restarts_failures_but_not_what_needs_a_person(unit: Unit) -> None:
    service = unit["Service"]

    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"].split() == ["2", "3"]


def test_the_unit_gives_the_worker_its_time_to_commit(unit: Unit) -> None:
    assert unit["Service"]["KillSignal"] == "SIGTERM"
    assert int(unit["Service"]["TimeoutStopSec"]) > LONGEST_STOP_SECONDS


def test_the_unit_runs_without_rights(unit: Unit) -> None:
    service = unit["Service"]

    assert service["User"] not in ("", "root")
    assert service["CapabilityBoundingSet"] == ""
    assert service["ProtectSystem"] == "strict"
    assert service["NoNewPrivileges"] == "yes"
    assert service["Environment"] == f"STREAMIFY_HOME=/var/lib/{service['StateDirectory']}", "the only folder it may write"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    program = tmp_path / "streamify-stream"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text(encoding="utf-8").replace("/usr/local/bin/streamify-stream", str(program)), encoding="utf-8")

    checked = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", str(copy)], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stderr
    assert UNIT.name not in checked.stderr, checked.stderr


def test_the_env_file_has_variables_that_exist_and_no_secret() -> None:
    lines = [line for line in ENV_FILE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("# ")]
    values = dict(line.removeprefix("#").split("=", 1) for line in lines)

    assert set(values) <= KNOWN
    assert {values[name] for name in values if "SECRET" in name or "TOKEN" in name or name.endswith("KEY_ID")} == {""}


@pytest.fixture(scope="module")
def objects() -> dict[str, dict[str, Any]]:
    """The objects of the manifest, by kind."""
    return {one["kind"]: one for one in yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8"))}


@pytest.fixture(scope="module")
def pod(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = objects["Deployment"]["spec"]["template"]["spec"]
    return found


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    [only] = pod["containers"]
    found: dict[str, Any] = only
    return found


def test_two_pods_never_write_at_once(objects: dict[str, dict[str, Any]]) -> None:
    assert objects["Deployment"]["spec"]["replicas"] == 1
    assert objects["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}


def test_the_pod_gives_the_worker_its_time_to_commit(pod: dict[str, Any]) -> None:
    assert pod["terminationGracePeriodSeconds"] > LONGEST_STOP_SECONDS


def test_probes_ask_the_worker_s_endpoint_on_its_port(container: dict[str, Any], objects: dict[str, dict[str, Any]]) -> None:
    probes = {name: container[name]["httpGet"] for name in ("livenessProbe", "readinessProbe")}
    [port] = container["ports"]

    assert {name: probe["path"] for name, probe in probes.items()} == {"livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    assert objects["ConfigMap"]["data"]["STREAMIFY_METRICS_LISTEN"] == f"0.0.0.0:{port['containerPort']}"
    assert [one["targetPort"] for one in objects["Service"]["spec"]["ports"]] == [port["name"]]


def test_an_outage_shorter_than_a_minute_ends_no_pod(container: dict[str, Any]) -> None:
    probe = container["livenessProbe"]

    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60


def test_the_pod_runs_without_rights(pod: dict[str, Any], container: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert writable == {"/tmp"}


def test_memory_is_limited_above_what_the_worker_needs(container: dict[str, Any]) -> None:
    assert container["resources"]["requests"]["memory"] == "256Mi"
    assert container["resources"]["limits"] == {"memory": "512Mi"}


def test_secrets_are_references_and_all_variables_exist(container: dict[str, Any], objects: dict[str, dict[str, Any]]) -> None:
    plain = objects["ConfigMap"]["data"]
    secret = {one["name"]: one for one in container["env"]}

    assert set(plain) | set(secret) <= KNOWN
    assert not [name for name in plain if "SECRET" in name or "TOKEN" in name or name.endswith("KEY_ID")]
    for name, one in secret.items():
        assert one["valueFrom"]["secretKeyRef"] == {"name": "streamify-worker", "key": name}


def test_the_service_finds_the_pod_also_while_it_is_not_ready(objects: dict[str, dict[str, Any]]) -> None:
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]

    for selector in (objects["Service"]["spec"]["selector"], objects["Deployment"]["spec"]["selector"]["matchLabels"]):
        assert selector.items() <= labels.items()
    assert objects["Service"]["spec"]["publishNotReadyAddresses"] is True
