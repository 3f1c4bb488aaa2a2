"""Runs a local worker over Dagster Pipes and makes the step tell the truth about it.

Guarantees:
* the worker never outlives the step (`process.py`);
* a step succeeds only if the worker exited with 0, closed its session, every message was read, and every selected asset was
  reported (unless the worker does not make it by itself): nothing is materialized by implication;
* what was reported before a failure or a cancellation stays recorded, because it was committed;
* what goes along with a session (`companion`) begins before the worker and ends after its last message, however it ends.
"""

import os
import queue
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import cast

import dagster as dg

from dagster_project.resources.pipes.exit_codes import meaning_of
from dagster_project.resources.pipes.interrupts import deferred_interrupts
from dagster_project.resources.pipes.process import EventQueue, Interrupted, WorkerProcess, running_worker
from dagster_project.resources.pipes.reader import SessionMessageReader
from dagster_project.resources.pipes.results import keep_results
from dagster_project.resources.pipes.session import SessionJournal

ReaderFactory = Callable[[dg.AssetExecutionContext], SessionMessageReader]
Companion = Callable[[dg.AssetExecutionContext, SessionJournal], AbstractContextManager[None]]


@dataclass
class Outcome:
    """How a session ended."""

    exit_code: int
    tail: Sequence[str]
    reader: SessionMessageReader

    @property
    def journal(self) -> SessionJournal:
        """What was heard in the session."""
        return self.reader.journal


class WithoutResult:
    """A context in which opening a session does not oblige the step to yield a result; all else is as in the one inside."""

    def __init__(self, inside: dg.OpExecutionContext) -> None:
        self._inside = inside

    def set_requires_typed_event_stream(self, *, error_message: str | None = None) -> None:
        """Ignores the demand."""

    def __getattr__(self, name: str) -> object:
        return getattr(self._inside, name)


