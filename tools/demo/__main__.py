"""Starts the embedded broker, makes a week of listening, lets Dagster land it in Iceberg, and shows the result.

A second run finds the broker, makes the events since, and goes on from the offsets in the tables. If the broker has gone
(it keeps its records in memory only), the demo says so and opens a new source epoch.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from dagster_project.home import prepare_home
from dagster_project.lib.paths import find_binary, streamify_home
from tools.demo import report

ASSET = "bronze_streaming_job"
#: A week of these is about 40,000 records: half of what the broker can hold for a reader that has not come yet.
USERS = 1_200
GENERATE = ("--json", "--duplicates", "0.02", "--follow-timeout", "30s")
#: Variables that would lead the demo to somebody's servers; it is about the embedded parts.
FOREIGN = ("KAFKA_BOOTSTRAP_SERVERS", "POLARIS_URI", "DAGSTER_PIPES_BUCKET", "STREAMIFY_TOPICS", "STREAMIFY_SOURCE_ID")


def main() -> int:
    """Runs the demo; returns the exit code of the first step that failed."""
    started = time.monotonic()
    home = streamify_home(os.environ).absolute()
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    environment |= {"STREAMIFY_HOME": str(home), "DAGSTER_HOME": str(prepare_home(home)), "PYTHONWARNINGS": "ignore"}
    try:
        broker, is_new = _broker(environment)
        adopt = is_new and (home / "catalog.db").exists()
        say(1, f"embedded broker at {broker['bootstrap_servers']}" + ("" if is_new else ", the one of the last demo"))
        if adopt:
            say(1, "the broker of the last demo has gone, and its records with it: a new source epoch begins")
        say(2, f"making a week of events of {USERS:,} listeners")
        made = json.loads(_output(environment, "streamify-generate", "run", "--users", str(USERS), *GENERATE))
        say(2, f"{made['events'] + made['duplicates']:,} records in four topics, {made['duplicates']:,} of them delivered twice")
        say(3, f"dagster asset materialize --select {ASSET} (log: {home / 'demo.log'})")
        _materialize(environment, home, adopt)
    except subprocess.CalledProcessError as error:
        print(f"\nthe demo stopped: `{Path(error.cmd[0]).name}` ended with exit code {error.returncode}", file=sys.stderr)
        return int(error.returncode) or 1
    print()
    report.show(home, environment["DAGSTER_HOME"])
    print(f"\ndone in {time.monotonic() - started:.0f} s; the broker stays up until `make demo-stop`")
    return 0


def say(step: int, text: str) -> None:
    """Prints a step of the demo."""
    print(f"[{step}/3] {text}", flush=True)


def _broker(environment: dict[str, str]) -> tuple[dict[str, str], bool]:
    """Returns the broker's description and whether this call started it."""
    binary = str(find_binary("streamify-generate", os.environ))
    was_up = subprocess.run([binary, "broker", "status"], env=environment, capture_output=True, check=False).returncode == 0
    return json.loads(_output(environment, "streamify-generate", "broker", "start", "--json")), not was_up


def _output(environment: dict[str, str], name: str, *arguments: str) -> str:
    command = [str(find_binary(name, os.environ)), *arguments]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def _materialize(environment: dict[str, str], home: Path, adopt: bool) -> None:
    config = {"ops": {ASSET: {"config": {"adopt_new_topic": adopt}}}}
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "dagster_project.definitions"]
    log = home / "demo.log"
    with log.open("w", encoding="utf-8") as output:
        done = subprocess.run(
            [*command, "--select", ASSET, "--config-json", json.dumps(config)],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        print(log.read_text(encoding="utf-8")[-4000:], file=sys.stderr)
        done.check_returncode()


if __name__ == "__main__":
    sys.exit(main())
