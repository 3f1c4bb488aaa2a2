"""The process behind `tools.stack.spark`: reads requests as lines of JSON, answers each with a line.

Runs with nothing but pyspark on the path. First request: the session's settings; then statements. Ends with its
input. Secrets come by that way because the JVM's command line, which has all settings of the builder, can be read by all.
"""

import json
import os
import sys
from typing import Any

CATALOG = "lake"
EXTENSIONS = "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"


def _session(jars: str, work: str, size: dict[str, str], catalog: dict[str, str]) -> Any:  # noqa: ANN401 - pyspark is not in the environment
    from pyspark.sql import SparkSession  # type: ignore[import-not-found]

    settings = size | {
        "spark.driver.extraJavaOptions": f"{size['spark.driver.extraJavaOptions']} -Djava.io.tmpdir={work}",
        "spark.driver.extraClassPath": f"{jars}/*",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.local.dir": work,
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.extensions": EXTENSIONS,
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": f"{work}/warehouse",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    builder = SparkSession.builder.appName("streamify")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("WARN")
    for name, value in catalog.items():
        session.conf.set(f"spark.sql.catalog.{CATALOG}{'.' if name else ''}{name}", value)
    return session


def _error(error: Exception) -> str:
    """The class of the JVM's exception and what it says, without the trace."""
    cause = getattr(error, "java_exception", None)
    return str(cause.toString()) if cause is not None else f"{type(error).__name__}: {error}"


def main() -> None:
    """Answers until the input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the JVM inherits it and writes there what it likes
    session: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if session is None:
                session = _session(**request)
                rows: list[dict[str, Any]] = []
            else:
                rows = [row.asDict(recursive=True) for row in session.sql(request["sql"]).collect()]
            answer: dict[str, Any] = {"rows": rows}
        except Exception as error:  # noqa: BLE001 - whatever it is, the one who asked has to know
            answer = {"error": _error(error)}
        answers.write(json.dumps(answer, default=str) + "\n")
        answers.flush()
    if session is not None:
        session.stop()


if __name__ == "__main__":
    main()