@dataclass
class StreamifyPipesClient(dg.PipesClient):
    """A Pipes client for worker processes on this machine.

    Args:
        new_reader: makes the message reader of one session.
        seconds_per_stop_step: time the worker gets after SIGINT, and again after SIGTERM, before SIGKILL.
        require_closed: whether a worker that exits with 0 without closing its session fails the step.
        env: variables added to the inherited ones.
        companion: goes along with each session, such as what reports commits while the worker runs. It must not raise, and
            must end within a bounded time.
    """

    new_reader: ReaderFactory
    seconds_per_stop_step: float = 10.0
    require_closed: bool = True
    env: Mapping[str, str] = field(default_factory=dict)
    companion: Companion = lambda _context, _journal: nullcontext()

    def run(  # type: ignore[override]  # `command` has no default here
        self,
        *,
        context: dg.AssetExecutionContext,
        command: Sequence[str],
        extras: Mapping[str, object] | None = None,
        env: Mapping[str, str] | None = None,
        makes_asset: bool = True,
    ) -> dg.PipesClientCompletedInvocation:
        """Runs `command` to its end.

        Args:
            context: context of the executing asset.
            command: program and arguments.
            extras: given to the worker, beside the partition range.
            env: variables for this run only.
            makes_asset: whether this worker makes the selected assets: then it must report each of them, and a report stays
                recorded in spite of a failure. If not (a dry run, or a part of the work), the step may end without a result.

        Raises:
            dagster.Failure: see the guarantees; a retry is offered only where it can help.
        """
        reader = self.new_reader(context)
        try:
            session, outcome = self._run_session(context, reader, command, extras or {}, env or {}, makes_asset)
            failure = self._failure(context, command, outcome, makes_asset)
            if failure is not None:
                raise failure
            reader.discard()
        except BaseException as error:
            reports = reader.reported_results() if makes_asset else []
            num_kept = keep_results(context, reports)
            if num_kept:
                context.log.info("[pipes] kept %d reported events in spite of: %s", num_kept, type(error).__name__)
            raise
        return dg.PipesClientCompletedInvocation(session)

    def _run_session(
        self,
        context: dg.AssetExecutionContext,
        reader: SessionMessageReader,
        command: Sequence[str],
        extras: Mapping[str, object],
        env: Mapping[str, str],
        makes_asset: bool,
    ) -> tuple[dg.PipesSession, Outcome]:
        events: EventQueue = queue.SimpleQueue()
        with deferred_interrupts(lambda number: events.put(Interrupted(number))), self.companion(context, reader.journal):
            # Dagster's own Pipes code uses what the asset context deprecates.
            in_session = context.op_execution_context
            with dg.open_pipes_session(
                context=in_session if makes_asset else cast("dg.OpExecutionContext", WithoutResult(in_session)),
                context_injector=dg.PipesTempFileContextInjector(),
                message_reader=reader,
                extras={**partition_extras(context), **extras},
            ) as session:
                worker_env = {**os.environ, **self.env, **env, **session.get_bootstrap_env_vars()}
                with running_worker(command, worker_env, events, round(self.seconds_per_stop_step)) as worker:
                    self._supervise(context, worker)
                    exit_code = worker.reap()
            # The session is closed: the reader has drained.
            return session, Outcome(exit_code, tuple(worker.tail), reader)

    def _supervise(self, context: dg.AssetExecutionContext, worker: WorkerProcess) -> None:
        if worker.wait():
            context.log.info("[pipes] interrupted: asking the worker to finish what it holds and stop")
            name = worker.stop(self.seconds_per_stop_step)
            context.log.info("[pipes] the worker stopped after %s", name)

    def _failure(
        self, context: dg.AssetExecutionContext, command: Sequence[str], outcome: Outcome, makes_asset: bool
    ) -> dg.Failure | None:
        """Returns the failure of a session that did not end well, the most telling reason first."""
        program = os.path.basename(command[0])  # noqa: PTH119  # a program's name, not a path we touch
        if outcome.exit_code != 0:
            meaning = meaning_of(outcome.exit_code)
            said = outcome.journal.error or "\n".join(outcome.tail) or "it said nothing"
            text = f"{program} exited with code {outcome.exit_code} ({meaning.text}):\n{said}"
            return _build_failure(text, outcome, retry_helps=meaning.retry_helps)
        if outcome.journal.losses:
            text = f"messages of {program} may be lost: {'; '.join(outcome.journal.losses)}"
            return _build_failure(text, outcome, retry_helps=True)
        if self.require_closed and not outcome.journal.closed:
            text = f"{program} exited with code 0 but never closed its Pipes session; its reports may be incomplete"
            return _build_failure(text, outcome, retry_helps=True)
        reported = {report.asset_key for report in outcome.reader.reported_results()}
        missing = sorted(key.to_user_string() for key in context.selected_asset_keys - reported)
        if missing and makes_asset:
            names = ", ".join(f"`{name}`" for name in missing)
            return _build_failure(f"{program} exited with code 0 but reported nothing for {names}", outcome, True)
        return None


def _build_failure(description: str, outcome: Outcome, retry_helps: bool) -> dg.Failure:
    return dg.Failure(
        description=description,
        metadata={
            "exit_code": outcome.exit_code,
            "exit_meaning": meaning_of(outcome.exit_code).text,
            "messages_received": outcome.journal.num_messages,
            "messages_refused": outcome.journal.num_refused,
            "last_output": dg.MetadataValue.md("```\n" + "\n".join(outcome.tail) + "\n```"),
        },
        allow_retries=retry_helps,
    )


def partition_extras(context: dg.AssetExecutionContext) -> dict[str, object]:
    """Returns the partition range of a range run, which Dagster's own Pipes context leaves null there."""
    if not context.has_partition_key_range:
        return {}
    key_range = context.partition_key_range
    extras: dict[str, object] = {"partition_key_range": {"start": key_range.start, "end": key_range.end}}
    if isinstance(context.assets_def.partitions_def, dg.TimeWindowPartitionsDefinition):
        window = context.partition_time_window
        extras["partition_time_window"] = {"start": window.start.isoformat(), "end": window.end.isoformat()}
    return extras
