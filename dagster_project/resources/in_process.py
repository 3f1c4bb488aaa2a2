"""Batch jobs inside the step's own process, through `dagster_project._native`.

Guarantees: a request to stop the run cancels the job, which ends within two seconds without a half-done commit; what it had
committed by then is recorded before the interrupt goes on to Dagster; its errors keep their hint.
"""

import importlib
import time
from collections.abc import Callable
from typing import Protocol, cast

import dagster as dg

from dagster_project.lib.batch_jobs import BatchJob
from dagster_project.lib.batch_reports import Report
from dagster_project.resources.pipes.interrupts import deferred_interrupts

SECONDS_BETWEEN_LINES = 2.0


class CancelToken(Protocol):
    """Stops a call, from a signal handler or another thread."""

    def cancel(self) -> None:
        """Asks the call that has this token to end."""


class Progress(Protocol):
    """How far a call is."""

    what: str
    done: int
    total: int
    rows: int


class NativeModule(Protocol):
    """The part of `_native` that runs jobs; the jobs themselves are looked up by name."""

    CancelToken: Callable[[], CancelToken]
    StreamifyError: type[Exception]
    SettingsError: type[Exception]
    NeedsDecisionError: type[Exception]
    CancelledError: type[Exception]


def native() -> NativeModule:
    """Returns the compiled module; imported when it is first needed, so that definitions load without it."""
    return cast(NativeModule, importlib.import_module("dagster_project._native"))


def run_in_process(context: dg.AssetExecutionContext, job: BatchJob, env: dict[str, str], take: Callable[[Report], None]) -> None:
    """Runs a job in this process.

    Args:
        context: context of the executing asset; its log gets the progress.
        job: the job.
        env: variables over those of this process.
        take: is given the report once the job is done, before an interrupt that came meanwhile goes on.

    Raises:
        dagster.Failure: the job failed; a retry is offered only where it can help.
        BaseException: whatever an interrupt raises, once the job has ended.
    """
    module = native()
    token = module.CancelToken()
    interrupts: list[int] = []

    def stop(signal_number: int) -> None:
        interrupts.append(signal_number)
        token.cancel()

    with deferred_interrupts(stop):
        try:
            call: Callable[..., Report] = getattr(module, job.function)
            take(call(**job.arguments, env=env, progress=_progress_logger(context), cancel=token))
        except module.StreamifyError as error:
            if interrupts and isinstance(error, module.CancelledError):
                context.log.info("stopped before the end; what was committed stays, the rest is done by the next run")
            raise _failure(job, module, error) from error


def _progress_logger(context: dg.AssetExecutionContext) -> Callable[[Progress], None]:
    last = -SECONDS_BETWEEN_LINES

    def log(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            context.log.info("%s (%d of %d, %s rows)", progress.what, progress.done, progress.total, f"{progress.rows:,}")

    return log


def _failure(job: BatchJob, module: NativeModule, error: Exception) -> dg.Failure:
    hint = getattr(error, "hint", None)
    return dg.Failure(
        description=f"`{job.function}` of `{job.table}` failed: {error}",
        metadata={"error": type(error).__name__, **({"hint": hint} if hint else {})},
        allow_retries=not isinstance(error, module.SettingsError | module.NeedsDecisionError),
    )
