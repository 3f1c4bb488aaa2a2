"""Real runs of `streamify-pipes-probe`: Dagster's own client, context injectors and message readers at the other end."""

import json
import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._utils.error import SerializableErrorInfo

BUCKET = "pipes-testing"
ASSET = "my_asset"
CHECK = "my_check"


@dataclass
class Heard:
    """What Dagster knows after a run."""

    success: bool
    custom: list[Any] = field(default_factory=list)
    logs: list[tuple[str, str]] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    materializations: list[dg.AssetMaterialization] = field(default_factory=list)
    """Those that the process reported."""
    checks: list[Any] = field(default_factory=list)
    told: list[SerializableErrorInfo] = field(default_factory=list)
    """Exceptions that the process closed with."""
    failure: str = ""

    @property
    def own_logs(self) -> list[tuple[str, str]]:
        """Level and text of the lines that are the probe's."""
        return [line for line in self.logs if not line[1].startswith("[pipes]")]

    @property
    def warnings(self) -> list[str]:
        """What Dagster misses: messages, `opened`, `closed`."""
        return [text for level, text in self.logs if level == "WARNING" and text.startswith("[pipes]")]


@dataclass
class Launcher:
    """Runs the probe within assets."""

    program: str
    folder: Path
    instance: dg.DagsterInstance
    num_files: int = 0

    def command(self, **options: object) -> list[str]:
        """Program and arguments; an option that is no text becomes a file of JSON."""
        command = [self.program]
        for name, value in options.items():
            if not isinstance(value, str):
                self.num_files += 1
                file = self.folder / f"{name}-{self.num_files}.json"
                file.write_text(json.dumps(value), encoding="utf-8")
                value = str(file)
            command += [f"--{name.replace('_', '-')}", value]
        return command

    def run(
        self,
        *command: str,
        client: dg.PipesClient | None = None,
        extras: dict[str, object] | None = None,
        specs: Sequence[dg.AssetSpec] = (dg.AssetSpec(ASSET),),
        outs: Mapping[str, dg.AssetOut] | None = None,
        checks: Sequence[dg.AssetCheckSpec] = (),
        partitions_def: dg.PartitionsDefinition | None = None,
        meanwhile: Callable[[], None] | None = None,
        **how: Any,
    ) -> Heard:
        """Runs the command as one asset step; `meanwhile` runs on a thread beside it, `how` goes to `dg.materialize`.

        `outs` instead of `specs` is for keys that Dagster cannot make names of.
        """
        client = client or dg.PipesSubprocessClient()
        custom: list[Any] = []
        results: list[dg.MaterializeResult | dg.AssetCheckResult] = []

        def probed(context: dg.AssetExecutionContext) -> Iterator[Any]:
            invocation = client.run(context=context, command=list(command), extras=extras)
            custom.extend(invocation.get_custom_messages())
            results.extend(invocation.get_results(implicit_materializations=False))
            # Those that Dagster makes up for the others are what lets the step succeed.
            yield from invocation.get_results()

        beside = threading.Thread(target=meanwhile) if meanwhile else None
        if beside:
            beside.start()
        with warnings.catch_warnings():
            # Dagster's own client uses calls that it deprecates, and runs over a range of partitions are in beta.
            warnings.filterwarnings("ignore", "AssetExecutionContext", DeprecationWarning)
            warnings.filterwarnings("ignore", "Function .PipesMessageReader.expected_writer_count")
            warnings.filterwarnings("ignore", "Parameter .backfill_policy.")
            policy = dg.BackfillPolicy.single_run() if partitions_def else None
            assets = {"outs": outs} if outs else {"specs": specs}
            step = dg.multi_asset(check_specs=checks, partitions_def=partitions_def, backfill_policy=policy, **assets)(probed)
            result = dg.materialize([step], instance=self.instance, raise_on_error=False, **how)
        if beside:
            beside.join()
        heard = self._heard(result)
        heard.custom, heard.results = custom, [type(result).__name__ for result in results]
        reported_keys = {result.asset_key for result in results if isinstance(result, dg.MaterializeResult)}
        heard.materializations = [made for made in heard.materializations if made.asset_key in reported_keys]
        return heard

    def _heard(self, result: dg.ExecuteInProcessResult) -> Heard:
        entries = self.instance.all_logs(result.run_id)
        heard = Heard(success=result.success)
        heard.logs = [(logging.getLevelName(entry.level), entry.user_message) for entry in entries if not entry.is_dagster_event]
        for event in [entry.dagster_event for entry in entries if entry.dagster_event]:
            if event.is_step_materialization:
                heard.materializations.append(event.materialization)
            elif event.event_type_value == "ASSET_CHECK_EVALUATION":
                heard.checks.append(event.asset_check_evaluation_data)
            elif event.is_engine_event and event.engine_event_data.error:
                # Whatever a test is about: a message that ends Dagster's reader is never right.
                assert "framework exception" not in (event.message or ""), event.engine_event_data.error
                heard.told.append(event.engine_event_data.error)
            elif event.is_step_failure:
                heard.failure = str(event.event_specific_data)
        return heard


def known_values() -> dict[str, dg.MetadataValue[Any]]:
    """The thirteen entries that the probe reports, as Dagster has them."""
    return {
        "bool_true": dg.MetadataValue.bool(True),
        "bool_false": dg.MetadataValue.bool(False),
        "float": dg.MetadataValue.float(0.1),
        "int": dg.MetadataValue.int(1),
        "url": dg.MetadataValue.url("https://dagster.io"),
        "path": dg.MetadataValue.path("/dev/null"),
        "null": dg.MetadataValue.null(),
        "md": dg.MetadataValue.md("**markdown**"),
        "json": dg.MetadataValue.json({"quux": {"a": 1, "b": 2}, "corge": None, "qux": [1, 2, 3], "foo": "bar", "baz": 1}),
        "text": dg.MetadataValue.text("hello"),
        "asset": dg.MetadataValue.asset(dg.AssetKey(["foo", "bar"])),
        "dagster_run": dg.MetadataValue.dagster_run("db892d7f-0031-4747-973d-22e8b9095d9d"),
        "notebook": dg.MetadataValue.notebook("notebook.ipynb"),
    }
