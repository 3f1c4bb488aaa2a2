"""Where binaries and folders are looked for."""

from pathlib import Path

import pytest

from dagster_project.lib import paths
from dagster_project.lib.paths import BinaryNotFoundError, contracts_folder, find_binary, streamify_home


def _program(folder: Path, name: str = "streamify-stream") -> Path:
    folder.mkdir(parents=True)
    program = folder / name
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    return program


def test_the_configured_folder_wins(tmp_path):
    wanted = _program(tmp_path / "bin")
    _program(tmp_path / "target" / "release")

    found = find_binary(
        "streamify-stream", {"STREAMIFY_BIN_DIR": str(tmp_path / "bin"), "CARGO_TARGET_DIR": str(tmp_path / "target")}
    )

    assert found == wanted


def test_a_configured_folder_without_the_binary_is_an_error_and_not_passed_over(tmp_path):
    _program(tmp_path / "target" / "release")
    environ = {"STREAMIFY_BIN_DIR": str(tmp_path / "wrong"), "CARGO_TARGET_DIR": str(tmp_path / "target")}

    with pytest.raises(BinaryNotFoundError, match="not found in STREAMIFY_BIN_DIR="):
        find_binary("streamify-stream", environ)


def test_the_cargo_target_folder_comes_before_the_path(tmp_path):
    wanted = _program(tmp_path / "target" / "release")
    _program(tmp_path / "path")

    found = find_binary("streamify-stream", {"CARGO_TARGET_DIR": str(tmp_path / "target"), "PATH": str(tmp_path / "path")})

    assert found == wanted


def test_the_path_is_the_last_resort(tmp_path):
    wanted = _program(tmp_path / "path", "streamify-unheard-of")

    assert find_binary("streamify-unheard-of", {"PATH": str(tmp_path / "path")}) == wanted


def test_a_missing_binary_names_the_places_and_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "PROJECT_ROOT", tmp_path / "checkout")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    with pytest.raises(BinaryNotFoundError) as caught:
        find_binary("streamify-stream", {"PATH": str(tmp_path)})

    assert str(caught.value) == (
        f"streamify-stream not found (looked in $STREAMIFY_BIN_DIR, {tmp_path}/checkout/target/release, "
        f"{tmp_path}/home/.cache/streamify/target/release, PATH); build it with `make build`"
    )


def test_the_home_is_absolute_whatever_is_set(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    assert streamify_home({}) == tmp_path / ".streamify"
    assert streamify_home({"STREAMIFY_HOME": "data"}) == tmp_path / "data"
    assert streamify_home({"STREAMIFY_HOME": ""}) == tmp_path / ".streamify"


def test_the_contracts_of_the_checkout_are_the_default():
    assert (contracts_folder({}) / "listen_events.toml").exists()
    assert contracts_folder({"STREAMIFY_CONTRACTS": "/etc/contracts"}) == Path("/etc/contracts")
