"""What is said where Spark cannot be started; the session itself is used by the tests of the engines."""

from pathlib import Path

import pytest

from tools.stack.errors import StackError
from tools.stack.spark import Spark

ENVIRONMENT = {
    "POLARIS_URI": "http://127.0.0.1:1/api/catalog",
    "POLARIS_CATALOG": "lakehouse",
    "POLARIS_CLIENT_ID": "id",
    "POLARIS_CLIENT_SECRET": "secret",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
}


def test_without_java_it_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(StackError, match=r"`java` not found; install it \(Debian: `apt-get install openjdk-17-jre-headless`\)"):
        Spark(ENVIRONMENT).start()


def test_a_session_that_was_not_started_says_so() -> None:
    with pytest.raises(StackError, match="not running"):
        Spark(ENVIRONMENT).sql("SELECT 1")
