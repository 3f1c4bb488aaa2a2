"""Real Spark 4 with Iceberg: one session in a process of its own, that runs SQL and gives rows back.

The second engine beside which our commits must stand: it reads the tables, changes them as a rival would, and does the jobs'
work for comparison. The session listens on loopback only and is gone with its context. Needs Java 17 or newer.
"""

import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tools.stack import build
from tools.stack.errors import StackError
from tools.stack.paths import HERE
from tools.stack.processes import tail
from tools.stack.progress import step

#: Name of the catalog in SQL: `SELECT * FROM lake.streamify.bronze_listen_events`.
CATALOG = "lake"
START_SECONDS = 120.0
STATEMENT_SECONDS = 120.0

Row = dict[str, Any]


class SparkError(StackError):
    """Spark refused a statement; the text begins with the class of its exception."""


@dataclass(frozen=True)
class Size:
    """How large a session is.

    Attributes:
        cores: threads of work, and partitions of a shuffle a thread.
        memory: heap of the JVM.
        jvm: further options of the JVM.
        settings: further settings of Spark.
    """

    cores: int
    memory: str
    jvm: str
    settings: Mapping[str, str]

    def all_settings(self) -> dict[str, str]:
        """Returns Spark's settings for it."""
        sized = {
            "spark.master": f"local[{self.cores}]",
            "spark.driver.memory": self.memory,
            "spark.driver.extraJavaOptions": self.jvm,
        }
        return sized | dict(self.settings)


#: A session that lives for seconds: the quick compiler, and no code made per query.
BRIEF = Size(
    cores=1,
    memory="1g",
    jvm="-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
    settings={
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.shuffle.partitions": "1",
    },
)
#: A session for millions of rows on two cores.
LARGE = Size(cores=2, memory="4g", jvm="-XX:+UseParallelGC", settings={"spark.sql.shuffle.partitions": "4"})


class Spark:
    """One Spark session on the REST catalog of a stack's environment."""

    def __init__(self, environment: Mapping[str, str], size: Size = BRIEF) -> None:
        """Describes a session; `environment` is what `Stack.environment` returns."""
        self._settings = _catalog_settings(environment)
        self._size = size
        self._process: subprocess.Popen[bytes] | None = None
        self._work = Path()

    def start(self) -> None:
        """Downloads Spark unless the cache has it, and starts the session (about ten seconds).

        Raises:
            StackError: if there is no Java, or the session does not come up.
        """
        build.program("java", "openjdk-17-jre-headless")
        packages, jars = build.pyspark(), build.jars("spark")
        self._work = Path(tempfile.mkdtemp(prefix="streamify-spark-"))
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(("SPARK_", "PYSPARK_", "PYTHON"))}
        environment = inherited | {"PYTHONPATH": str(packages), "SPARK_LOCAL_IP": "127.0.0.1", "TZ": "UTC"}
        with step("starting Spark"), self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / "spark_session.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                cwd=self._work,
            )
            try:
                size = self._size.all_settings()
                self._ask({"jars": str(jars), "work": str(self._work), "size": size, "catalog": self._settings}, START_SECONDS)
            except SparkError as error:
                said = tail(self._log)
                self.stop()
                raise StackError(f"Spark does not start: {error}; end of its log:\n{said}") from error

    @property
    def pid(self) -> int:
        """The process of the session, whose child the JVM is.

        Raises:
            StackError: if the session is not running.
        """
        if self._process is None:
            raise StackError("this Spark session is not running")
        return self._process.pid

    @property
    def _log(self) -> Path:
        """What Spark says beside its answers."""
        return self._work / "spark.log"

    def sql(self, statement: str, seconds: float = STATEMENT_SECONDS) -> list[Row]:
        """Runs one statement and returns its rows; timestamps and dates are texts, all in UTC.

        Raises:
            SparkError: if Spark refuses it.
            StackError: if the session has ended, or the answer does not come in time; the session is ended then.
        """
        rows: list[Row] = self._ask({"sql": statement}, seconds)
        return rows

    def value(self, statement: str) -> Any:  # noqa: ANN401 - what the query says
        """Runs a statement whose answer is one row of one column, and returns that value."""
        [row] = self.sql(statement)
        [value] = row.values()
        return value

    def _ask(self, request: Mapping[str, object], seconds: float) -> Any:  # noqa: ANN401 - what the session answers
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise StackError("this Spark session is not running")
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            line = _line(process, seconds)
        except OSError:
            line = b""
        if not line:
            said = tail(self._log)
            self.stop()
            raise StackError(f"Spark gave no answer within {seconds:.0f} s, or ended; end of its log:\n{said}")
        answer = json.loads(line)
        if "error" in answer:
            raise SparkError(answer["error"])
        return answer["rows"]

    def stop(self) -> None:
        """Ends the session, when its input ends or at the latest when it is killed, and deletes its folder."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(self._work, ignore_errors=True)

    def __enter__(self) -> Self:
        """Starts the session."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Ends the session."""
        self.stop()


def _line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """Returns the next line of the answer, or nothing if the process ends or the time is over."""
    deadline = time.monotonic() + seconds
    parts: list[bytes] = []
    with selectors.DefaultSelector() as selector:
        output = process.stdout
        if output is None:
            return b""
        selector.register(output, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                break
            part = os.read(output.fileno(), 1 << 16)
            parts.append(part)
            if not part or part.endswith(b"\n"):
                return b"".join(parts) if part else b""
    return b""


def _catalog_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the settings of the catalog; it caches nothing, so that every statement sees the tables as they are."""
    uri = environment["POLARIS_URI"]
    return {
        "": "org.apache.iceberg.spark.SparkCatalog",
        "type": "rest",
        "uri": uri,
        "warehouse": environment["POLARIS_CATALOG"],
        "credential": f"{environment['POLARIS_CLIENT_ID']}:{environment['POLARIS_CLIENT_SECRET']}",
        "scope": "PRINCIPAL_ROLE:ALL",
        "oauth2-server-uri": f"{uri}/v1/oauth/tokens",
        "token-refresh-enabled": "false",
        "rest-metrics-reporting-enabled": "false",
        "cache-enabled": "false",
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "s3.endpoint": environment["AWS_ENDPOINT_URL"],
        "s3.path-style-access": "true",
        "s3.access-key-id": environment["AWS_ACCESS_KEY_ID"],
        "s3.secret-access-key": environment["AWS_SECRET_ACCESS_KEY"],
        "client.region": environment["AWS_REGION"],
    }
