"""The folder DAGSTER_HOME names."""

import os
import subprocess
import sys

from dagster import DagsterInstance

from dagster_project.home import prepare_home


def test_the_instance_has_our_pools_and_no_telemetry(tmp_path):
    folder = prepare_home(tmp_path)

    with DagsterInstance.from_config(str(folder)) as instance:
        pools = instance.get_concurrency_config().pool_config
        assert pools.default_pool_limit == 1
        assert pools.pool_granularity.value == "run"
        assert instance.telemetry_enabled is False
        assert instance.run_monitoring_enabled is True


def test_a_settings_file_nobody_changed_is_renewed(tmp_path, monkeypatch):
    target = prepare_home(tmp_path) / "dagster.yaml"
    before = target.read_text(encoding="utf-8")
    newer = tmp_path / "newer.yaml"
    newer.write_text("telemetry: {enabled: false}\n", encoding="utf-8")
    monkeypatch.setattr("dagster_project.home.TEMPLATE", newer)

    prepare_home(tmp_path)

    assert target.read_text(encoding="utf-8") != before
    assert target.read_text(encoding="utf-8").endswith("telemetry: {enabled: false}\n")


def test_a_settings_file_somebody_changed_is_left_alone(tmp_path):
    target = prepare_home(tmp_path) / "dagster.yaml"
    changed = target.read_text(encoding="utf-8") + "\n# mine\n"
    target.write_text(changed, encoding="utf-8")

    prepare_home(tmp_path)

    assert target.read_text(encoding="utf-8") == changed


def test_the_command_prints_the_absolute_folder(tmp_path):
    printed = subprocess.run(
        [sys.executable, "-m", "dagster_project.home"],
        env={**os.environ, "STREAMIFY_HOME": "here"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert printed == f"{tmp_path}/here/dagster\n"
    assert (tmp_path / "here" / "dagster" / "dagster.yaml").exists()
