"""Dashboard and alerts, asked of a real Prometheus that scrapes the real worker."""

import json
import math
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer

from tests.deploy.compose import services
from tests.deploy.conftest import SECONDS, Running
from tests.deploy.dockerfile import REPOSITORY
from tools.stack import build
from tools.stack.errors import StackError
from tools.stack.paths import StatePaths
from tools.stack.ports import free_ports
from tools.stack.processes import wait_until
from tools.stack.prometheus import Prometheus

DEPLOY = REPOSITORY / "deploy"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "streamify.json"
#: What Grafana puts in for its variables.
TIMES = {"$__rate_interval": "1m", "$__range": "5m"}


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return found


def dashboard_expressions() -> list[str]:
    """What the dashboard asks."""
    texts = [target["expr"] for panel in panels() for target in panel["targets"]]
    for variable, value in TIMES.items():
        texts = [text.replace(variable, value) for text in texts]
    return texts


def alert_expressions() -> list[str]:
    """What the alerts ask."""
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def metrics_in(expressions: list[str]) -> set[str]:
    """The names of our metrics in expressions."""
    return set(re.findall(r"\bstreamify_\w+", " ".join(expressions)))


def exported() -> set[str]:
    """Names of the worker's metrics as its source has them, without what the format appends."""
    source = (REPOSITORY / "rust" / "stream" / "src" / "metrics.rs").read_text(encoding="utf-8")
    return set(re.findall(r'pub const \w+: &str = "(streamify_\w+)"', source))


@pytest.fixture(scope="module")
def prometheus(running: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus with our configuration, but faster, that scrapes the worker; some records are broken."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = dict.fromkeys(config["global"], "1s")
    config["rule_files"] = [str(DEPLOY / "prometheus" / file) for file in config["rule_files"]]
    [targets] = [static for job in config["scrape_configs"] for static in job["static_configs"]]
    assert targets["targets"] == ["worker:9464"], "the worker of the compose file"
    targets["targets"] = [f"127.0.0.1:{running.ports['9464']}"]
    server = Prometheus(StatePaths(tmp_path_factory.mktemp("prometheus")), free_ports(1), config)
    server.start()
    producer = Producer({"bootstrap.servers": running.stack.kafka.bootstrap_servers})
    producer.produce("listen_events", b"no event\n")
    producer.flush()
    yield server
    server.stop()


def numbers(prometheus: Prometheus, expression: str) -> list[float]:
    """Evaluates an expression; values that are no number, as of a quantile of nothing, are left out."""
    result = prometheus.ask(f"query?{urllib.parse.urlencode({'query': expression})}")["result"]
    return [value for sample in result if not math.isnan(value := float(sample["value"][1]))]


@pytest.mark.integration
def test_every_panel_has_figures(prometheus: Prometheus) -> None:
    def without() -> list[str]:
        return [expression for expression in dashboard_expressions() if not numbers(prometheus, expression)]

    try:
        wait_until(lambda: not without(), SECONDS, "panels without figures")
    except StackError as error:
        pytest.fail(f"{error}: {without()}")


@pytest.mark.integration
def test_every_rule_is_evaluated_and_a_worker_that_does_well_raises_none(prometheus: Prometheus) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]

    wait_until(lambda: all(rule["health"] == "ok" for rule in rules()), SECONDS, "a rule is not well")

    assert [rule["query"] for rule in rules() if rule["state"] == "firing"] == []
    assert len(rules()) == len(alert_expressions())
    for expression in alert_expressions():
        numbers(prometheus, expression)


@pytest.mark.integration
def test_metrics_that_rules_and_panels_name_are_scraped(prometheus: Prometheus) -> None:
    wanted = metrics_in(dashboard_expressions() + alert_expressions())

    def missing() -> set[str]:
        return wanted - set(prometheus.ask("label/__name__/values"))

    wait_until(lambda: not missing(), SECONDS, "metrics that nobody exports")
    assert wanted


def test_every_metric_of_the_worker_stands_on_the_dashboard() -> None:
    shown = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in metrics_in(dashboard_expressions())}

    assert exported() - {"streamify_ledger_unaccounted_records"}
    assert shown == exported()


def test_panels_are_explained_distinct_and_do_not_overlap() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"]["uid"] == "prometheus"
        place = panel["gridPos"]
        mine = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not mine & cells, panel["title"]
        assert max(x for x, _ in mine) < 24
        cells |= mine
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_provisioning_names_what_is_there() -> None:
    grafana = services()["grafana"].settings
    mounts = {target: source for source, target, _ in (volume.split(":") for volume in grafana["volumes"] if volume[0] == ".")}
    [source] = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    [provider] = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/streamify.yml").read_text())["providers"]

    assert source["uid"] == "prometheus"
    assert source["url"] == "http://prometheus:9090"
    assert REPOSITORY / mounts[provider["options"]["path"]] == DASHBOARD.parent
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert REPOSITORY / mounts[str(home.parent)] / home.name == DASHBOARD


def test_the_prometheus_of_the_tests_is_the_one_of_compose() -> None:
    tag = services()["prometheus"].settings["image"].rpartition(":v")[2]
    major, minor, patch = map(int, tag.split("."))

    assert build.PROMETHEUS_MODULE.endswith(f"@v0.{major}{minor:02}.{patch}")
