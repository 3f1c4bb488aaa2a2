"""Broker, catalog or store away: at the start a clear error, in the middle of a run patience, and never a lost record."""

import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from pyiceberg.exceptions import NoSuchTableError

from tools.prove.chaos import worker
from tools.prove.claims import Claim, equal
from tools.prove.feed import TOPICS, Feeder, make_events
from tools.prove.tables import end_offsets, landed, open_catalog
from tools.stack import Stack
from tools.stack.component import Component
from tools.stack.ports import free_ports
from tools.stack.processes import wait_until

EVENTS = 30_000
SLICES = 6
#: Which variable names a server, by component.
ADDRESS = {"kafka": "KAFKA_BOOTSTRAP_SERVERS", "gateway": "POLARIS_URI", "minio": "AWS_ENDPOINT_URL"}


def run(seconds_away: float, seed: int) -> Iterator[Claim]:
    """Takes each server away before a start, then, for `seconds_away`, during a run."""
    folder = Path(tempfile.mkdtemp(prefix="streamify-outages-"))
    try:
        with Stack(folder / "stack") as stack:
            environment = stack.environment() | {"STREAMIFY_HOME": str(folder / "home")}
            feeder = Feeder(
                environment["KAFKA_BOOTSTRAP_SERVERS"], folder / "events", SLICES, make_events(folder / "events", EVENTS, seed)
            )
            feeder.deliver_slice()
            yield from _down_at_start(environment, folder)
            yield from _down_in_a_run(stack, environment, feeder, folder, seconds_away)
    except BaseException:
        print(f"the logs of the failed run are in {folder}", flush=True)
        raise
    shutil.rmtree(folder)


def _down_at_start(environment: dict[str, str], folder: Path) -> Iterator[Claim]:
    closed = free_ports(1)[0]
    for name, variable in ADDRESS.items():
        address = environment[variable]
        host, port = address.removeprefix("http://").split("/")[0].split(":")
        elsewhere = address.replace(f"{host}:{port}", f"{host}:{closed}")
        log = folder / f"start-without-{name}.log"
        code = worker(environment | {variable: elsewhere}, "--until", "caught-up", "--connect-timeout", "3s", log=log).wait(
            timeout=60
        )
        text = log.read_text(encoding="utf-8")
        yield equal(f"start without {name}: exit code", code, 1)
        yield equal(f"start without {name}: the error names the address", f"{host}:{closed}" in text, True)
        yield equal(f"start without {name}: no panic", "panicked" in text, False)


def _down_in_a_run(
    stack: Stack, environment: dict[str, str], feeder: Feeder, folder: Path, seconds_away: float
) -> Iterator[Claim]:
    log = folder / "run.log"
    process = worker(environment, "--commit-timeout", "10m", log=log)
    # The outages are to meet a run, not a start.
    wait_until(lambda: _caught_up(environment, process), 120, f"the worker did not begin, see {log}")
    parts: list[Component] = [stack.gateway, stack.minio, stack.kafka]
    for part in parts:
        if part is not stack.kafka:
            part.kill()
            feeder.deliver_slice()
            _stay_away(seconds_away)
            part.start()
        else:
            feeder.deliver_slice()
            part.kill()
            _stay_away(seconds_away)
            part.start()
            feeder.deliver_slice()
        wait_until(
            lambda: _caught_up(environment, process), 180, f"the worker did not catch up after {part.name} was away, see {log}"
        )
        yield equal(f"{part.name} away for {seconds_away:.0f} s: the worker goes on by itself", process.poll(), None)
    for _slice in feeder.slices():
        pass
    wait_until(lambda: _caught_up(environment, process), 180, f"the worker did not catch up, see {log}")
    process.terminate()
    yield equal("stopped with SIGTERM: exit code", process.wait(timeout=10), 0)
    yield from _nothing_lost(environment, feeder)


def _stay_away(seconds: float) -> None:
    """The length of the outage is the experiment here, not something to wait for."""
    threading.Event().wait(seconds)


def _caught_up(environment: dict[str, str], process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"the worker ended with exit code {process.returncode}")
    catalog = open_catalog(environment)
    namespace = environment.get("POLARIS_NAMESPACE", "streamify")
    for topic in TOPICS:
        try:
            table = catalog.load_table(f"{namespace}.bronze_{topic}")
        except NoSuchTableError:
            return False
        state = table.properties.get("streamify.state", "")
        ends = end_offsets(environment["KAFKA_BOOTSTRAP_SERVERS"], topic)
        if not all(f'"{partition}":{end}' in state for partition, end in ends.items()):
            return False
    return True


def _nothing_lost(environment: dict[str, str], feeder: Feeder) -> Iterator[Claim]:
    catalog = open_catalog(environment)
    missing = doubled = 0
    for topic in TOPICS:
        found = landed(catalog, environment, topic, end_offsets(environment["KAFKA_BOOTSTRAP_SERVERS"], topic))
        missing, doubled = missing + found.missing, doubled + found.doubled
    yield equal("after all outages: offsets in no table", missing, 0)
    yield equal("after all outages: offsets in a table twice", doubled, 0)
