"""Dead letters tried again, as Dagster starts it: the command line for the days of a run, and what became of the letters."""

import dagster as dg
from pydantic import Field

from dagster_project.lib.batch_jobs import BatchJob, BatchRunConfig
from dagster_project.lib.batch_reports import Report, Value
from dagster_project.lib.contracts import DEAD_LETTER_TABLE
from dagster_project.lib.replay_jobs import mapping, memory_args

LETTERS_KEY = dg.AssetKey("dead_letter_replay")


class LettersConfig(BatchRunConfig):
    """Config of a run that tries dead letters again."""

    topics: list[str] = Field([], description="Only letters of these topics; empty: all that have a contract.")
    reasons: list[str] = Field([], description="Only letters with these reason codes, e.g. `wrong_type`; empty: all.")
    again: bool = Field(False, description="Take replayed letters too: after a table was rolled back.")
    dry_run: bool = Field(False, description="Only count, by reason; no day counts as materialized.")


def letters_job(days: str, config: LettersConfig) -> BatchJob:
    """Tries the dead letters of some days again.

    Args:
        days: `YYYY-MM-DD`, or `YYYY-MM-DD..YYYY-MM-DD` with both ends included, of the records' Kafka timestamps.
        config: config of the run.
    """
    args = ["replay-dead-letters", "--days", days]
    args += ["--topics", ",".join(config.topics)] if config.topics else []
    args += ["--reasons", ",".join(config.reasons)] if config.reasons else []
    args += ["--again"] if config.again else []
    args += ["--dry-run"] if config.dry_run else []
    args += memory_args(config.memory_limit)
    given: dict[str, object] = {"topics": config.topics, "reasons": config.reasons, "memory_limit": config.memory_limit}
    arguments = {name: value for name, value in given.items() if value}
    arguments |= {"days": days, "again": config.again, "dry_run": config.dry_run}
    return BatchJob(DEAD_LETTER_TABLE, args, "replay_dead_letters", arguments, is_dry_run=config.dry_run)


def letters_metadata(report: Report) -> dict[str, Value]:
    """Returns what became of dead letters: counts, and a row for each topic and reason."""
    rows = []
    for topic, reasons in sorted(mapping(report.get("topics")).items()):
        for reason, count in sorted(mapping(reasons).items()):
            numbers = mapping(count)
            still_dead = ", ".join(f"{code}: {number}" for code, number in sorted(mapping(numbers.get("still_dead")).items()))
            counted = {name: int(str(numbers[name])) for name in ("letters", "good")}
            rows.append(dg.TableRecord({"topic": topic, "reason": reason, **counted, "still_dead": still_dead}))
    kinds = {"topic": "string", "reason": "string", "letters": "int", "good": "int", "still_dead": "string"}
    schema = dg.TableSchema([dg.TableColumn(name, kind) for name, kind in kinds.items()])
    names = ("inserted", "marked", "already_there", "pending", "without_contract", "commits", "files_rewritten", "seconds")
    counts = {name: _number(report.get(name)) for name in names}
    letters = sum(int(str(row.data["letters"])) for row in rows)
    return {"letters": dg.MetadataValue.int(letters), **counts, "reasons": dg.MetadataValue.table(rows, schema)}


def _number(value: object) -> Value:
    return dg.MetadataValue.float(value) if isinstance(value, float) else dg.MetadataValue.int(int(str(value or 0)))
