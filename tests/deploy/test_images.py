"""The Dockerfiles, against their own rules: what can be known of them without an engine."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.deploy.compose import services
from tests.deploy.dockerfile import DOCKERFILES, REPOSITORY, command, last, parse

every_file = pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)


def stages(file: Path) -> set[str]:
    """The stages' names."""
    return {found[1] for one in parse(file) if one.keyword == "FROM" and (found := re.search(r" AS (\w+)$", one.text))}


@every_file
def test_bases_are_pinned(file: Path) -> None:
    bases = [one.text.split()[0] for one in parse(file) if one.keyword == "FROM"]

    assert bases
    for base in bases:
        assert base in stages(file) or re.search(r":\d+\.\d+", base), base


@every_file
def test_it_runs_as_another_user_than_root_and_gets_signals_itself(file: Path) -> None:
    final = [one.keyword for one in parse(file) if one.stage == parse(file)[-1].stage]

    assert re.fullmatch(r"[1-9]\d{3,}", last(file, "USER"))
    assert last(file, "STOPSIGNAL") == "SIGTERM"
    assert command(file, "ENTRYPOINT") == ["with-variables"]
    assert command(file, "CMD")
    assert "RUN" not in final[final.index("USER") :], "what runs after USER would need rights"


@every_file
def test_what_is_copied_is_there_and_the_build_may_see_it(file: Path) -> None:
    lines = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = [line[1:] for line in lines if line.startswith("!")]
    assert lines[1] == "*", "everything is left out that is not named"
    copied = [one for one in parse(file) if one.keyword == "COPY"]

    assert copied
    for one in copied:
        *sources, _ = [word for word in one.text.split() if not word.startswith("--")]
        if origin := re.search(r"--from=(\w+)", one.text):
            assert origin[1] in stages(file), one.text
            continue
        for source in sources:
            assert (REPOSITORY / source).exists(), source
            assert any(source == path or source.startswith(f"{path}/") for path in allowed), f"{source} is in .dockerignore"


def test_secrets_and_state_stay_outside() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()

    for path in (".env", ".streamify", ".git", "target"):
        assert not any(fnmatch(path, line[1:]) for line in lines if line.startswith("!")), path


@every_file
def test_programs_that_are_built_exist(file: Path) -> None:
    with_main = {
        tomllib.loads(package.read_text(encoding="utf-8"))["package"]["name"]
        for package in (REPOSITORY / "rust").glob("*/Cargo.toml")
        if (package.parent / "src" / "main.rs").exists()
    }
    [build] = [one.text for one in parse(file) if one.keyword == "RUN" and "cargo build" in one.text]
    built = set(re.findall(r"--bin (\S+)", build))

    assert built
    assert built <= with_main
    assert built == set(re.findall(r"target/release/(\S+)", build)), "all that is built is copied out of the cache"


@every_file
def test_builds_are_those_of_the_lock_files(file: Path) -> None:
    for one in parse(file):
        if "cargo build" in one.text:
            assert "--locked" in one.text
            assert "--mount=type=cache" in one.text
        if "uv sync" in one.text:
            assert "--frozen" in one.text


@every_file
def test_what_the_build_needs_of_the_system_is_installed(file: Path) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    [listed] = re.findall(r"^SYSTEM_PACKAGES := (.+)$", makefile, flags=re.MULTILINE)
    [installed, *_] = [set(one.text.split()) for one in parse(file) if one.keyword == "RUN" and "apt-get install" in one.text]
    # These are for the tests, or come with the image.
    others = {"openssl", "python3-venv", "openjdk-17-jdk-headless", "maven"}

    assert set(listed.split()) - others <= installed


def test_extras_that_an_image_wants_are_declared() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {extra for file in DOCKERFILES for extra in re.findall(r"--extra (\w+)", file.read_text(encoding="utf-8"))}

    assert wanted == {"postgres"}
    assert wanted <= set(project["optional-dependencies"])


def test_rust_of_the_images_is_new_enough_and_the_same_in_all() -> None:
    wanted = tomllib.loads((REPOSITORY / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]["package"]["rust-version"]
    versions = {version for file in DOCKERFILES for version in re.findall(r"^ARG RUST_VERSION=(.+)$", file.read_text(), re.M)}

    assert len(versions) == 1
    assert tuple(map(int, versions.pop().split("."))) >= tuple(map(int, wanted.split(".")))


def test_compose_builds_the_files_and_their_commands_are_the_images_own() -> None:
    built = {name: service for name, service in services().items() if "build" in service.settings}

    assert {service.settings["build"]["dockerfile"] for service in built.values()} == {
        f"deploy/docker/{file.name}" for file in DOCKERFILES
    }
    for name in ("worker", "dagster-code"):
        file = REPOSITORY / built[name].settings["build"]["dockerfile"]
        assert built[name].settings["command"] == command(file, "CMD")
