"""The services of the compose file, run: events land by their commands and variables, and Dagster shows and runs its assets."""

import json
from typing import Any

import pytest

from tests.deploy.conftest import SECONDS, Running
from tools.prove.feed import TOPICS
from tools.prove.tables import open_catalog
from tools.stack.http import call
from tools.stack.processes import wait_until

pytestmark = pytest.mark.integration

LAUNCH = """mutation ($selector: JobOrPipelineSelector!) {
  launchRun(executionParams: {selector: $selector, runConfigData: {}}) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
ASSETS = """{ repositoriesOrError { ... on RepositoryConnection { nodes {
  name location { name } assetNodes { assetKey { path } jobNames } } } } }"""


def rows(running: Running) -> dict[str, int]:
    """Rows by topic, as the tables' snapshots tell them."""
    catalog = open_catalog(running.stack.environment())
    found = {}
    for topic in TOPICS:
        table = f"streamify.bronze_{topic}"
        snapshot = catalog.load_table(table).current_snapshot() if catalog.table_exists(table) else None
        found[topic] = int(snapshot.summary["total-records"] or 0) if snapshot and snapshot.summary else 0
    return found


def test_events_land_in_every_table(running: Running) -> None:
    wait_until(lambda: all(rows(running).values()), SECONDS, "not every table has rows")

    assert sum(rows(running).values()) > 10_000
    # Their containers are read-only.
    logs = {f"{name}.log" for name in running.services}
    assert {path.name for path in running.folder.iterdir()} - logs <= {"dagster", "data", "done", "generator"}


def test_the_worker_ends_well_in_the_time_that_docker_gives_it_and_goes_on(running: Running) -> None:
    with running.without("worker"):
        before = sum(rows(running).values())

    wait_until(lambda: sum(rows(running).values()) > before, SECONDS, "no new rows after the worker was started again")


def test_the_generator_goes_on_from_its_checkpoint(running: Running) -> None:
    with running.without("generator"):
        pass

    log = running.folder / "generator.log"
    wait_until(lambda: "going on from a checkpoint" in log.read_text(encoding="utf-8"), SECONDS, "it began anew")


@pytest.mark.timeout(600)  # four starts of a Python with Dagster in it, one of them the run's
def test_dagster_shows_the_assets_and_runs_one(running: Running) -> None:
    for name in ("dagster-code", "dagster-webserver", "dagster-daemon"):
        running.start(name)

    def ask(query: str, **variables: object) -> Any:
        answer = call("POST", f"http://127.0.0.1:{running.ports['3000']}/graphql", {"query": query, "variables": variables})
        assert "errors" not in answer.json(), answer.json()
        return answer.json()["data"]

    [repository] = ask(ASSETS)["repositoriesOrError"]["nodes"]
    assert repository["location"]["name"] == "dagster_project"
    [asset] = [node for node in repository["assetNodes"] if node["assetKey"]["path"] == ["bronze_streaming_job"]]
    selector = {
        "repositoryName": repository["name"],
        "repositoryLocationName": "dagster_project",
        "jobName": "__ASSET_JOB",
        "assetSelection": [{"path": ["bronze_streaming_job"]}],
    }
    # Only one writer at a time.
    with running.without("worker"):
        launched = ask(LAUNCH, selector=selector)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", json.dumps(launched)
        run = launched["run"]["runId"]

        def has_ended() -> bool:
            return ask(STATUS, id=run)["runOrError"]["status"] in {"SUCCESS", "FAILURE", "CANCELED"}

        wait_until(has_ended, 2 * SECONDS, "the run has not ended")
        assert ask(STATUS, id=run)["runOrError"]["status"] == "SUCCESS"
    assert asset["jobNames"]
    for name in ("dagster-daemon", "dagster-webserver", "dagster-code"):
        assert running.stop(name) in {0, -15}
