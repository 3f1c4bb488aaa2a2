"""The runbook quotes messages, flags, metrics and alerts: each is one that exists."""

import re

import pytest

from tests.deploy.dockerfile import REPOSITORY
from tests.deploy.test_alerts import RUNBOOK, rules

TEXT = RUNBOOK.read_text(encoding="utf-8")
SOURCES = [*(REPOSITORY / "rust").glob("*/src/**/*.rs"), *(REPOSITORY / "dagster_project").rglob("*.py")]
#: Of other programs than ours.
FOREIGN = {"--bootstrap-server", "--alter", "--entity-type", "--entity-name", "--add-config", "--tail", "--volumes", "--profile"}
MESSAGES = [line for block in re.findall(r"```text\n(.*?)```", TEXT, flags=re.DOTALL) for line in block.splitlines()]


@pytest.fixture(scope="module")
def source() -> str:
    """All of our sources, Python's bootstrap included, with spaces as one."""
    files = [*SOURCES, REPOSITORY / "polaris-config" / "bootstrap.py", REPOSITORY / "docker-compose.yml"]
    return " ".join(" ".join(file.read_text(encoding="utf-8").split()) for file in files)


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_are_those_of_the_programs(message: str, source: str) -> None:
    for part in filter(None, (part.strip("` ,") for part in message.split("…"))):
        assert part in source, f"no message has `{part}`"


def test_flags_exist(source: str) -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT)) - FOREIGN
    # clap makes a flag of a field: `on_gap` is `--on-gap`.
    assert not {flag for flag in named if flag not in source and flag[2:].replace("-", "_") not in source}


def test_every_alert_is_in_the_text() -> None:
    assert {rule["alert"] for rule in rules()} == set(re.findall(r"`(Streamify[A-Z]\w+)`", TEXT))


def test_links_lead_somewhere() -> None:
    for name, anchor in re.findall(r"\]\(([\w.-]*)#?([\w-]*)\)", TEXT):
        file = RUNBOOK.with_name(name) if name else RUNBOOK
        headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, f"{name}#{anchor}"


def test_dagster_names_exist(source: str) -> None:
    named = {"maintenance_job", "dead_letter_replay", *re.findall(r"`(bronze_\w+_(?:job|sensor|stop)|\w+_sensor)`", TEXT)}

    assert len(named) > 5
    for name in named:
        assert name in source, name
