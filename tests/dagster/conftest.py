"""What the tests of definitions and runs share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from dagster_project.definitions import defs
from dagster_project.resources.stream_worker import StreamWorker
from dagster_project.resources.worker_service import WorkerService
from tests.dagster.lake import Lake

NOBODY = "http://127.0.0.1:1"  # no service listens there
JOB_KEY = dg.AssetKey("bronze_streaming_job")


@dataclass(frozen=True)
class Outcome:
    """What is left of a run."""

    result: dg.ExecuteInProcessResult
    instance: dg.DagsterInstance

    @property
    def logs(self) -> list[str]:
        """Messages of the run's log, in order."""
        return [entry.user_message for entry in self.instance.all_logs(self.result.run_id)]

    @property
    def failure(self) -> str:
        """Description of the step's failure."""
        [event] = [event for event in self.result.all_events if event.is_step_failure]
        return event.step_failure_data.user_failure_data.description

    def events_of(self, key: str) -> list[dg.EventLogEntry]:
        """Materializations of an asset."""
        return list(self.instance.fetch_materializations(dg.AssetKey(key), limit=10).records)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance of this test alone."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """The lake that runs of this test see: real tables, empty at first."""
    return Lake(tmp_path / "home")


@pytest.fixture
def bronze(clean_environment, fake_worker, instance, tmp_path: Path) -> Callable[..., Outcome]:
    """`bronze(step, …, exits_with=0, config={}, report_seconds=0.1)`: materializes bronze_streaming_job with such a worker."""
    clean_environment.setenv("STREAMIFY_HOME", str(tmp_path / "home"))
    clean_environment.setenv("STREAMIFY_BIN_DIR", str(fake_worker.install("streamify-stream")))
    clean_environment.setenv("STREAMIFY_WORKER_URL", NOBODY)

    def run(
        *steps: tuple[str, object],
        exits_with: int = 0,
        config: dict[str, object] | None = None,
        report_seconds: float = 0.1,
    ) -> Outcome:
        fake_worker.does(*steps, exits_with=exits_with)
        [asset] = [asset for asset in defs().assets if isinstance(asset, dg.AssetsDefinition) and JOB_KEY in asset.keys]
        result = dg.materialize(
            [asset],
            resources={
                "stream_worker": StreamWorker(seconds_per_stop_step=1, report_seconds=report_seconds),
                "worker_service": WorkerService(),
            },
            run_config={"ops": {"bronze_streaming_job": {"config": config or {}}}},
            instance=instance,
            raise_on_error=False,
        )
        return Outcome(result, instance)

    return run


@pytest.fixture
def report() -> tuple[str, object]:
    """The step in which the worker reports three rows of listen_events."""
    types = {int: "int", str: "string", float: "float"}

    def table(*records):
        schema = [{"name": name, "type": types[type(value)]} for name, value in records[0].items()]
        return {"type": "table", "raw_value": {"records": list(records), "schema": schema}}

    return (
        "report",
        {
            "rows": {"type": "int", "raw_value": 3},
            "seconds": {"type": "float", "raw_value": 0.25},
            "snapshot_ids": {"type": "json", "raw_value": {"bronze_listen_events": [81]}},
            "topics": table({"topic": "listen_events", "table": "bronze_listen_events", "rows": 3, "snapshot_id": "81"}),
            "offsets": table({"topic": "listen_events", "epoch": 0, "partition": 0, "from": 0, "to": 3, "rows": 3}),
        },
    )
