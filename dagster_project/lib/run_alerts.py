"""A failed run in words for people who do not have Dagster open."""

from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from dagster_project.lib.alerts import Alert, Problem
from dagster_project.lib.links import run_link
from dagster_project.lib.outbox import Undelivered

#: Name that Dagster gives to runs of assets that no job stands for.
ASSET_JOB_PREFIX = "__"
MAX_REASON = 600
#: Run tag with the notifiers that were not reached, until the next tick of `alert_on_bad_data` takes it over.
UNDELIVERED_TAG = "streamify/undelivered_alert"
WAITS = "waits"
TAKEN_OVER = "taken over"
#: Run tag with those notifiers, separated by commas.
NOTIFIERS_TAG = "streamify/undelivered_alert_to"


def failed_run_alert(run: dg.DagsterRun, reason: str, since: float | None, environ: Mapping[str, str]) -> Alert:
    """Returns the alert of a failed run.

    Args:
        run: the run.
        reason: what the failed step, or else the run, said.
        since: when it failed, seconds since 1970.
        environ: where Dagster's UI is.
    """
    what = f"{_name(run)} failed: {shortened(reason)}"
    return Alert(
        Problem(
            key=f"run/{run.run_id}",
            what=what,
            where=f"run {run.run_id}",
            next_step=_next_step(reason),
            since=since,
            link=run_link(environ, run.run_id),
        )
    )


def reason_of(step_failures: Iterable[dg.DagsterEvent], run_message: str | None) -> str:
    """Returns the most telling message of a failed run: the description that a step failed with, else the error."""
    for event in step_failures:
        data = event.step_failure_data
        described = data.user_failure_data.description if data.user_failure_data else None
        error = data.error.cause or data.error if data.error else None
        if text := described or (error.message if error else None):
            return f"step `{event.step_key}`: {text.strip()}"
    return run_message or "no message; see the run's log"


def shortened(text: str, limit: int = MAX_REASON) -> str:
    """Returns a text without line breaks, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def undelivered_tags(waiting: Sequence[Undelivered]) -> Mapping[str, str]:
    """Returns the tags that a run gets whose alert did not reach everybody."""
    return {UNDELIVERED_TAG: WAITS, NOTIFIERS_TAG: ",".join(sorted({one.notifier for one in waiting}))}


def _name(run: dg.DagsterRun) -> str:
    if not run.job_name.startswith(ASSET_JOB_PREFIX):
        return f"job `{run.job_name}`"
    keys = sorted(key.to_user_string() for key in run.asset_selection or [])
    checks = sorted(f"{key.asset_key.to_user_string()}:{key.name}" for key in run.asset_check_selection or [])
    names = keys or checks
    shown = ", ".join(f"`{name}`" for name in names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    kind = "asset" if keys else "check"
    return f"run of {kind}{'s' if len(names) > 1 else ''} {shown}" if names else "a run of assets"


def _next_step(reason: str) -> str:
    if "exited with code 3" in reason:
        return "it needs a decision by a person: the run's log says which; nothing starts it again by itself"
    if "exited with code 2" in reason:
        return "correct the setting that the message names; nothing was read or written"
    return "read the run's log, remove the cause, launch it again: it goes on from the last commit, nothing is done twice"
