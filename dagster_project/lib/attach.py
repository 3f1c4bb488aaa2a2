"""Waiting for the always-on worker, in the place of a run that would fight with it over the tables.

Guarantees: the end offsets are asked once, at the beginning, so waiting ends although records keep coming; it is waited for the
table, not for the worker's word; a worker that goes away or stands still is told apart from one that is slow.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dagster_project.lib.paths import BinaryNotFoundError
from dagster_project.lib.worker_http import Answer, WorkerUnreachableError, ask
from dagster_project.lib.worker_process import becomes_true
from dagster_project.lib.worker_status import TablesStatus, TablesUnknownError, WorkerStatus, ask_tables, ask_worker, worker_url

SECONDS_PER_QUESTION = 30.0
SECONDS_FOR_ANSWERS = 10.0
SECONDS_FOR_TABLES = 90.0  # it waits a minute for brokers and catalog by itself
SECONDS_BETWEEN_TABLES = 5.0
Offsets = Mapping[int, int]


class AttachError(RuntimeError):
    """Waiting for the always-on worker has no sense, or no end.

    Attributes:
        retry_helps: whether the same wait may go well later.
    """

    def __init__(self, text: str, retry_helps: bool) -> None:
        super().__init__(text)
        self.retry_helps = retry_helps


@dataclass(frozen=True)
class Attached:
    """How the wait went.

    Attributes:
        before: the worker at its beginning.
        after: the worker at its end.
        caught_up: False if the time was over first.
        seconds: how long it took.
    """

    before: WorkerStatus
    after: WorkerStatus
    caught_up: bool
    seconds: float

    @property
    def rows(self) -> int:
        """Rows committed meanwhile; all of a worker that was started meanwhile."""
        return self._grown(lambda status: sum(table.rows for table in status.tables))

    @property
    def dead_letters(self) -> int:
        """Dead letters committed meanwhile."""
        return self._grown(lambda status: sum(table.dead_letters for table in status.tables))

    def _grown(self, count: Callable[[WorkerStatus], int]) -> int:
        return count(self.after) - (count(self.before) if self.before.writer_id == self.after.writer_id else 0)


def wait_until_caught_up(
    environ: Mapping[str, str],
    topics: Sequence[str],
    longest: float | None,
    patience: float,
    say: Callable[[str], None],
) -> Attached:
    """Waits until everything that is in the topics now is in the tables.

    Args:
        environ: the environment.
        topics: which; empty: all.
        longest: seconds after which it ends without having caught up; None: as long as the worker moves on.
        patience: seconds that the worker may stand still.
        say: is told how far it is.

    Raises:
        AttachError: the worker has gone, stands still, or does not read a topic.
    """
    began = time.monotonic()
    deadline = began + (math.inf if longest is None else longest)
    try:
        before = ask_worker(environ, SECONDS_FOR_ANSWERS)
        tables = ask_tables(environ, SECONDS_FOR_TABLES)
        missing = _missing(tables, topics)
        say(f"{sum(_open_records(tables, topics).values())} records are not in the tables yet")
        caught_up = all(_wait(environ, topic, ends, deadline, patience, say) for topic, ends in missing.items())
        return Attached(before, ask_worker(environ, SECONDS_FOR_ANSWERS), caught_up, time.monotonic() - began)
    except WorkerUnreachableError as error:
        raise AttachError(f"the always-on worker has gone while it was waited for: {error}", retry_helps=True) from error
    except (TablesUnknownError, BinaryNotFoundError) as error:
        text = f"failed to ask where the topics end: {error}"
        raise AttachError(text, retry_helps=isinstance(error, TablesUnknownError)) from error


def _missing(tables: TablesStatus, topics: Sequence[str]) -> dict[str, Offsets]:
    """Returns, by topic and partition, the end offsets that the table has not reached."""
    known = {topic.topic for topic in tables.topics}
    if unknown := [topic for topic in topics if topic not in known]:
        raise AttachError(f"no table is known for topics {', '.join(unknown)}", retry_helps=False)
    ends = {
        topic.topic: {one.partition: one.end_offset for one in topic.partitions if one.lag_records > 0}
        for topic in tables.topics
        if not topics or topic.topic in topics
    }
    return {topic: offsets for topic, offsets in ends.items() if offsets}


def _open_records(tables: TablesStatus, topics: Sequence[str]) -> dict[str, int]:
    return {topic.topic: topic.lag_records for topic in tables.topics if not topics or topic.topic in topics}


def _wait(
    environ: Mapping[str, str],
    topic: str,
    ends: Offsets,
    deadline: float,
    patience: float,
    say: Callable[[str], None],
) -> bool:
    """Waits for one topic; returns False if the deadline came first."""
    moved_at, position = time.monotonic(), -1
    while (left := deadline - time.monotonic()) > 0:
        seconds = min(left, SECONDS_PER_QUESTION, patience)
        question = f"/v1/barrier?timeout={max(1, round(seconds * 1000))}ms"
        body = {"topic": topic, "offsets": {str(partition): end for partition, end in ends.items()}}
        answer = ask(worker_url(environ), question, seconds + SECONDS_FOR_ANSWERS, body=body, post=True)
        if answer.says_yes:
            return True
        if answer.code == 404:  # the worker has a share of the partitions, or is between two sessions: the tables know
            say(f"`{topic}` is not read by the worker that was asked ({_words(answer)}); looking at its table instead")
            return _wait_for_table(environ, topic, ends, deadline, patience)
        if answer.code != 408:
            raise AttachError(f"the always-on worker refuses to be waited for: {_words(answer)}", retry_helps=True)
        reached = _offsets(answer)
        now = sum(min(reached.get(partition, 0), end) for partition, end in ends.items())
        say(f"`{topic}`: {sum(ends.values()) - now} records to go")
        if now > position:
            moved_at, position = time.monotonic(), now
        elif time.monotonic() - moved_at >= patience:
            text = f"the always-on worker has stood still for {patience:.0f} s in `{topic}`; see `bronze_worker_status`"
            raise AttachError(text, retry_helps=True)
    return False


def _wait_for_table(environ: Mapping[str, str], topic: str, ends: Offsets, deadline: float, patience: float) -> bool:
    """Waits for the table's own word; returns False if the deadline came first."""
    moved_at, position = time.monotonic(), -1
    stands_still = False

    def done() -> bool:
        nonlocal moved_at, position, stands_still
        [state] = [one for one in ask_tables(environ, SECONDS_FOR_TABLES).topics if one.topic == topic]
        reached = {one.partition: one.next_offset or 0 for one in state.partitions}
        now = sum(min(reached.get(partition, 0), end) for partition, end in ends.items())
        if now > position:
            moved_at, position = time.monotonic(), now
        stands_still = time.monotonic() - moved_at >= patience
        return stands_still or now >= sum(ends.values())

    in_time = becomes_true(done, deadline - time.monotonic(), SECONDS_BETWEEN_TABLES)
    if stands_still:
        text = f"nobody has written what is missing of `{topic}` for {patience:.0f} s: no worker reads these partitions"
        raise AttachError(text, retry_helps=True)
    return in_time


def _offsets(answer: Answer) -> dict[int, int]:
    try:
        return {int(partition): int(offset) for partition, offset in json.loads(answer.body)["offsets"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _words(answer: Answer) -> str:
    """What an answer says in its `error`, else its first line."""
    try:
        return str(json.loads(answer.body)["error"])
    except (ValueError, KeyError, TypeError):
        return answer.brief
