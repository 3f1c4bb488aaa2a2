"""Messages through an S3 store: numbered chunks `<prefix>/<n>.json`, n = 1, 2, 3 …, each of newline-separated messages.

Guarantees, beyond Dagster's reader of the same format:
* every chunk that is there is read at each poll, not one;
* no fault of the store or of the network ends the reading: it backs off, warns once per outage, and goes on at the same chunk;
* after the worker's end it drains until `closed`, or until nothing came for `linger_seconds`; a gap (chunk n absent, a later
  one there) and a store that stays away are recorded as losses, which fail the step.
"""

import random
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from dagster_project.resources.pipes.reader import PROGRESS_PARAMS, SessionMessageReader
from dagster_project.resources.pipes.session import MessageSink, RunLog

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

ABSENT_CODES = frozenset({"NoSuchKey", "404", "NotFound"})
TRANSPORT_ERRORS = (BotoCoreError, ClientError, HTTPError, OSError)


def build_client(endpoint_url: str | None = None) -> "S3Client":
    """Builds a client with short timeouts and without retries of its own (the reader does them, without end).

    Args:
        endpoint_url: address of a store other than AWS, then addressed by path; None takes `AWS_ENDPOINT_URL`, or AWS.
    """
    # A session of its own: boto3's default one keeps the first credentials it has seen for as long as the process lives.
    return boto3.Session().client(
        "s3",
        endpoint_url=endpoint_url,
        config=Config(
            connect_timeout=5,
            read_timeout=15,
            retries={"max_attempts": 0},
            s3={"addressing_style": "path" if endpoint_url else "auto"},
        ),
    )


@dataclass(frozen=True)
class S3Timing:
    """Waiting times of the reader, all in seconds.

    Attributes:
        poll: pause after a poll that found nothing.
        max_backoff: longest pause during an outage; it starts at `poll` and doubles.
        linger: how long to wait for a next chunk after the worker ended without `closed`.
        outage_after_end: how long to wait for a store that is away after the worker ended.
    """

    poll: float = 0.5
    max_backoff: float = 10.0
    linger: float = 5.0
    outage_after_end: float = 90.0


class S3MessageReader(SessionMessageReader):
    """Reads the chunks of one session.

    Args:
        log: the run's log.
        client: see `build_client`.
        bucket: bucket of the chunks.
        prefix: `<base>/<run>/<step>/<retry>`; a random last part is added, so that a prefix is never used twice, not even
            by a second session in one step or by a run that is resumed.
        timing: waiting times.
        keeps_chunks: whether the chunks stay also after a step that succeeded.
    """

    def __init__(
        self,
        log: RunLog,
        client: "S3Client",
        bucket: str,
        prefix: str,
        timing: S3Timing | None = None,
        *,
        keeps_chunks: bool = False,
    ) -> None:
        super().__init__(log)
        self._keeps_chunks = keeps_chunks
        self.bucket = bucket
        self.prefix = f"{prefix.strip('/')}/{uuid.uuid4().hex[:8]}".lstrip("/")
        self._client = client
        self._timing = timing or S3Timing()

    @contextmanager
    def open_channel(self) -> Iterator[dict[str, object]]:
        """Yields the address of the chunks. `streamify_min_interval_ms` allows our writer a faster pace than others' readers."""
        yield {
            "bucket": self.bucket,
            "key_prefix": self.prefix,
            "include_stdio_in_messages": False,
            "streamify_min_interval_ms": 500,
            **PROGRESS_PARAMS,
        }

    def read_all(self, sink: MessageSink) -> None:
        """Reads chunk after chunk until `closed`, or until the worker has ended and nothing more comes."""
        index = 1
        give_up_at: float | None = None
        while not self.journal.closed:
            ended = self.worker_has_ended
            chunk, num_failures = self._fetch_through_outages(index)
            if chunk is not None:
                for line in chunk.split(b"\n"):
                    sink.deliver(line)
                index += 1
                give_up_at = None
                continue
            if num_failures:
                self.journal.add_loss(f"the store stayed away, chunk {self._key(index)} was never read")
                return
            if ended:
                give_up_at = give_up_at or time.monotonic() + self._timing.linger
                if time.monotonic() >= give_up_at:
                    self._look_for_gap(index)
                    return
            self.pause(self._timing.poll)

    def _fetch_through_outages(self, index: int) -> tuple[bytes | None, int]:
        """Returns the chunk, or None if it is not there, and after how many failures the store was given up."""
        num_failures = 0
        give_up_at: float | None = None
        while True:
            try:
                chunk = self._fetch(index)
            except TRANSPORT_ERRORS as error:
                num_failures += 1
                if num_failures == 1:
                    self.log.warning("[pipes] cannot read s3://%s/%s, trying on: %s", self.bucket, self._key(index), error)
                if self.worker_has_ended:
                    give_up_at = give_up_at or time.monotonic() + self._timing.outage_after_end
                    if time.monotonic() >= give_up_at:
                        return None, num_failures
                self._back_off(num_failures)
            else:
                if num_failures:
                    self.log.info("[pipes] the store answers again after %d failed attempts", num_failures)
                return chunk, 0

    def _fetch(self, index: int) -> bytes | None:
        try:
            return self._client.get_object(Bucket=self.bucket, Key=self._key(index))["Body"].read()
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in ABSENT_CODES:
                return None
            raise

    def _back_off(self, num_failures: int) -> None:
        longest = min(self._timing.max_backoff, self._timing.poll * 2.0 ** min(num_failures - 1, 16))
        seconds = longest * random.uniform(0.5, 1.0)  # several runs must not come back in step
        if self.worker_has_ended:
            time.sleep(min(seconds, 1.0))
        else:
            self.pause(seconds)

    def _look_for_gap(self, index: int) -> None:
        try:
            later = sum(self._index_of(key) > index for keys in self._stored_keys() for key in keys)
        except TRANSPORT_ERRORS as error:
            self.log.warning("[pipes] cannot list s3://%s/%s/: %s", self.bucket, self.prefix, error)
            return
        if later:
            self.journal.add_loss(f"chunk {self._key(index)} is missing, {later} later ones are there")

    def discard(self) -> None:
        """Deletes the chunks; if the store does not let us, one warning says so and the step succeeds all the same."""
        if self._keeps_chunks:
            return
        try:
            for keys in self._stored_keys():
                objects: list[ObjectIdentifierTypeDef] = [{"Key": key} for key in keys]
                answer = self._client.delete_objects(Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True})
                for error in answer.get("Errors", [])[:1]:
                    raise OSError(error.get("Message") or error.get("Code"))
        except TRANSPORT_ERRORS as error:
            self.log.warning("[pipes] cannot delete the read messages s3://%s/%s/: %s", self.bucket, self.prefix, error)

    def _stored_keys(self) -> Iterator[Sequence[str]]:
        """Yields the keys of all chunks, up to a thousand at a time."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{self.prefix}/")
        for page in pages:
            if keys := [item["Key"] for item in page.get("Contents", [])]:
                yield keys

    def _index_of(self, key: str) -> int:
        number = key.removeprefix(f"{self.prefix}/").removesuffix(".json")
        return int(number) if number.isdecimal() else 0

    def _key(self, index: int) -> str:
        return f"{self.prefix}/{index}.json"

    def no_messages_debug_text(self) -> str:
        """Says where messages were expected."""
        return f"Attempted to read messages from s3://{self.bucket}/{self.prefix}/."
