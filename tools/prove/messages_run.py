"""One run in a process of its own: `python -m tools.prove.messages_run FILE MESSAGES SECONDS [RATE]`; FILE tells what arrived."""

import json
import os
import sys
from pathlib import Path

import dagster as dg

from dagster_project.lib.paths import find_binary
from dagster_project.resources.pipes.client import StreamifyPipesClient
from dagster_project.resources.pipes.reader import SessionMessageReader
from dagster_project.resources.stream_worker import new_reader


def main(told: str, *arguments: str) -> None:
    """Runs the writer once and counts."""
    readers: list[SessionMessageReader] = []

    def reader_of(context: dg.AssetExecutionContext) -> SessionMessageReader:
        readers.append(new_reader(context))
        return readers[-1]

    @dg.asset
    def talker(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        client = StreamifyPipesClient(new_reader=reader_of)
        command = [str(find_binary("examples/pipes_messages", os.environ)), *arguments]
        results = client.run(context=context, command=command).get_results(implicit_materializations=False)
        return next(result for result in results if isinstance(result, dg.MaterializeResult))

    with dg.DagsterInstance.get() as instance:
        result = dg.materialize([talker], instance=instance, raise_on_error=False)
        events = len(instance.all_logs(result.run_id))
    # Counted where they arrive; the reader passes over those that come twice.
    heard = sum(reader.journal.num_messages for reader in readers)
    document = {"success": result.success, "messages": heard, "events": events}
    Path(told).write_text(json.dumps(document), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
