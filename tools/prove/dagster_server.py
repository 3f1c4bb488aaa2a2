"""A Dagster web server as an operator has it, and the calls that its buttons make: launch, terminate, look."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.stack.ports import free_ports
from tools.stack.processes import wait_until

MODULE = "tools.prove.dagster_location"
START_SECONDS = 300.0
FINISHED = frozenset({"SUCCESS", "FAILURE", "CANCELED"})

#: Runs begin at once; otherwise a daemon takes them from a queue every few seconds.
SETTINGS = """telemetry:
  enabled: false
run_coordinator:
  module: dagster.core.run_coordinator
  class: DefaultRunCoordinator
"""

LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
TERMINATE = """mutation($run: String!) { terminateRun(runId: $run) { __typename ... on TerminateRunFailure { message } } }"""
STATUS = "query($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"


@dataclass(frozen=True)
class DagsterServer:
    """A running web server and what it answers."""

    url: str

    def launch(self, asset: str, config: Mapping[str, object] | None = None) -> str:
        """Launches a run of one asset; returns its id."""
        selection = {"pipelineName": "__ASSET_JOB", "assetSelection": [{"path": [asset]}], "assetCheckSelection": []}
        return self._launch(selection, {"ops": {asset: {"config": dict(config)}}} if config else {})

    def launch_job(self, job: str) -> str:
        """Launches a run of a job with its default config; returns its id."""
        return self._launch({"pipelineName": job}, {})

    def _launch(self, selection: Mapping[str, object], run_config: Mapping[str, object]) -> str:
        selector = {"repositoryLocationName": MODULE, "repositoryName": "__repository__", **selection}
        params = {"selector": selector, "runConfigData": json.dumps(run_config), "mode": "default"}
        launched = self._ask(LAUNCH, {"params": params})["launchRun"]
        if launched["__typename"] != "LaunchRunSuccess":
            raise RuntimeError(f"the run was not launched: {launched}")
        return str(launched["run"]["runId"])

    def terminate(self, run_id: str) -> None:
        """What the button *Terminate* does."""
        answer = self._ask(TERMINATE, {"run": run_id})["terminateRun"]
        if answer["__typename"] != "TerminateRunSuccess":
            raise RuntimeError(f"run {run_id} was not terminated: {answer}")

    def status(self, run_id: str) -> str:
        """Returns the status of a run, such as STARTED."""
        return str(self._ask(STATUS, {"run": run_id})["runOrError"]["status"])

    def wait_for_end(self, run_id: str, seconds: float) -> str:
        """Waits until a run has ended; returns its status."""
        wait_until(lambda: self.status(run_id) in FINISHED, seconds, f"run {run_id} did not end")
        return self.status(run_id)

    def _ask(self, query: str, variables: Mapping[str, object]) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            document: dict[str, Any] = json.loads(answer.read())
        if document.get("errors"):
            raise RuntimeError(f"Dagster answered: {document['errors']}")
        data: dict[str, Any] = document["data"]
        return data


@contextmanager
def dagster_server(environment: Mapping[str, str], home: Path, log: Path) -> Iterator[DagsterServer]:
    """Runs a web server on an instance in `home`, with the project's code location."""
    [port] = free_ports(1)
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text(SETTINGS, encoding="utf-8")
    variables = os.environ | dict(environment) | {"DAGSTER_HOME": str(home)}
    server = DagsterServer(f"http://127.0.0.1:{port}")
    command = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-m", MODULE]
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=output)
    try:
        wait_until(lambda: _answers(server, process), START_SECONDS, f"the web server did not come up, see {log}")
        yield server
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def kept_on_failure(prefix: str) -> Iterator[Path]:
    """A folder that goes with the block, unless the block fails: then it says where the logs are."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    except BaseException:
        print(f"the logs of the failed run are in {folder}", flush=True)
        raise
    shutil.rmtree(folder)


@contextmanager
def dagster_daemon(environment: Mapping[str, str], home: Path, log: Path) -> Iterator[None]:
    """Runs the daemon, which evaluates sensors and schedules, on the same instance."""
    variables = os.environ | dict(environment) | {"DAGSTER_HOME": str(home)}
    with log.open("ab") as output:
        command = [sys.executable, "-m", "dagster._daemon", "run", "-m", MODULE]
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def _answers(server: DagsterServer, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"the web server ended with exit code {process.returncode}")
    try:
        with urllib.request.urlopen(f"{server.url}/server_info", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def processes_of(program: str, home: Path) -> Sequence[int]:
    """Returns the processes of a program whose environment names the folder."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            name = (folder / "cmdline").read_bytes().split(b"\0")[0]
            is_ours = name.endswith(b"/" + program.encode()) and str(home).encode() in (folder / "environ").read_bytes()
            is_zombie = ") Z" in (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if is_ours and not is_zombie:
            found.append(int(folder.name))
    return found
