"""The wiring: which resource every definition gets under which name."""

import dagster as dg

from dagster_project.resources.batch_runner import BatchRunner
from dagster_project.resources.stream_worker import StreamWorker
from dagster_project.resources.worker_service import WorkerService


@dg.definitions
def resources() -> dg.Definitions:
    """Resources of the code location."""
    return dg.Definitions(
        resources={"stream_worker": StreamWorker(), "batch_runner": BatchRunner(), "worker_service": WorkerService()}
    )
