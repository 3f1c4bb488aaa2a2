"""The stream worker `streamify-stream`, as a resource: finds the binary, picks the channel, runs it."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import dagster as dg

from dagster_project.lib.bronze_tables import table_names
from dagster_project.lib.paths import BinaryNotFoundError, find_binary, streamify_home
from dagster_project.resources.live_reports import LiveReports, ReportTiming, reporting
from dagster_project.resources.pipes.client import StreamifyPipesClient
from dagster_project.resources.pipes.file_reader import FileMessageReader
from dagster_project.resources.pipes.reader import SessionMessageReader
from dagster_project.resources.pipes.s3_reader import S3MessageReader, build_client
from dagster_project.resources.pipes.session import SessionJournal

DEFAULT_PREFIX = "dagster-pipes"


class StreamWorker(dg.ConfigurableResource[object]):
    """Runs the stream worker once, over Pipes.

    Attributes:
        binary: file name of the worker.
        seconds_per_stop_step: time it gets after SIGINT, and again after SIGTERM; it needs at most 9 s.
        report_seconds: time between two reports of commits and progress during a run.
        silence_seconds: a worker that told its progress and then did not for so long is called silent in the log.
    """

    binary: str = "streamify-stream"
    seconds_per_stop_step: float = 10.0
    report_seconds: float = ReportTiming.interval
    silence_seconds: float = ReportTiming.silence

    def run(
        self, context: dg.AssetExecutionContext, args: Sequence[str], extras: Mapping[str, object] | None = None
    ) -> Sequence[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        """Runs the worker to its end and returns what it reported; meanwhile the tables get events of their own.

        Raises:
            dagster.Failure: if there is no binary, or the run did not end well.
        """
        invocation = self._client(reports=True).run(context=context, command=self._command(args), extras=extras)
        return invocation.get_results(implicit_materializations=False)

    def run_into_staging(self, context: dg.AssetExecutionContext, args: Sequence[str]) -> None:
        """Runs the worker to its end for a staging table; what it reports is no event of the asset, which takes more than that.

        Raises:
            dagster.Failure: as `run`.
        """
        self._client(reports=False).run(context=context, command=self._command(args), makes_asset=False)

    def _command(self, args: Sequence[str]) -> Sequence[str]:
        try:
            return [str(find_binary(self.binary, os.environ)), *args]
        except BinaryNotFoundError as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error

    def _client(self, *, reports: bool) -> StreamifyPipesClient:
        return StreamifyPipesClient(
            new_reader=new_reader,
            seconds_per_stop_step=self.seconds_per_stop_step,
            env={"STREAMIFY_HOME": str(streamify_home(os.environ))},
            companion=self._reporting if reports else lambda _context, _journal: nullcontext(),
        )

    def _reporting(self, context: dg.AssetExecutionContext, journal: SessionJournal) -> AbstractContextManager[None]:
        timing = ReportTiming(interval=self.report_seconds, silence=self.silence_seconds)
        environ = dict(os.environ)
        return reporting(LiveReports(context.instance, context.log, journal, environ, table_names(environ), timing))


def new_reader(context: dg.AssetExecutionContext) -> SessionMessageReader:
    """Makes the reader of a session: through S3 if `DAGSTER_PIPES_BUCKET` is set, else through a file.

    Chunks in S3 stand under `<STREAMIFY_PIPES_PREFIX>/<run>/<step>/<retry>/`; after a step that succeeded they are deleted,
    unless `STREAMIFY_PIPES_KEEP` is `true`.
    """
    bucket = os.environ.get("DAGSTER_PIPES_BUCKET")
    if not bucket:
        return FileMessageReader(context.log)
    base = os.environ.get("STREAMIFY_PIPES_PREFIX", DEFAULT_PREFIX).strip("/")
    step = context.op_execution_context.op_handle
    prefix = "/".join([base, context.run.run_id, str(step), str(context.retry_number)])
    client = build_client(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))
    keeps_chunks = os.environ.get("STREAMIFY_PIPES_KEEP") == "true"
    return S3MessageReader(context.log, client, bucket, prefix, keeps_chunks=keeps_chunks)
