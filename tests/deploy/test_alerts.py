"""The alert rules, by promtool: each fires on what it is for, and on nothing else."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.dockerfile import REPOSITORY
from tools.stack.prometheus import promtool

pytestmark = pytest.mark.integration

RULES = REPOSITORY / "deploy" / "prometheus" / "alerts.yml"
RUNBOOK = REPOSITORY / "docs" / "runbook.md"
UP = 'up{job="streamify-stream",instance="w"}'
LAG = 'streamify_kafka_lag_records{instance="w",topic="t",partition="0"}'
AGE = 'streamify_lag_seconds{instance="w",topic="t"}'
LEFT = 'streamify_retention_headroom_seconds{instance="w",topic="t",partition="0"}'
RECEIVED = 'streamify_received_records_total{instance="w",topic="t"}'
DEAD = 'streamify_dlq_records_total{instance="w",topic="t",reason="r"}'


def commits(result: str) -> str:
    return f'streamify_commits_total{{instance="w",result="{result}"}}'


def seconds(upper: str) -> str:
    return f'streamify_commit_seconds_bucket{{instance="w",le="{upper}"}}'


@dataclass(frozen=True)
class Case:
    """What is scraped each minute, and what fires after so many."""

    what: str
    series: dict[str, str]
    minutes: int
    fires: tuple[str, ...] = ()

    def test(self) -> dict[str, Any]:
        """The case in the form of promtool."""
        series = {UP: "1x120"} | self.series
        expected = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in self.fires]
        return {
            "name": self.what,
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items() if values],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": f"{self.minutes}m",
                    "exp_samples": expected,
                }
            ],
        }


CASES = [
    Case("a worker that answers", {}, 60),
    Case("a worker that is away for a minute", {UP: "1x10 0 1x40"}, 12),
    Case("a worker that does not answer", {UP: "0x10"}, 3, ("StreamifyWorkerDown",)),
    Case("no worker at all", {UP: ""}, 3, ("StreamifyWorkerDown",)),
    Case("a worker that begins anew three times", {RECEIVED: "50 1 40 1 40 1 40"}, 7, ("StreamifyWorkerRestarts",)),
    Case("a worker that was restarted twice", {RECEIVED: "50 1 40 1 40 50 60"}, 7),
    Case("caught up", {LEFT: "604800x60", LAG: "10x60", AGE: "3x60"}, 60),
    Case("half of the retention is used", {LEFT: "604800x10 300000x20"}, 20, ("StreamifyRetentionHalfUsed",)),
    Case(
        "four fifths of the retention are used",
        {LEFT: "604800x10 120000x20"},
        20,
        ("StreamifyDataLossNear", "StreamifyRetentionHalfUsed"),
    ),
    Case(
        "the retention is used up",
        {LEFT: "604800x10 -1x20"},
        20,
        ("StreamifyDataLoss", "StreamifyDataLossNear", "StreamifyRetentionHalfUsed"),
    ),
    Case("a topic where nothing happens", {AGE: "100+60x60", LAG: "0x60"}, 50),
    Case("records wait for six minutes in vain", {AGE: "301x20", LAG: "5x20"}, 6, ("StreamifyTableStale",)),
    Case("records wait for three minutes", {AGE: "301x20", LAG: "5x20"}, 3),
    Case("a backlog that grows", {LAG: "200000+5000x60"}, 40, ("StreamifyLagGrows",)),
    Case("a backlog that is worked off", {LAG: "900000-5000x60"}, 40),
    Case("books that do not close", {'streamify_ledger_unaccounted_records{instance="w"}': "1x5"}, 1, ("StreamifyLedgerOpen",)),
    Case("books that close", {'streamify_ledger_unaccounted_records{instance="w"}': "0x5"}, 5),
    Case("two in a hundred are dead letters", {DEAD: "0+2x60", RECEIVED: "0+100x60"}, 30, ("StreamifyDeadLetters",)),
    Case("one in a thousand is a dead letter", {DEAD: "0+1x60", RECEIVED: "0+1000x60"}, 30),
    Case("commits fail", {commits("failed"): "0+1x60", commits("ok"): "0+1x60"}, 20, ("StreamifyCommitsFail",)),
    Case("one commit fails", {commits("failed"): "0x10 1x50", commits("ok"): "0+1x60"}, 20),
    Case(
        "more conflicts than commits",
        {commits("conflict"): "0+20x60", commits("ok"): "0+10x60"},
        40,
        ("StreamifyCommitConflicts",),
    ),
    Case("some conflicts", {commits("conflict"): "0+2x60", commits("ok"): "0+10x60"}, 40),
    Case(
        "commits take 8 s",
        {seconds("5.12"): "0x60", seconds("10.24"): "0+9x60", seconds("+Inf"): "0+9x60"},
        40,
        ("StreamifyCommitsSlow",),
    ),
    Case("commits take 0.1 s", {seconds("0.16"): "0+9x60", seconds("+Inf"): "0+9x60"}, 40),
]


def rules() -> list[dict[str, Any]]:
    """The alert rules."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_files_are_accepted() -> None:
    assert f"SUCCESS: {len(rules())} rules found" in promtool("check", "rules", str(RULES))
    assert "SUCCESS" in promtool("check", "config", str(RULES.with_name("prometheus.yml")))


def test_rules_fire_on_what_they_are_for_and_on_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "cases.json"
    cases = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [case.test() for case in CASES]}
    file.write_text(json.dumps(cases), encoding="utf-8")

    assert "SUCCESS" in promtool("test", "rules", str(file))
    assert {name for case in CASES for name in case.fires} == {rule["alert"] for rule in rules()}, "each rule is tried"


def test_every_rule_says_why_and_where_to_read_on() -> None:
    text = RULES.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    for rule in rules():
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        file, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert REPOSITORY / file == RUNBOOK
        assert anchor in anchors, rule["annotations"]["runbook"]
    assert len(re.findall(r"^      # ", text, flags=re.MULTILINE)) >= len(rules()), "a reason over the figures"
